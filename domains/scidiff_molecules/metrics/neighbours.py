"""Nearest neighbours among known molecules, by the Tanimoto similarity of Morgan fingerprints (radius 2, 2048 bits, no chirality)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, cast

from rdkit import Chem, DataStructs, rdBase
from rdkit.Chem import rdFingerprintGenerator

from scidiff_molecules.sdf import sanitize_fault, without_hydrogens


def nearest(some: Sequence[Any], known: Sequence[Any]) -> list[float]:
    """Of each fingerprint, the greatest Tanimoto similarity to one that is known."""
    return [max(cast("list[float]", DataStructs.BulkTanimotoSimilarity(one, list(known))), default=0.0) for one in some]


def fingerprints(molecules: Iterable[Chem.Mol]) -> list[Any]:
    """Of those molecules that sanitise, hydrogens implicit."""
    made = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=2048)
    found: list[Any] = []
    with rdBase.BlockLogs():
        for mol in molecules:
            heavy = Chem.Mol(mol)
            if sanitize_fault(heavy) is None:
                found.append(made.GetFingerprint(without_hydrogens(heavy)))
    return found


def fingerprints_of_smiles(smiles: Iterable[str]) -> list[Any]:
    """The same of SMILES that metric B wrote. A radical's or an ion's are read as they were written."""
    with rdBase.BlockLogs():
        return fingerprints(mol for mol in map(Chem.MolFromSmiles, smiles) if mol is not None)
