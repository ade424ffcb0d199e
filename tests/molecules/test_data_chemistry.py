"""Bonds, charges and hydrogens: known molecules of the sample, and every path of the assignment against the first."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from rdkit import Chem

from scidiff_molecules.data import Molecule, MoleculeDataset, add_hydrogens, assign_bonds, load_sample, to_implicit
from scidiff_molecules.data.hydrogens import XH_LENGTH

NAMED = {  # number in QM9 -> canonical SMILES
    4581: "Nc1ccc(N)cc1",
    132375: "Nc1cc(N)cc(F)c1",
    5358: "O=Cc1ccncc1",
    29540: "[O-]c1coc2c1C[NH2+]C2",
    54794: "O=C([O-])C1C2C[NH2+]C1C2",
    60780: "CN(C=[NH2+])[C-](C#N)C#N",
    131886: "Nc1cc[nH]c1[N+](=O)[O-]",
    338: "N#CC(O)C=O",
    2673: "N#CC#CCCO",
    23871: "C#CC(N)C(F)(F)F",
    11: "CC=O",
}


def to_mol(molecule: Molecule) -> Chem.Mol:
    """The RDKit molecule that the fields spell out, sanitised."""
    mol = Chem.RWMol()
    for z, charge, num_h in zip(molecule.z.tolist(), molecule.charge.tolist(), molecule.num_h.tolist(), strict=True):
        atom = Chem.Atom(z)
        atom.SetFormalCharge(charge)
        atom.SetNoImplicit(True)
        atom.SetNumExplicitHs(num_h)
        mol.AddAtom(atom)
    for (i, j), order in zip(molecule.bond_index.T.tolist(), molecule.bond_order.tolist(), strict=True):
        mol.AddBond(i, j, Chem.BondType.values[order])
    Chem.SanitizeMol(mol)
    conformer = Chem.Conformer(molecule.z.numel())
    conformer.SetPositions(molecule.pos.double().numpy())
    mol.AddConformer(conformer)
    return mol.GetMol()


def canonical(mol: Chem.Mol) -> str:
    mol = Chem.Mol(mol)
    mol.RemoveAllConformers()
    return Chem.MolToSmiles(Chem.RemoveHs(mol), isomericSmiles=False)


@pytest.fixture(scope="module")
def explicit() -> MoleculeDataset:
    return load_sample("all")


@pytest.fixture(scope="module")
def implicit() -> MoleculeDataset:
    return load_sample("all", hydrogens="implicit")


def by_number(dataset: MoleculeDataset, number: int) -> Molecule:
    return dataset[int((dataset.fields["index"] == number).nonzero())]


@pytest.mark.parametrize(("number", "smiles"), NAMED.items())
def test_named_molecules(explicit: MoleculeDataset, implicit: MoleculeDataset, number: int, smiles: str) -> None:
    molecule = by_number(explicit, number)
    assert canonical(to_mol(molecule)) == smiles
    assert canonical(to_mol(by_number(implicit, number))) == smiles
    again = assign_bonds(molecule.z.numpy(), molecule.pos.numpy(), [smiles])
    assert canonical(to_mol(with_bonds(molecule, again))) == smiles


def with_bonds(molecule: Molecule, bonds) -> Molecule:
    return Molecule(
        pos=molecule.pos,
        z=molecule.z,
        charge=torch.from_numpy(bonds.charges),
        num_h=molecule.num_h,
        bond_index=torch.from_numpy(bonds.pairs.T.copy()),
        bond_order=torch.from_numpy(bonds.orders),
    )


def test_every_molecule_is_whole_neutral_and_sane(explicit: MoleculeDataset) -> None:
    assert bool(explicit.fields["assigned"].all())
    for molecule in explicit[::4]:
        mol = to_mol(molecule)
        assert Chem.GetFormalCharge(mol) == 0
        assert len(Chem.GetMolFrags(mol)) == 1
        assert sum(a.GetNumRadicalElectrons() for a in mol.GetAtoms()) == 0
        assert all(a.GetTotalNumHs() == 0 for a in mol.GetAtoms())  # every hydrogen is an atom


def test_geometry_alone_finds_nearly_always_the_same_molecule(explicit: MoleculeDataset) -> None:
    """RDKit's bond orders see no SMILES: an independent judge of the first path. Where charges are separated, several answers are right."""
    rows = [k for k in range(0, len(explicit), 20) if not bool(explicit[k].charge.any())]
    same = []
    for k in rows:
        molecule = explicit[k]
        bonds = assign_bonds(molecule.z.numpy(), molecule.pos.numpy())
        assert bonds.path == "geometry"
        same.append(canonical(to_mol(with_bonds(molecule, bonds))) == canonical(to_mol(molecule)))
    assert np.mean(same) > 0.98


