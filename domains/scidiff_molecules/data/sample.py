"""The sample in the package: 3,000 / 500 / 500 molecules of QM9's train / valid / test split, so that demo and tests need no download.

`scripts/make_qm9_sample.py` draws it; ``QM9_SAMPLE.md`` beside it says where it comes from and under which terms.
"""

from __future__ import annotations

from pathlib import Path

import torch

from scidiff.errors import UserError

from .dataset import MoleculeDataset
from .hydrogens import to_implicit
from .qm9 import Hydrogens, Split

SAMPLE_FILE = Path(__file__).with_name("qm9_sample.safetensors")
SAMPLE_SIZES = {"train": 3000, "valid": 500, "test": 500}


def load_sample(split: Split | str = "all", *, hydrogens: Hydrogens | str = "explicit") -> MoleculeDataset:
    """The shipped sample of QM9, every molecule in the split it has in the whole; see `scidiff_molecules.data.qm9.load_qm9`.

    Raises
    ------
    UserError
        for another split, another value of ``hydrogens``, or a damaged file.
    """
    if split != "all" and split not in SAMPLE_SIZES:
        raise UserError(f"the QM9 sample has no split {split!r}; it has train, valid, test, all")
    if hydrogens not in ("explicit", "implicit"):
        raise UserError(f"hydrogens must be 'explicit' or 'implicit', not {hydrogens!r}")
    dataset = MoleculeDataset.load(SAMPLE_FILE)
    if len(dataset) != (total := sum(SAMPLE_SIZES.values())):
        raise UserError(f"{SAMPLE_FILE}: holds {len(dataset):,} molecules instead of {total:,}; reinstall scidiffusion")
    if split != "all":
        names = list(SAMPLE_SIZES)
        sizes = torch.tensor(list(SAMPLE_SIZES.values()))
        end = int(sizes.cumsum(0)[names.index(split)])
        dataset = dataset.select(range(end - SAMPLE_SIZES[split], end), split=split)
    return to_implicit(dataset) if hydrogens == "implicit" else dataset
