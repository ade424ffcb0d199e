"""Are training molecules being repeated? Nearest neighbours of samples, by the Tanimoto similarity of Morgan fingerprints.

A sample's nearest training molecule has similarity 1 when it is that molecule, or its twin in the fingerprint. Among small molecules the
nearest is never far; so the same is measured for validation molecules, which were not trained on: what is usual.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from rdkit import Chem, DataStructs, rdBase
from rdkit.Chem import rdFingerprintGenerator

from scidiff_molecules.data import MoleculeDataset
from scidiff_molecules.metrics.adapter import structures
from scidiff_molecules.sdf import build_mol, sanitize_fault

MOST = 5000
"""Training molecules that are compared with, evenly spread over all."""


@dataclass(frozen=True)
class TrainingSet:
    """Fingerprints (Morgan, radius 2, 2048 bits, chirality left out) of training molecules, and what is usual of validation molecules."""

    fingerprints: list[Any]
    usual: float

    @classmethod
    def of(cls, training: MoleculeDataset, validation: MoleculeDataset) -> TrainingSet:
        prints = _fingerprints(_molecules(training, MOST))
        others = nearest(_fingerprints(_molecules(validation, 200)), prints)
        return cls(prints, float(np.mean(others)) if others else 0.0)

    def measure(self, samples: Sequence[Chem.Mol | None]) -> dict[str, float]:
        """``nearest_training``: mean similarity of samples to their nearest training molecule; ``nearest_training_usual``: of validation
        molecules; ``training_twins``: share of samples of similarity 1. Nothing where no sample sanitises."""
        found = nearest(_fingerprints([mol for mol in samples if mol is not None]), self.fingerprints)
        if not found:
            return {}
        twins = float(np.mean([value == 1.0 for value in found]))
        return {"nearest_training": float(np.mean(found)), "nearest_training_usual": self.usual, "training_twins": twins}


def nearest(some: Sequence[Any], known: Sequence[Any]) -> list[float]:
    """Of each fingerprint, the greatest Tanimoto similarity to one that is known."""
    return [max(cast("list[float]", DataStructs.BulkTanimotoSimilarity(one, list(known))), default=0.0) for one in some]


def _molecules(dataset: MoleculeDataset, most: int) -> list[Chem.Mol]:
    count = min(len(dataset), most)
    part = dataset.select(torch.arange(count) * len(dataset) // count)
    return [build_mol(structure, implicit_hydrogens=True) for structure in structures(part)]


def _fingerprints(molecules: Sequence[Chem.Mol]) -> list[Any]:
    made = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=2048)
    found: list[Any] = []
    with rdBase.BlockLogs():
        for mol in molecules:
            heavy = Chem.Mol(mol)
            if sanitize_fault(heavy) is None:
                found.append(made.GetFingerprint(Chem.RemoveHs(heavy)))
    return found
