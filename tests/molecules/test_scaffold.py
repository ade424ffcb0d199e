"""Scaffolds: read by hand, held by every molecule whatever the weights, in their own frame, refused with the reason."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from rdkit import Chem
from rdkit.Chem import AllChem
from support.molecules import SMALL, shake

from scidiff.errors import UserError
from scidiff_molecules.data import MoleculeDataset
from scidiff_molecules.decode import build, decode
from scidiff_molecules.generator import MoleculeGenerator
from scidiff_molecules.model import BackboneConfig, NoiseConfig, SamplerConfig, build_denoiser
from scidiff_molecules.scaffold import Scaffold
from scidiff_molecules.statistics import measure
from scidiff_molecules.tokens import BONDS, ELEMENTS, HYDROGENS, Token, Vocabulary
from scidiff_molecules.wish import Wish

PARTS = ["c1ccccc1", "C1CC1", "C", "O=C1NC=CC1", "*C1CCNC1", "C#N.O", "c1cc[nH]c1", "[NH3+]CC(=O)[O-]"]


@pytest.fixture(scope="module")
def generator(heavy: MoleculeDataset) -> MoleculeGenerator:
    """Random weights: what holds for these holds for all."""
    statistics = measure(heavy, hydrogens=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        denoiser = build_denoiser(
            NoiseConfig(hydrogens="field", elements="marginal"), BackboneConfig.model_validate({**SMALL, "irreps": "8x1o"}), statistics
        )
    shake(denoiser)
    about = {"backbone": {"self_conditioning": True}, "known": {"substructure": 0.33}}
    return MoleculeGenerator(denoiser, statistics, about, SamplerConfig(steps=4))


def with_conformer(smiles: str) -> Chem.Mol:
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    assert AllChem.EmbedMolecule(mol, randomSeed=1) == 0
    return mol


def test_a_part_by_hand() -> None:
    part = Scaffold.of("*C(=O)[O-]")
    assert part.numbers.tolist() == [6, 8, 8]
    assert part.charges.tolist() == [0, 0, -1]
    assert part.bonds.tolist() == [[0, 2, 1], [2, 0, 0], [1, 0, 0]]
    assert part.hydrogens.tolist() == [0, 0, 0]
    assert part.closed.tolist() == [False, True, True]
    assert part.positions is None
    pyrrole = Scaffold.of("c1cc[nH]c1")
    assert pyrrole.hydrogens.tolist() == [1, 1, 1, 1, 1]
    assert sorted(pyrrole.bonds[np.triu_indices(5, 1)].tolist()) == [0] * 5 + [1, 1, 1, 2, 2]
    assert not pyrrole.closed.any()


def test_a_part_in_space_keeps_the_order_and_the_positions_of_its_heavy_atoms() -> None:
    mol = with_conformer("OCC(F)=O")
    part = Scaffold.of(mol)
    assert part.numbers.tolist() == [8, 6, 6, 9, 8]
    assert part.hydrogens.tolist() == [1, 2, 0, 0, 0]
    np.testing.assert_array_equal(part.positions, mol.GetConformer().GetPositions()[:5])


@pytest.mark.parametrize("smiles", PARTS)
def test_every_molecule_holds_the_part_whatever_the_weights(generator: MoleculeGenerator, smiles: str) -> None:
    part = Scaffold.of(smiles)
    k = len(part)
    drawn, layout = generator.sample(torch.arange(20), 0, generator.sampler, Wish(scaffold=part))
    assert int(layout[ELEMENTS].mask.sum(1).min()) > k
    tokens, asked = generator.statistics.vocabulary.tokens, list(zip(part.numbers.tolist(), part.charges.tolist(), strict=True))
    for labels in drawn.state[ELEMENTS][:, :k].tolist():
        assert [(tokens[i].number, tokens[i].charge) for i in labels] == asked
    made = decode(drawn.state, layout, generator.statistics.vocabulary, generator.statistics.scale, list(range(20)))
    assert all(one.mol.HasSubstructMatch(part.mol) for one in made)  # these do not sanitise, for the most part
    fragments = Chem.GetMolFrags(part.mol)
    for atoms in fragments:
        block = drawn.state[BONDS][:, list(atoms)][:, :, list(atoms)]
        assert torch.equal(block, torch.from_numpy(part.bonds[np.ix_(atoms, atoms)]).expand_as(block))
    closed = torch.from_numpy(part.closed)
    assert not bool(drawn.state[BONDS][:, :k][:, closed][:, :, k:].any())
    hydrogens = drawn.state[HYDROGENS][:, :k][:, closed]
    assert torch.equal(hydrogens, torch.from_numpy(part.hydrogens)[closed].expand_as(hydrogens))


def test_marks_close_all_other_atoms() -> None:
    assert Scaffold.of("*CC.*C#N").closed.tolist() == [False, True, False, True]


def test_geometry_holds_the_stereochemistry_that_topology_cannot() -> None:
    assert Scaffold.of(with_conformer("C[C@H](N)O")).positions is not None


def test_an_imine_is_one_part_however_its_hydrogen_is_written() -> None:
    """RDKit keeps the hydrogen that tells a C=NH's geometry, unless it is told not to."""
    mol = with_conformer("CC=N")
    Chem.AssignStereochemistryFrom3D(mol)
    assert Scaffold.of(mol).hydrogens.tolist() == Scaffold.of("CC=N").hydrogens.tolist() == [3, 1, 1]


