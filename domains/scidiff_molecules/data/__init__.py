"""Molecular data: QM9 and its shipped sample, drug-like ligands, the user's own; bonds, hydrogens, and the dataset that carries them."""

from __future__ import annotations

from .add import add_molecules
from .bonds import Bonds, assign_bonds
from .dataset import Molecule, MoleculeDataset, size_histogram
from .hydrogens import add_hydrogens, to_implicit
from .ligands import load_ligands
from .qm9 import cache_folder, half_of, load_qm9, split_indices
from .sample import load_sample

__all__ = [
    "Bonds",
    "Molecule",
    "MoleculeDataset",
    "add_hydrogens",
    "add_molecules",
    "assign_bonds",
    "cache_folder",
    "half_of",
    "load_ligands",
    "load_qm9",
    "load_sample",
    "size_histogram",
    "split_indices",
    "to_implicit",
]
