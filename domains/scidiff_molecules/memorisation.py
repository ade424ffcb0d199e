"""Are training molecules being repeated? Nearest neighbours of samples, by the Tanimoto similarity of Morgan fingerprints.

A sample's nearest training molecule has similarity 1 when it is that molecule, or its twin in the fingerprint. Among small molecules the
nearest is never far; so the same is measured for validation molecules, which were not trained on: what is usual.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from rdkit import Chem

from scidiff_molecules.data import MoleculeDataset
from scidiff_molecules.metrics.adapter import structures
from scidiff_molecules.metrics.neighbours import fingerprints, nearest
from scidiff_molecules.sdf import build_mol

MOST = 5000
"""Training molecules that are compared with, evenly spread over all."""


@dataclass(frozen=True)
class TrainingSet:
    """Fingerprints (Morgan, radius 2, 2048 bits, chirality left out) of training molecules, and what is usual of validation molecules."""

    fingerprints: list[Any]
    usual: float

    @classmethod
    def of(cls, training: MoleculeDataset, validation: MoleculeDataset) -> TrainingSet:
        prints = fingerprints(_molecules(training, MOST))
        others = nearest(fingerprints(_molecules(validation, 200)), prints)
        return cls(prints, float(np.mean(others)) if others else 0.0)

    def measure(self, samples: Sequence[Chem.Mol | None]) -> dict[str, float]:
        """``nearest_training``: mean similarity of samples to their nearest training molecule; ``nearest_training_usual``: of validation
        molecules; ``training_twins``: share of samples of similarity 1. Nothing where no sample sanitises."""
        found = nearest(fingerprints([mol for mol in samples if mol is not None]), self.fingerprints)
        if not found:
            return {}
        twins = float(np.mean([value == 1.0 for value in found]))
        return {"nearest_training": float(np.mean(found)), "nearest_training_usual": self.usual, "training_twins": twins}


def _molecules(dataset: MoleculeDataset, most: int) -> list[Chem.Mol]:
    count = min(len(dataset), most)
    part = dataset.select(torch.arange(count) * len(dataset) // count)
    return [build_mol(structure, implicit_hydrogens=True) for structure in structures(part)]