def test_a_shuffled_molecule_is_matched_as_a_graph(explicit: MoleculeDataset) -> None:
    random = np.random.default_rng(0)
    for k in range(0, len(explicit), 100):
        molecule = explicit[k]
        smiles = canonical(to_mol(molecule))
        order = torch.from_numpy(random.permutation(molecule.z.numel()))
        shuffled = Molecule(pos=molecule.pos[order], z=molecule.z[order], num_h=molecule.num_h[order])
        bonds = assign_bonds(shuffled.z.numpy(), shuffled.pos.numpy(), [smiles])
        assert bonds.path in ("smiles", "isomorphism")
        assert canonical(to_mol(with_bonds(shuffled, bonds))) == smiles


def methane(length: float = 1.092) -> tuple[np.ndarray, np.ndarray]:
    corners = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) * length / np.sqrt(3)
    return np.array([6, 1, 1, 1, 1]), np.concatenate([np.zeros((1, 3)), corners])


def test_methane() -> None:
    bonds = assign_bonds(*methane(), ["C"])
    assert bonds.path == "smiles"
    assert bonds.pairs.tolist() == [[0, 1], [0, 2], [0, 3], [0, 4]]
    assert bonds.orders.tolist() == [1, 1, 1, 1]
    assert bonds.charges.tolist() == [0] * 5


@pytest.mark.parametrize("smiles", [["[CH3]"], ["N"], ["C.C"], ["not a smiles("], ["[CH4+]"], []])
def test_a_smiles_that_does_not_fit_is_not_believed(smiles: list[str]) -> None:
    assert assign_bonds(*methane(), smiles).path == "geometry"


def test_what_nothing_explains_is_unassigned_with_a_reason() -> None:
    z, pos = methane(2.0)
    assert assign_bonds(z, pos, ["C"]).path == "a hydrogen is on no heavy atom"
    z, pos = methane()
    radical = assign_bonds(z[:4], pos[:4], ["[CH3]"])
    assert (radical.path, radical.assigned, radical.pairs.shape) == ("no neutral bond orders fit the geometry", False, (0, 2))
    assert assign_bonds(np.array([1, 1]), np.array([[0.0, 0, 0], [0, 0, 0.74]]), ["[H][H]"]).path == "no heavy atom"
    two = assign_bonds(np.tile(z, 2), np.concatenate([pos, pos + 9.0]), ["C.C"])
    assert two.path == "several fragments in space"


def test_a_broken_bond_is_not_believed(explicit: MoleculeDataset) -> None:
    molecule = by_number(explicit, 11)  # acetaldehyde, the methyl group moved 1 A outwards
    methyl = [k for k in range(7) if k == 0 or ([0, k] in molecule.bond_index.T.tolist() and molecule.z[k] == 1)]
    pos = molecule.pos.numpy().astype(float)
    away = pos[0] - pos[1]
    pos[methyl] += away / np.linalg.norm(away)
    assert assign_bonds(molecule.z.numpy(), pos, ["CC=O"]).path == "several fragments in space"


