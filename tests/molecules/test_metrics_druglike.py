"""Corrected stability on molecules counted by hand, and descriptors against known values."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from math import nan
from pathlib import Path

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import QED, Crippen, rdDistGeom
from rdkit.Chem.Scaffolds import MurckoScaffold
from support.zoo import zoo

from scidiff_molecules.metrics import druglike
from scidiff_molecules.metrics.druglike import corrected_stable_atoms, corrected_table, describe
from scidiff_molecules.metrics.valence import as_generated
from scidiff_molecules.sdf import Structure, structure_of

UNSTABLE = {"radical": 1, "hypervalent": 1, "one atom": 1}  # the carbon of valence 3, 5, 0; all else in the zoo is stable


@pytest.mark.parametrize("name", zoo())
def test_the_zoo_is_as_stable_as_fingers_say(name: str) -> None:
    assert corrected_stable_atoms(zoo()[name]) == len(zoo()[name]) - UNSTABLE.get(name, 0)


def test_no_atoms_no_stable_ones() -> None:
    assert corrected_stable_atoms(structure_of(Chem.Mol())) == 0


ALLOWED = ["H0 0+1", "C0 0+4", "C0 2+1", "C0 2+2", "C0 3+0", "N0 0+3", "N0 2+0", "N0 2+1", "N0 3+0", "N1 0+4", "N1 2+1", "O0 0+2", "O0 2+0"]
ALLOWED += ["O-1 0+1", "S0 0+2", "S0 0+4", "S0 0+6", "S0 2+0", "P0 0+5", "F0 0+1", "Cl0 0+1", "Br0 0+1", "I0 0+1", "B0 0+3", "Si0 0+4"]
# what the rounding of aromatic bonds to one allowed, radicals, and misdrawn charges
FORBIDDEN = ["H0 0+0", "H0 0+2", "C0 0+3", "C0 0+5", "C0 2+0", "C0 2+3", "N0 0+2", "N0 0+4", "N0 0+5", "N1 0+3", "O0 0+1", "O0 0+3"]


def entry(text: str) -> druglike.Entry:
    atom, bonds = text.split()
    symbol = atom.rstrip("-0123456789")
    aromatic, other = bonds.split("+")
    return Chem.GetPeriodicTable().GetAtomicNumber(symbol), int(atom[len(symbol) :]), int(aromatic), float(other)


def test_the_table_holds_textbook_valences_and_not_the_known_faults() -> None:
    assert {entry(text) for text in ALLOWED} <= corrected_table()
    assert not {entry(text) for text in FORBIDDEN} & corrected_table()


@pytest.mark.long
def test_the_table_is_what_its_script_counts(tmp_path: Path) -> None:
    pytest.importorskip("biotite")
    root = Path(__file__).parents[2]
    made = tmp_path / "table.json"
    subprocess.run([sys.executable, root / "scripts/make_druglike_valences.py", "--out", made], check=True, capture_output=True)
    shipped = root / "domains/scidiff_molecules/data_reference/druglike_valences.json"
    assert json.loads(made.read_text())["counts"] == json.loads(shipped.read_text())["counts"]


def test_a_neutral_nitro_group_is_judged_before_it_is_mended() -> None:
    nitro = zoo()["nitro"]
    bonds = tuple((i, j, 2.0 if {nitro.numbers[i], nitro.numbers[j]} == {7, 8} else order) for i, j, order in nitro.bonds)
    stated = replace(nitro, charges=np.zeros_like(nitro.charges), bonds=bonds)
    assert corrected_stable_atoms(stated) == len(stated) - 1
    assert as_generated(nitro).valid
    assert not as_generated(stated).valid  # as the generator says of its own molecules


def aromatic_as_stated(smiles: str) -> Structure:
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    bonds = tuple((b.GetBeginAtomIdx(), b.GetEndAtomIdx(), b.GetBondTypeAsDouble()) for b in mol.GetBonds())
    return replace(structure_of(mol), bonds=bonds)


@pytest.mark.parametrize("smiles", ["c1ccccc1", "c1ccn2cccc2c1", "Cn1cnc2c1c(=O)n(C)c(=O)n2C", "c1ccc2ccccc2c1", "C[n+]1ccccc1"])
def test_stated_aromatic_or_kekulised_is_the_same(smiles: str) -> None:
    aromatic, kekulised = aromatic_as_stated(smiles), structure_of(Chem.AddHs(Chem.MolFromSmiles(smiles)))
    assert {order for *_, order in aromatic.bonds} != {order for *_, order in kekulised.bonds}
    assert corrected_stable_atoms(aromatic) == corrected_stable_atoms(kekulised) == len(aromatic)


def test_what_does_not_sanitise_is_counted_as_stated() -> None:
    ring = [(k, (k + 1) % 5, 1.5) for k in range(5)] + [(k, k + 5, 1.0) for k in range(5)]  # five aromatic CH: no Kekule form
    odd = Structure(np.array([6] * 5 + [1] * 5), np.zeros(10, dtype=np.int64), None, tuple(ring))
    entries, mol = druglike.aromatic_entries(odd)
    assert mol is None
    assert set(entries) == {(6, 0, 2, 1.0), (1, 0, 0, 1.0)}
    dative = Structure(np.array([6, 1]), np.zeros(2, dtype=np.int64), None, ((0, 1, nan),))
    assert corrected_stable_atoms(dative) == 0


def test_the_old_fault_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def rounded(structure: Structure) -> tuple[list[druglike.Entry], None]:
        entries, _ = real(structure)
        return [(z, charge, 0, other + aromatic) for z, charge, aromatic, other in entries], None

    real = druglike.aromatic_entries
    monkeypatch.setattr(druglike, "aromatic_entries", rounded)
    assert corrected_stable_atoms(zoo()["benzene"]) == 6


KNOWN = {  # QED, SA, logP (RDKit's published examples), scaffold, rings
    "CC(=O)Oc1ccccc1C(=O)O": (0.550, 1.580, 1.3101, "c1ccccc1", (6,)),
    "Cn1cnc2c1c(=O)n(C)c(=O)n2C": (0.538, 2.298, -1.0293, "O=c1[nH]c(=O)c2[nH]cnc2[nH]1", (5, 6)),
    "C": (None, None, 0.6361, "", ()),
    "C12C3C4C1C5C2C3C45": (None, None, None, "C12C3C4C1C1C2C3C41", (4, 4, 4, 4, 4)),  # cubane: 6 faces, 5 independent
    "C1CC2CCC1C2": (None, None, None, "C1CC2CCC1C2", (5, 5)),
}


@pytest.mark.parametrize("smiles", KNOWN)
def test_descriptors_of_known_molecules(smiles: str) -> None:
    qed, sa, logp, scaffold, rings = KNOWN[smiles]
    mol = Chem.MolFromSmiles(smiles)
    found = describe(mol)
    for value, known, places in ((found.qed, qed, 3), (found.sa, sa, 3), (found.logp, logp, 4)):
        assert known is None or round(value, places) == known
    assert (found.scaffold, found.ring_sizes) == (scaffold, rings)
    assert (found.qed, found.logp) == (QED.qed(mol), Crippen.MolLogP(mol))
    assert found.scaffold == MurckoScaffold.MurckoScaffoldSmiles(mol=mol)


@pytest.mark.parametrize("smiles", ["CC(=O)Nc1ccc(O)cc1", "C1CC2CCC1C2", "[NH3+]CC(=O)[O-]", "C[C@H](N)C(=O)NC1CC1", "CC(=N)N", "CC=N"])
def test_hydrogens_and_the_order_of_atoms_change_nothing(smiles: str) -> None:
    mol = Chem.MolFromSmiles(smiles)
    full = Chem.AddHs(mol)
    assert rdDistGeom.EmbedMolecule(full, randomSeed=1) == 0
    Chem.AssignStereochemistryFrom3D(full)  # with it, RDKit's default keeps the hydrogen of a C=NH
    mixed = Chem.RenumberAtoms(full, np.random.default_rng(0).permutation(full.GetNumAtoms()).tolist())
    plain, one, other = describe(mol), describe(full), describe(mixed)
    for found in (one, other):
        assert (found.scaffold, found.ring_sizes) == (plain.scaffold, plain.ring_sizes)
        assert [found.qed, found.sa, found.logp] == pytest.approx([plain.qed, plain.sa, plain.logp], abs=1e-12)
    assert full.GetNumAtoms() > mol.GetNumAtoms()  # the caller's molecule keeps its hydrogens


@pytest.mark.parametrize("smiles", ["[H][H]", "[C]", "C.O", "C[CH2]", "[Br-]", "[He]"])
def test_any_sanitised_molecule_is_described(smiles: str) -> None:
    found = describe(Chem.AddHs(Chem.MolFromSmiles(smiles)))
    assert 0 <= found.qed <= 1 <= found.sa <= 10
    assert (found.scaffold, found.ring_sizes) == ("", ())


def test_nothing_cannot_be_described() -> None:
    with pytest.raises(ValueError, match="without atoms"):
        describe(Chem.Mol())
