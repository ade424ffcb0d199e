"""Molecules of every awkward kind, unsanitised and with coordinates, as the evaluator hands them to the metrics."""

from __future__ import annotations

from functools import cache

import numpy as np
from rdkit import Chem
from rdkit.Chem import rdDistGeom, rdForceFieldHelpers

from scidiff_molecules.sdf import Structure, build_mol, structure_of, with_conformer

SMILES = {
    "methane": "C",
    "benzene": "c1ccccc1",
    "charged": "C[NH3+]",
    "zwitterion": "[NH3+]CC(=O)[O-]",
    "radical": "C[CH2]",
    "bromine and chlorine": "Clc1ccc(Br)cc1",
    "nitro": "C[N+](=O)[O-]",
    "drug": "CC(=O)Nc1ccc(O)cc1",
}


def as_stated(structure: Structure) -> Chem.Mol:
    return with_conformer(build_mol(structure), structure).GetMol()


def embedded(smiles: str) -> Structure:
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    assert rdDistGeom.EmbedMolecule(mol, randomSeed=7) == 0
    if rdForceFieldHelpers.MMFFHasAllMoleculeParams(mol):
        rdForceFieldHelpers.MMFFOptimizeMolecule(mol)
    return structure_of(mol)


def apart(one: Structure, other: Structure, distance: float) -> Structure:
    """Two molecules as fragments of one, the second moved along x (Angstrom)."""
    assert one.positions is not None
    assert other.positions is not None
    n = len(one)
    return Structure(
        np.concatenate([one.numbers, other.numbers]),
        np.concatenate([one.charges, other.charges]),
        np.concatenate([one.positions, other.positions + [distance, 0.0, 0.0]]),
        (*one.bonds, *((i + n, j + n, order) for i, j, order in other.bonds)),
    )


def star(center: int, corners: list[list[float]]) -> Structure:
    """An atom bound to hydrogens at ``corners`` (Angstrom)."""
    n = len(corners)
    bonds = tuple((0, k, 1.0) for k in range(1, n + 1))
    return Structure(np.array([center] + [1] * n), np.zeros(n + 1, dtype=np.int64), np.array([[0.0, 0.0, 0.0], *corners]), bonds)


@cache
def zoo() -> dict[str, Structure]:
    animals = {name: embedded(smiles) for name, smiles in SMILES.items()}
    animals["two fragments"] = apart(animals["methane"], embedded("O"), 6.0)
    third = 2.0 * np.pi / 3.0
    plane = [[1.09 * float(np.cos(k * third)), 1.09 * float(np.sin(k * third)), 0.0] for k in range(3)]
    animals["hypervalent"] = star(6, [*plane, [0.0, 0.0, 1.09], [0.0, 0.0, -1.09]])
    animals["one atom"] = star(6, [])
    return animals
