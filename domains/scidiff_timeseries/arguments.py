"""Arguments of a :class:`~scidiff_timeseries.forecaster.Forecaster`, checked."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, cast

import numpy as np
import pandas as pd

from scidiff.errors import UserError
from scidiff_timeseries.panel import Panel

__all__ = ["MAX_PATHS", "MAX_STEPS", "MAX_VALUES", "check_size", "chosen_series", "plain", "stamp_asked", "within"]

MAX_PATHS = 100_000
MAX_STEPS = 20_000
MAX_VALUES = 200_000_000
"""Values in one answer: paths x steps x series x channels."""


def stamp_asked(start: str | pd.Timestamp | None) -> pd.Timestamp | None:
    """Raises UserError for what is no date."""
    try:
        stamp = None if start is None else pd.Timestamp(start)
    except (ValueError, TypeError) as error:
        raise UserError(f"start = {start!r} is no date or time ({error})") from error
    if stamp is pd.NaT:
        raise UserError(f"start = {start!r} is no date or time")
    return cast("pd.Timestamp | None", stamp)


def within(name: str, value: int, low: int, high: int) -> int:
    """Raises UserError for what is no whole number in these bounds."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not low <= value <= high:
        raise UserError(f"{name} = {value}: a whole number from {low:,} to {high:,} is needed")
    return int(value)


def check_size(n_paths: int, steps: int, columns: int, seed: int) -> None:
    """Raises UserError for more paths, or values in all, than one answer holds, or a seed out of range. ``columns``: series x channels."""
    within("n_paths", n_paths, 1, MAX_PATHS)
    within("seed", seed, 0, 2**63)
    values = n_paths * steps * columns
    if values > MAX_VALUES:
        raise UserError(
            f"{n_paths:,} paths of {steps:,} steps for {columns:,} series and channels are {values:,} values; the limit of one answer "
            f"is {MAX_VALUES:,}: ask for less at a time"
        )


def chosen_series(panel: Panel, n_paths: int, length: int, id: Hashable | None, seed: int) -> list[int]:  # noqa: A002
    """The numbers of the series of this id, or of all. Raises UserError where there is none, and as :func:`check_size` does."""
    within("length", length, 1, MAX_STEPS)
    chosen = [number for number, series in enumerate(panel) if id is None or series.id == id]
    if not chosen:
        raise UserError(f"no series {id!r}; known: {', '.join(map(str, panel.ids[:20]))}")
    check_size(n_paths, length, len(chosen) * len(panel.channels), seed)
    return chosen


def plain(frame: Mapping[str, Any]) -> dict[str, Any]:
    """The frame's options as JSON; a table of static covariates is data and not kept."""
    return {key: value for key, value in frame.items() if not isinstance(value, pd.DataFrame) and value is not None}
