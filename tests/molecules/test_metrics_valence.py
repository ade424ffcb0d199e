"""Metric B: the two valence tables, aromatic bonds, and sanitising as generated."""

from __future__ import annotations

import numpy as np
import pytest
from rdkit import Chem

from scidiff_molecules.metrics.valence import LENIENT, as_generated, stable_atoms, strict_table, valences
from scidiff_molecules.sdf import Structure, build_mol, structure_of


def of(smiles: str, *, sanitize: bool = True) -> Structure:
    """Structure of a SMILES with all its hydrogens as atoms."""
    mol = Chem.MolFromSmiles(smiles, sanitize=sanitize)
    return structure_of(Chem.AddHs(mol) if sanitize else mol)


def star(centre: int, charge: int, orders: list[float]) -> Structure:
    """An atom with hydrogens around it, bonded by the given orders."""
    n = len(orders)
    numbers, charges = np.array([centre] + [1] * n), np.array([charge] + [0] * n)
    return Structure(numbers, charges, None, tuple((0, i + 1, order) for i, order in enumerate(orders)))


def test_the_strict_table_is_what_qm9_shows() -> None:
    assert strict_table() == {
        1: {0: {1}},
        6: {-1: {3}, 0: {4}},
        7: {-1: {2}, 0: {3}, 1: {4}},
        8: {-1: {1}, 0: {2}},
        9: {0: {1}},
    }


def test_strict_is_contained_in_lenient() -> None:
    for number, row in strict_table().items():
        for charge, allowed in row.items():
            assert allowed <= LENIENT[number][charge]


@pytest.mark.parametrize(
    ("element", "charge", "valence", "strict", "lenient"),
    [
        (6, 0, 4, True, True),
        (6, 0, 3, False, True),  # MiDi's table allows a neutral carbon of valence 3
        (6, 0, 5, False, False),
        (6, -1, 3, True, True),
        (6, 1, 3, False, True),
        (7, 0, 3, True, True),
        (7, 0, 2, False, True),
        (7, 1, 4, True, True),
        (7, 1, 3, False, True),
        (7, -1, 2, True, True),
        (8, 0, 2, True, True),
        (8, -1, 1, True, True),
        (8, 1, 3, False, True),
        (8, 0, 3, False, False),
        (9, 0, 1, True, True),
        (1, 0, 1, True, True),
        (1, 1, 0, False, True),
        (1, 0, 2, False, False),
        (8, 2, 2, False, True),  # a charge that MiDi's table lacks is judged as neutral
        (6, 3, 4, False, True),
        (16, 0, 2, False, True),
        (17, 0, 1, False, True),
        (16, 0, 4, False, False),
        (2, 0, 0, False, False),
    ],
)
def test_tables_entry_by_entry(element: int, charge: int, valence: int, strict: bool, lenient: bool) -> None:
    structure = star(element, charge, [1.0] * valence)
    hydrogens = valence  # each has one bond and is stable in both tables
    assert stable_atoms(structure, strict_table(), neutral_fallback=False) == hydrogens + strict
    assert stable_atoms(structure, LENIENT, neutral_fallback=True) == hydrogens + lenient


def test_a_bond_of_unknown_kind_never_makes_an_atom_stable() -> None:
    mol = Chem.RWMol(Chem.AddHs(Chem.MolFromSmiles("O")))
    mol.GetBondWithIdx(0).SetBondType(Chem.BondType.DATIVE)
    assert stable_atoms(structure_of(mol), strict_table(), neutral_fallback=False) == 1  # the other hydrogen


@pytest.mark.parametrize("smiles", ["c1ccccc1", "c1cc[nH]c1", "c1ccoc1", "c1nnn[nH]1", "[O-][n+]1ccccc1", "c1ccc2ccccc2c1", "n1ccccc1"])
def test_aromatic_bonds_are_kekulised_not_rounded(smiles: str) -> None:
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    assert any(bond.GetIsAromatic() for bond in mol.GetBonds())
    structure = structure_of(mol)
    assert {order for _, _, order in structure.bonds} == {1.0, 2.0}
    assert stable_atoms(structure, strict_table(), neutral_fallback=False) == mol.GetNumAtoms()
    rounded = Structure(structure.numbers, structure.charges, None, tuple((i, j, 1.0) for i, j, _ in structure.bonds))
    assert stable_atoms(rounded, strict_table(), neutral_fallback=False) < mol.GetNumAtoms()  # the known fault, planted


def test_an_aromatic_ring_without_a_kekule_structure_keeps_order_one_and_a_half() -> None:
    mol = Chem.MolFromSmiles("c1cccc1", sanitize=False)  # five carbons, one hydrogen short of a Kekule structure
    structure = structure_of(mol)
    assert {order for _, _, order in structure.bonds} == {1.5}
    assert valences(structure).tolist() == [3.0] * 5
    assert not as_generated(structure).valid


@pytest.mark.parametrize(
    ("structure", "smiles"),
    [
        (star(6, 0, [1.0] * 4), "C"),
        (star(6, 0, [1.0] * 3), "[CH3]"),  # a radical stays one: no hydrogen is invented
        (star(7, 1, [1.0] * 4), "[NH4+]"),
        (star(8, -1, [1.0]), "[OH-]"),
        (star(1, 0, [1.0]), "[H][H]"),
        (of("[NH3+]CC(=O)[O-]"), "[NH3+]CC(=O)[O-]"),
        (of("N[C@@H](C)C(=O)O"), "CC(N)C(=O)O"),  # no stereochemistry
    ],
)
def test_valid_molecules_and_their_smiles(structure: Structure, smiles: str) -> None:
    verdict = as_generated(structure)
    assert (verdict.smiles, verdict.fault, verdict.fragments) == (smiles, None, 1)
    assert verdict.valid_and_connected


def test_invalid_and_unconnected_molecules_say_why() -> None:
    pentavalent = as_generated(star(6, 0, [1.0] * 5))
    assert pentavalent.fault is not None
    assert "valence" in pentavalent.fault
    assert pentavalent.smiles is None
    two = as_generated(of("C.O"))
    assert (two.valid, two.fragments, two.valid_and_connected) == (True, 2, False)
    empty = as_generated(Structure(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), None, ()))
    assert (empty.fault, empty.valid_and_connected) == ("no atoms", False)


def test_the_same_graph_in_any_order_of_atoms_has_one_smiles() -> None:
    mol = Chem.AddHs(Chem.MolFromSmiles("CC1OC1c1cnc[nH]1"))
    expected = as_generated(structure_of(mol)).smiles
    rng = np.random.default_rng(0)
    for _ in range(20):
        shuffled = Chem.RenumberAtoms(mol, rng.permutation(mol.GetNumAtoms()).tolist())
        assert as_generated(structure_of(shuffled)).smiles == expected
    assert Chem.MolToSmiles(Chem.MolFromSmiles(expected or "")) == Chem.CanonSmiles("CC1OC1c1cnc[nH]1")


def test_structure_of_undoes_build_mol() -> None:
    structure = of("C[N+](=O)[O-]")
    again = structure_of(build_mol(structure))
    assert (again.numbers == structure.numbers).all()
    assert (again.charges == structure.charges).all()
    assert again.bonds == structure.bonds