def test_bad_arrays_are_refused() -> None:
    with pytest.raises(ValueError, match="finite pos"):
        assign_bonds(np.array([6]), np.array([[np.nan, 0, 0]]))
    with pytest.raises(ValueError, match=r"got z \(2,\), pos \(1, 3\)"):
        assign_bonds(np.array([6, 1]), np.zeros((1, 3)))


def test_strip_and_put_back_gives_the_same_molecule(explicit: MoleculeDataset, implicit: MoleculeDataset) -> None:
    assert implicit.metadata["dropped"] == 0
    for k in range(0, len(implicit), 10):
        bare, full = to_mol(implicit[k]), to_mol(explicit[k])
        back = add_hydrogens(bare)
        heavy = bare.GetNumAtoms()
        assert canonical(back) == canonical(full)
        assert back.GetNumAtoms() == full.GetNumAtoms()
        assert np.array_equal(back.GetConformer().GetPositions()[:heavy], bare.GetConformer().GetPositions())
        placed, real = (np.sort(xh_lengths(m)) for m in (back, full))
        assert np.abs(placed - real).max() < 0.06


def xh_lengths(mol: Chem.Mol) -> np.ndarray:
    pos = mol.GetConformer().GetPositions()
    hydrogens = [a for a in mol.GetAtoms() if a.GetAtomicNum() == 1]
    return np.array([np.linalg.norm(pos[a.GetIdx()] - pos[a.GetNeighbors()[0].GetIdx()]) for a in hydrogens])


def test_hydrogen_lengths_are_the_means_of_the_data() -> None:
    explicit, found = load_sample("train"), {}
    for molecule in explicit[::2]:
        mol = to_mol(molecule)
        pos = mol.GetConformer().GetPositions()
        for atom in mol.GetAtoms():
            if atom.GetAtomicNum() == 1:
                parent = atom.GetNeighbors()[0]
                key = (parent.GetAtomicNum(), parent.GetFormalCharge(), parent.GetHybridization())
                found.setdefault(key, []).append(float(np.linalg.norm(pos[atom.GetIdx()] - pos[parent.GetIdx()])))
    assert set(found) <= set(XH_LENGTH)
    assert {key[0] for key in found} == {6, 7, 8}
    for key, lengths in found.items():
        if len(lengths) > 50:
            assert abs(np.mean(lengths) - XH_LENGTH[key]) < 5 * np.std(lengths) / np.sqrt(len(lengths)) + 1e-4, key


def test_hydrogens_avoid_each_other(implicit: MoleculeDataset) -> None:
    """The planted fault is RDKit's own placement, which puts rotors where they fall."""

    def nearest(mol: Chem.Mol) -> float:
        pos = mol.GetConformer().GetPositions()
        h = [a.GetIdx() for a in mol.GetAtoms() if a.GetAtomicNum() == 1]
        parent = {k: mol.GetAtomWithIdx(k).GetNeighbors()[0].GetIdx() for k in h}
        return min((float(np.linalg.norm(pos[i] - pos[j])) for i in h for j in h if parent[i] < parent[j]), default=9.0)

    mols = [to_mol(implicit[k]) for k in range(0, len(implicit), 20)]
    plain = np.array([nearest(Chem.AddHs(m, addCoords=True)) for m in mols])
    ours = np.array([nearest(add_hydrogens(m)) for m in mols])
    assert (ours < 1.9).mean() < 0.02  # QM9 itself: 0.006
    assert (plain < 1.9).mean() > 0.05


