"""Decoding: the shipped sample as states comes back as the same molecules; what RDKit refuses comes back with its reason."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
import torch
from rdkit import Chem
from rdkit.Geometry import Point3D

from scidiff_molecules.data import MoleculeDataset, load_sample
from scidiff_molecules.decode import Generated, build, decode
from scidiff_molecules.sdf import STATUS, without_hydrogens
from scidiff_molecules.task import measure
from scidiff_molecules.tokens import BONDS, ELEMENTS, POSITIONS, Token, Vocabulary, layouts, state

COUNT = 500
COORDINATES = 1e-4  # Angstrom
VOCABULARY = Vocabulary((Token(6, 0, 0), Token(1, 0, 0), Token(8, 0, 0), Token(6, 0, 3), Token(7, 1, 0), Token(8, 0, 2), Token(8, -1, 0)))


def as_measured(dataset: MoleculeDataset, item: int) -> Chem.Mol:
    """The data set's molecule with all its hydrogens, built atom by atom without the code under test."""
    data = dataset[item]
    mol, conformer = Chem.RWMol(), Chem.Conformer(data.num_nodes)
    for place, (number, charge, position) in enumerate(zip(data.z.tolist(), data.charge.tolist(), data.pos.tolist(), strict=True)):
        atom = Chem.Atom(number)
        atom.SetFormalCharge(charge)
        atom.SetNoImplicit(True)
        mol.AddAtom(atom)
        conformer.SetAtomPosition(place, Point3D(*position))
    for i, j, order in zip(*data.bond_index.tolist(), data.bond_order.tolist(), strict=True):
        mol.AddBond(i, j, {1: Chem.BondType.SINGLE, 2: Chem.BondType.DOUBLE, 3: Chem.BondType.TRIPLE}[order])
    mol.AddConformer(conformer)
    Chem.SanitizeMol(mol)
    Chem.AssignStereochemistryFrom3D(mol)
    return mol.GetMol()


def centred(positions: np.ndarray, over: np.ndarray) -> np.ndarray:
    return positions - positions[over].mean(0)


@pytest.mark.parametrize("hydrogens", ["implicit", "explicit"])
def test_the_sample_comes_back(hydrogens: Literal["implicit", "explicit"]) -> None:
    dataset, whole = (load_sample("test", hydrogens=h) for h in (hydrogens, "explicit"))
    assert torch.equal(dataset.fields["index"], whole.fields["index"])
    statistics = measure(dataset)
    x, layout = state(dataset.dense(range(COUNT)), statistics.vocabulary, statistics.scale)
    made = decode(x, layout, statistics.vocabulary, statistics.scale, list(range(100, 100 + COUNT)))
    for item, one in enumerate(made):
        wanted = as_measured(whole, item)
        assert one.reason == ""
        assert one.id == 100 + item
        assert one.mol.GetProp("_Name") == f"molecule {100 + item}"
        assert one.mol.GetProp(STATUS) == "ok"
        assert flat_smiles(one.mol) == flat_smiles(wanted)
        assert one.smiles == Chem.MolToSmiles(without_hydrogens(wanted))
        heavy_found, heavy_wanted = (np.array([atom.GetAtomicNum() > 1 for atom in mol.GetAtoms()]) for mol in (one.mol, wanted))
        found, expected = one.mol.GetConformer().GetPositions(), wanted.GetConformer().GetPositions()
        assert np.abs(centred(found, heavy_found)[heavy_found] - centred(expected, heavy_wanted)[heavy_wanted]).max() < COORDINATES
        if hydrogens == "explicit":
            assert np.abs(found - found.mean(0) - expected + expected.mean(0)).max() < COORDINATES


def flat_smiles(mol: Chem.Mol) -> str:
    return Chem.MolToSmiles(Chem.RemoveHs(mol), isomericSmiles=False)


def decoded(labels: list[int], bonds: list[tuple[int, int, int]], positions: list[list[float]] | None = None) -> Generated:
    n = len(labels)
    matrix = torch.zeros(1, n, n, dtype=torch.int64)
    for i, j, order in bonds:
        matrix[0, i, j] = matrix[0, j, i] = order
    places = torch.tensor(positions) if positions is not None else 1.1 * torch.eye(max(n, 3))[:n, :3]
    x = {POSITIONS: places[None], ELEMENTS: torch.tensor([labels]), BONDS: matrix}
    return decode(x, layouts(torch.tensor([n]), n), VOCABULARY, 1.0, [7])[0]