def test_a_query_of_the_part_finds_it_in_molecules_that_hold_it() -> None:
    """Substituted at any place, also in a salt of its own charge; not in what only looks like it."""
    for smiles, holds, lacks in (
        ("c1ccccc1", "Cc1ccc(F)cc1", "C1CCCCC1"),
        ("*C1CCNC1", "CC1CCNC1", "C1CCOC1"),
        ("c1cc[nH]c1", "Cn1cccc1", "c1ccoc1"),
        ("[NH3+]CC(=O)[O-]", "CC([NH3+])C(=O)[O-]", "CC(N)C(=O)O"),
        ("C=CC=C", "Cc1ccccc1", "C=CCC=C"),
    ):
        query = Scaffold.of(smiles).mol
        assert Chem.MolFromSmiles(holds).HasSubstructMatch(query), smiles
        assert not Chem.MolFromSmiles(lacks).HasSubstructMatch(query), smiles


def test_a_part_in_space_stays_where_it_is(generator: MoleculeGenerator) -> None:
    mol = with_conformer("O=C1CCCN1")
    conformer = mol.GetConformer()
    conformer.SetPositions(conformer.GetPositions() + np.array([50.0, -20.0, 7.0]))
    part = Scaffold.of(mol)
    for made in generator.generate(20, seed=0, batch_size=20, scaffold=mol):
        found = made.GetConformer().GetPositions()
        assert np.abs(found[: len(part)] - part.positions).max() < 1e-5
        assert np.abs(found.mean(0) - part.positions.mean(0)).max() < 30


def test_an_sdf_file_of_one_record_is_a_part(tmp_path: Path) -> None:
    mol = with_conformer("C1CC1O")
    path = tmp_path / "frag.sdf"
    with Chem.SDWriter(str(path)) as writer:
        writer.write(mol)
    part = Scaffold.of(path)
    assert part.numbers.tolist() == [6, 6, 6, 8]
    np.testing.assert_allclose(part.positions, mol.GetConformer().GetPositions()[:4], atol=6e-5)  # four decimals in the file
    with Chem.SDWriter(str(path)) as writer:
        writer.write(mol)
        writer.write(mol)
    with pytest.raises(UserError, match="several records"):
        Scaffold.of(path)


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ("c1ccccc", "cannot read this SMILES"),
        ("", "1 to 1000 printable ASCII"),
        ("C" * 1001, "1 to 1000"),
        ("СC", "printable ASCII"),  # the first letter is Cyrillic
        ("C\x00C", "printable ASCII"),
        ("*", "no atom but dummies"),
        ("[CH2]C", "radical"),
        ("[H][H]", "hydrogen"),
        ("C[C@H](N)O", "handedness of an atom, which a model cannot hold by topology alone"),
        ("C/C=C/C", "geometry of a double bond"),
        ("[13CH3]C", "isotope"),
        ("C.O=C=O", "nothing can grow on O=C=O"),
        ("*CC.C#N", "C#N has no place to grow at: mark one with"),
        ("nowhere.sdf", "no such file"),
    ],
)
def test_what_is_no_part_is_named(part: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Scaffold.of(part)


def test_a_part_that_a_model_cannot_hold_is_refused(generator: MoleculeGenerator, tiny_model: Path) -> None:
    with pytest.raises(UserError, match=r"atom 2 is Br with charge \+0"):
        generator.stream(1, scaffold="CBr")
    with pytest.raises(UserError, match="trained on up to 9: give atoms >= 11"):
        generator.stream(1, scaffold="C1CCCCCCCCC1")
    with pytest.raises(UserError, match="it has 40 atoms; this model was trained on up to 9, and makes up to 36"):
        generator.stream(1, scaffold="C" * 40, atoms=41)
    with pytest.raises(UserError, match="ask for 7 to 36"):
        generator.stream(1, scaffold="c1ccccc1", atoms=6)
    with pytest.raises(UserError, match="without known parts"):
        MoleculeGenerator.load(tiny_model).stream(1, scaffold="C")


def test_hydrogens_of_a_field_are_built() -> None:
    bonds, tokens = np.array([[0, 1], [1, 0]]), Vocabulary((Token(6, 0, 0), Token(8, 0, 0)))
    mol = build(np.zeros((2, 3)), np.array([0, 1]), np.array([3, 1]), bonds, tokens)
    assert [atom.GetTotalNumHs() for atom in mol.GetAtoms()] == [3, 1]