def test_add_hydrogens_survives_what_does_not_sanitise() -> None:
    mol = Chem.RWMol(Chem.MolFromSmiles("CC"))
    for _ in range(5):  # a carbon with six neighbours
        mol.AddBond(0, mol.AddAtom(Chem.Atom(9)), Chem.BondType.SINGLE)
    for atom in mol.GetAtoms():
        atom.SetNoImplicit(True)
    mol.GetAtomWithIdx(1).SetNumExplicitHs(3)
    conformer = Chem.Conformer(mol.GetNumAtoms())
    conformer.SetPositions(np.random.default_rng(0).normal(size=(mol.GetNumAtoms(), 3)) * 2)
    mol.AddConformer(conformer)
    with pytest.raises(Chem.MolSanitizeException):
        Chem.SanitizeMol(Chem.Mol(mol))
    back = add_hydrogens(mol)
    assert [a.GetAtomicNum() for a in back.GetAtoms()][-3:] == [1, 1, 1]
    assert np.isfinite(back.GetConformer().GetPositions()).all()


def test_add_hydrogens_needs_finite_positions() -> None:
    with pytest.raises(ValueError, match="no conformer"):
        add_hydrogens(Chem.MolFromSmiles("C"))
    mol = Chem.MolFromSmiles("C")
    conformer = Chem.Conformer(1)
    conformer.SetAtomPosition(0, (float("nan"), 0.0, 0.0))
    mol.AddConformer(conformer)
    with pytest.raises(ValueError, match="not finite"):
        add_hydrogens(mol)


def made(z: list[int], pairs: list[tuple[int, int]], assigned: bool = True) -> MoleculeDataset:
    n, z_ = len(z), torch.tensor(z)
    fields = {
        "pos": torch.arange(3.0 * n).view(n, 3),
        "z": z_,
        "charge": torch.zeros_like(z_),
        "num_h": torch.zeros_like(z_),
        "bond_index": torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2).T.contiguous(),
        "bond_order": torch.ones(len(pairs), dtype=torch.int64),
        "y": torch.zeros(1, 1),
        "index": torch.tensor([n]),
        "assigned": torch.tensor([assigned]),
    }
    return MoleculeDataset(fields, torch.tensor([n]), torch.tensor([len(pairs)]))


def test_to_implicit_drops_and_counts_what_has_no_place_for_its_hydrogens() -> None:
    water = made([1, 8, 1], [(0, 1), (1, 2)])
    bridged = made([6, 1, 6, 1], [(0, 1), (1, 2), (2, 3)])
    hydrogen = made([1, 1], [(0, 1)])
    loose = made([6, 1], [])
    unassigned = made([6, 6], [], assigned=False)
    nitrogen = made([1, 7, 1, 6, 1, 1, 1, 1][:7], [(0, 1), (1, 2), (1, 3), (3, 4), (3, 5), (3, 6)])
    whole = MoleculeDataset.concatenate([water, bridged, hydrogen, loose, unassigned, nitrogen])
    bare = to_implicit(whole)
    assert bare.metadata["dropped"] == 4
    assert bare.sizes.tolist() == [1, 2]
    assert bare[0].num_h.tolist() == [2]
    assert torch.equal(bare[0].pos, water[0].pos[1:2])
    assert bare[1].num_h.tolist() == [2, 3]
    assert bare[1].bond_index.tolist() == [[0], [1]]
    assert to_implicit(whole[torch.tensor([5, 0, 1])]).sizes.tolist() == [2, 1]


def test_atoms_are_conserved(explicit: MoleculeDataset, implicit: MoleculeDataset) -> None:
    """Heavy atoms and counted hydrogens are the atoms of the explicit molecule, and the bonds lost are those to hydrogen."""
    assert torch.equal(implicit.fields["index"], explicit.fields["index"])
    total = torch.zeros(len(implicit), dtype=torch.int64)
    which = torch.repeat_interleave(torch.arange(len(implicit)), implicit.sizes)
    total.index_add_(0, which, 1 + implicit.fields["num_h"])
    assert torch.equal(total, explicit.sizes)
    hydrogens = explicit.sizes - implicit.sizes
    assert torch.equal(explicit.edge_ptr.diff() - implicit.edge_ptr.diff(), hydrogens)