def test_five_bonds_on_carbon_come_back_as_made_with_the_reason() -> None:
    corners = [[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, -1.0, 0.0], [0.0, 0.0, 1.0]]
    one = decoded([0, 1, 1, 1, 1, 1], [(0, k, 1) for k in range(1, 6)], corners)
    assert "valence" in one.reason
    assert "5" in one.reason
    assert one.smiles == ""
    assert one.mol.GetProp(STATUS) == f"failed: {one.reason}"
    assert [atom.GetAtomicNum() for atom in one.mol.GetAtoms()] == [6, 1, 1, 1, 1, 1]
    assert one.mol.GetNumBonds() == 5
    assert np.allclose(one.mol.GetConformer().GetPositions(), corners)


def test_hydrogens_of_a_failed_molecule_are_there_too() -> None:
    """CH3 with two double bonds to oxygen: valence seven; what the model stated is all in the molecule."""
    one = decoded([3, 2, 2], [(0, 1, 2), (0, 2, 2)])
    assert one.reason
    assert sorted(atom.GetAtomicNum() for atom in one.mol.GetAtoms()) == [1, 1, 1, 6, 8, 8]


@pytest.mark.parametrize(
    ("labels", "bonds", "smiles"),
    [
        ([5], [], "O"),
        ([3, 3], [(0, 1, 1)], "CC"),
        ([0, 2, 2], [(0, 1, 2), (0, 2, 2)], "O=C=O"),
        ([3, 4, 2, 6], [(0, 1, 1), (1, 2, 2), (1, 3, 1)], "C[N+](=O)[O-]"),
        ([3, 0], [(0, 1, 1)], "[C]C"),
        ([3, 5], [], "O.[CH3]"),
    ],
    ids=["water", "ethane", "carbon dioxide", "nitromethane", "radicals stay", "two fragments stay"],
)
def test_small_molecules_by_hand(labels: list[int], bonds: list[tuple[int, int, int]], smiles: str) -> None:
    assert decoded(labels, bonds).smiles == smiles


def test_coordinates_that_are_not_finite_are_a_reason() -> None:
    one = decoded([3, 3], [(0, 1, 1)], [[0.0, 0.0, 0.0], [float("nan"), 0.0, 0.0]])
    assert "not finite" in one.reason
    assert one.mol.GetNumAtoms() == 2


def test_atoms_in_one_place_do_not_stop_the_run() -> None:
    one = decoded([3, 3], [(0, 1, 1)], [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    assert one.reason == ""
    assert np.isfinite(one.mol.GetConformer().GetPositions()).all()


def test_build_states_what_the_model_stated_and_nothing_else() -> None:
    mol = build(np.zeros((3, 3)), np.array([3, 4, 6]), np.zeros(3, dtype=np.int64), np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]]), VOCABULARY)
    assert [(atom.GetAtomicNum(), atom.GetFormalCharge(), atom.GetNumExplicitHs()) for atom in mol.GetAtoms()] == [
        (6, 0, 3),
        (7, 1, 0),
        (8, -1, 0),
    ]
    assert all(atom.GetNoImplicit() for atom in mol.GetAtoms())
    assert [(bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()) for bond in mol.GetBonds()] == [(0, 1), (1, 2)]


def test_hydrogens_of_an_unsanitised_molecule_get_their_lengths() -> None:
    """Decoded molecules come to add_hydrogens unsanitised; without hybridisation the minimiser's half-way lengths once stayed."""
    from rdkit import Chem

    from scidiff_molecules.data.hydrogens import XH_LENGTH, add_hydrogens

    raw = Chem.MolFromMolBlock(Chem.MolToMolBlock(_embedded("CC(=O)NCC#C")), sanitize=False, removeHs=True)
    full = add_hydrogens(raw)
    positions = full.GetConformer().GetPositions()
    hydrogens = [atom for atom in full.GetAtoms() if atom.GetAtomicNum() == 1]
    assert len(hydrogens) == 7
    for atom in hydrogens:
        parent = atom.GetNeighbors()[0]
        length = float(((positions[atom.GetIdx()] - positions[parent.GetIdx()]) ** 2).sum() ** 0.5)
        assert abs(length - XH_LENGTH[parent.GetAtomicNum(), 0, parent.GetHybridization()]) < 1e-6


def _embedded(smiles: str):  # type: ignore[no-untyped-def]
    from rdkit import Chem
    from rdkit.Chem import AllChem

    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    AllChem.EmbedMolecule(mol, randomSeed=1)
    return Chem.RemoveHs(mol)
