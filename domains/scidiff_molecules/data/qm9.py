"""QM9: 130,831 small organic molecules with their relaxed geometry (B3LYP/6-31G(2df,p)) and fifteen properties.

Ramakrishnan, Dral, Rupp, von Lilienfeld, Sci. Data 1, 140022 (2014). Of 133,885 molecules the 3,054 that failed the authors'
consistency check are left out. The split is that of EDM (Hoogeboom et al. 2022), GeoLDM and JODO:
``numpy.random.seed(0); permutation(130831)``, the first 100,000 train, the next 17,748 valid, the last 13,083 test.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import Tensor

from scidiff.errors import UserError

from .build import build
from .dataset import MoleculeDataset
from .hydrogens import to_implicit
from .sources import MOLECULES, Source
from .storage import REMEDY

Split = Literal["train", "valid", "test", "all"]
Hydrogens = Literal["explicit", "implicit"]
TRAIN, TEST = 100_000, int(0.1 * MOLECULES)
VALID = MOLECULES - TRAIN - TEST
CACHE_FILE = "qm9.safetensors"
METHANE_CH = 1.092
"""Angstrom, the C-H bond of molecule 1."""


def cache_folder() -> Path:
    """``$SCIDIFF_CACHE``, else ``~/.cache/scidiff``."""
    given = os.environ.get("SCIDIFF_CACHE")
    return Path(given).expanduser() if given else Path.home() / ".cache" / "scidiff"


def split_indices(split: Split | str) -> Tensor:
    """int64 [M], rows (in the order of QM9's numbers) of a split, in the order EDM's permutation gives them; "all" is 0 ... 130,830.

    Raises
    ------
    UserError
        for another name.
    """
    if split == "all":
        return torch.arange(MOLECULES)
    order = np.random.RandomState(0).permutation(MOLECULES)  # the legacy generator, its global state left alone
    parts = dict(zip(("train", "valid", "test"), np.split(order, [TRAIN, TRAIN + VALID]), strict=True))
    if split not in parts:
        raise UserError(f"QM9 has no split {split!r}; it has train, valid, test, all")
    return torch.from_numpy(parts[split].astype(np.int64))


def half_of(count: int, half: Literal["judge", "generator"]) -> Tensor:
    """int64, half of ``count`` training molecules (of QM9 100,000): the first half of a permutation (numpy, seed 42) trains the judge of
    properties, the second the generator that is judged. The protocol of EDM (Hoogeboom et al. 2022), GeoLDM and JODO."""
    order = np.random.RandomState(42).permutation(count)
    return torch.from_numpy(order[: count // 2] if half == "judge" else order[count // 2 :])


def load_qm9(
    split: Split | str = "all",
    *,
    hydrogens: Hydrogens | str = "explicit",
    cache: Path | None = None,
    source: Path | None = None,
    progress: bool = True,
) -> MoleculeDataset:
    """QM9 with bonds and formal charges; made on first use (about a minute), then read from one cached file.

    Parameters
    ----------
    split:
        ``train`` (100,000), ``valid`` (17,748), ``test`` (13,083), or ``all`` in the order of QM9's numbers.
    hydrogens:
        ``explicit``, or ``implicit``: heavy atoms alone, their hydrogens counted in ``num_h`` (see `to_implicit`).
    cache:
        folder of the cached file; default `cache_folder`.
    source:
        ``dsgdb9nsd.xyz.tar.bz2`` or a folder of ``dsgdb9nsd_*.xyz``, with ``uncharacterized.txt`` beside them; default the package
        qm9pack. Given, the cached file is made anew.

    Raises
    ------
    UserError
        if there is no source (it says what to install), or if source or cache are damaged.
    """
    if hydrogens not in ("explicit", "implicit"):
        raise UserError(f"hydrogens must be 'explicit' or 'implicit', not {hydrogens!r}")
    rows = split_indices(split)
    path = (cache or cache_folder()) / CACHE_FILE
    if source is not None or not path.exists():
        whole = prepare(path, source, progress=progress)
    else:
        whole = MoleculeDataset.load(path)
        check(whole, str(path))
    if split != "all":
        whole = whole.select(rows, split=split)
    return to_implicit(whole) if hydrogens == "implicit" else whole


def prepare(path: Path, source: Path | None = None, *, progress: bool = True) -> MoleculeDataset:
    """Read QM9 from its source, assign bonds, check it and write the cached file ``path``; the dataset itself is returned."""
    where = Source.find(source)
    whole = build(where, MOLECULES, progress=progress)
    whole.metadata |= {"name": "QM9", "source": where.kind, "split": "all", "molecules": len(whole)}
    check(whole, str(where.path))
    if whole.metadata["formula_mismatch"]:
        numbers = whole.metadata["formula_mismatch"]
        raise UserError(f"{where.path}: SMILES and atoms disagree in {len(numbers):,} molecules, first QM9 number {numbers[0]}")
    whole.save(path)
    return whole


def check(whole: MoleculeDataset, place: str) -> None:
    """Refuse what is not all of QM9: 130,831 molecules, numbers strictly rising from 1 to 133,885, methane's C-H bonds 1.092 A.

    Raises
    ------
    UserError
        naming ``place`` and what was found.
    """
    if len(whole) != MOLECULES:
        raise UserError(f"{place}: holds {len(whole):,} molecules, QM9 has {MOLECULES:,}; {REMEDY}")
    index = whole.fields["index"]
    if not bool((index.diff() > 0).all()) or int(index[0]) != 1 or int(index[-1]) != 133_885:
        raise UserError(f"{place}: QM9's numbers do not rise from 1 to 133,885; {REMEDY}")
    methane = cast(Any, whole[0])
    bonds = (methane.pos[1:] - methane.pos[0]).norm(dim=-1)
    if methane.z.tolist() != [6, 1, 1, 1, 1] or not bool(((bonds - METHANE_CH).abs() < 5e-4).all()):
        raise UserError(f"{place}: molecule 1 is not methane with C-H {METHANE_CH} A (found {bonds.tolist()}); {REMEDY}")
