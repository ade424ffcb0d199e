"""Draw the sample of QM9 that ships in the package (`scidiff_molecules.data.load_sample`) from the whole.

    python scripts/make_qm9_sample.py [--out FILE]

Needs QM9 (`pip install qm9pack==1.0.3`, or its cached copy). The same molecules and bytes come out every time.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from scidiff_molecules.data import MoleculeDataset, load_qm9, split_indices
from scidiff_molecules.data.sample import SAMPLE_FILE, SAMPLE_SIZES

SEED = 2014


def draw(whole: MoleculeDataset) -> MoleculeDataset:
    """``SAMPLE_SIZES`` molecules of each split, in the order of QM9's numbers within it."""
    random = np.random.RandomState(SEED)
    parts = {name: np.sort(random.choice(split_indices(name).numpy(), size, replace=False)) for name, size in SAMPLE_SIZES.items()}
    rows = torch.from_numpy(np.concatenate(list(parts.values())))
    sample = whole.select(rows, name="QM9 sample", split="all", splits=SAMPLE_SIZES, seed=SEED)
    for stale in ("bonds", "formula_mismatch", "unassigned"):  # these count the whole
        sample.metadata.pop(stale, None)
    return sample


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=SAMPLE_FILE)
    out = parser.parse_args().out
    draw(load_qm9()).save(out)
    print(f"{out}: {out.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
