"""Frames of paths and of observations as arrays [path, time, column], whatever their layout."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scidiff.errors import UserError, did_you_mean
from scidiff_timeseries.frames import RESERVED, numbers

__all__ = ["Paths", "matched", "read_paths"]

Array = NDArray[np.float64]
MAX_VALUES = 200_000_000


@dataclass(frozen=True)
class Paths:
    """Joint paths.

    Attributes:
        values: [path, time, column], NaN where missing.
        keys: (series, channel) of every column; the series is empty in frames without ids.
        stamps: [time], what the time column holds, sorted; None for frames without times.
    """

    values: Array
    keys: tuple[tuple[str, str], ...]
    stamps: pd.Index | None

    @property
    def columns(self) -> tuple[str, ...]:
        """Short unique names: the channel or the series alone where the other is the same everywhere."""
        series, channels = (len({key[i] for key in self.keys}) for i in (0, 1))
        if series == 1:
            return tuple(channel for _, channel in self.keys)
        return tuple(name if channels == 1 else f"{name} {channel}" for name, channel in self.keys)

    def take(self, keys: tuple[tuple[str, str], ...]) -> Paths:
        """The columns with these keys, in this order."""
        return replace(self, values=self.values[..., [self.keys.index(key) for key in keys]], keys=keys)


def read_paths(
    frame: pd.DataFrame,
    *,
    id: Hashable = "unique_id",  # noqa: A002
    time: Hashable = "ds",
    what: str = "paths",
) -> Paths:
    """Read a frame of paths, or of what was observed (one path).

    Columns: ``path`` numbers the paths (without it the frame is one path), ``id`` names the series (without it all belong to one), ``time``
    orders the rows (or an index of time stamps; without either the rows stand in order); every other column is a channel. So this takes
    :class:`~scidiff_timeseries.paths.SamplePaths`, long frames, and wide frames with or without a column ``path``.

    Args:
        what: how errors call the frame.

    Raises:
        UserError: no rows or no column of numbers, an infinite value, a series that has a time of a path twice, or too many values.
    """
    info = frame.attrs.get("sample_paths", {})
    id, time = info.get("id", id), info.get("time", time)  # noqa: A001
    if not isinstance(frame, pd.DataFrame) or frame.empty:
        raise UserError(f"the {what} are empty; give a DataFrame with a row for each time")
    channels = [label for label in frame.columns if label not in (id, time, RESERVED)]
    if not channels:
        raise UserError(f"the {what} have no column of values beside {', '.join(map(repr, frame.columns))}")
    path, _ = pd.factorize(frame[RESERVED], sort=True) if RESERVED in frame else (np.zeros(len(frame), dtype=np.intp), None)
    series, names = pd.factorize(frame[id]) if id in frame else (np.zeros(len(frame), dtype=np.intp), pd.Index([""]))
    place, stamps = _times(frame, time, path, series)
    shape = (int(path.max()) + 1, int(place.max()) + 1, len(names), len(channels))
    if np.prod(shape, dtype=np.float64) > MAX_VALUES:
        raise UserError(f"the {what} are {shape[0]:,} paths of {shape[1]:,} times and {shape[2] * shape[3]:,} columns, too many at once")
    cell = np.ravel_multi_index((path, place, series), shape[:3])
    if len(np.unique(cell)) < len(cell):
        raise UserError(f"the {what} have a time twice in one path of a series; number the paths in a column {RESERVED!r}")
    values = np.full((int(np.prod(shape[:3])), len(channels)), np.nan)
    for k, label in enumerate(channels):
        values[cell, k] = numbers(cast(pd.Series, frame[label]), label)
        if np.isinf(values[:, k]).any():
            raise UserError(f"the {what}, column {label!r}: a value is infinite; replace it by NaN if it is missing")
    keys = tuple((str(name), str(label)) for name in names for label in channels)
    return Paths(values.reshape(*shape[:2], -1), keys, stamps)


def _times(
    frame: pd.DataFrame, time: Hashable, path: NDArray[np.intp], series: NDArray[np.intp]
) -> tuple[NDArray[np.intp], pd.Index | None]:
    column: Any = frame[time] if time in frame else frame.index if isinstance(frame.index, pd.DatetimeIndex) else None
    if column is None:  # rows stand in order
        whose = path * (int(series.max()) + 1) + series
        return pd.Series(whose).groupby(whose).cumcount().to_numpy(), None
    codes, stamps = pd.factorize(column, sort=True)
    if (codes < 0).any():
        raise UserError(f"the time column {time!r} has missing values; drop these rows")
    return codes, pd.Index(stamps)


def matched(paths: Paths, observed: Paths, name: str = "paths") -> Paths:
    """The paths' columns in the order of the observed ones; single columns need not share a name.

    Raises:
        UserError: an observed column that the paths lack.
    """
    if len(paths.keys) == len(observed.keys) == 1:
        return replace(paths, keys=observed.keys)
    if all(key in paths.keys for key in observed.keys):
        return paths.take(observed.keys)
    by_name = dict(zip(paths.columns, paths.keys, strict=True))  # one frame may be long, the other wide
    for label in observed.columns:
        if label not in by_name:
            hint = did_you_mean(label, by_name)
            raise UserError(f"{name}: no column {label!r}, which was observed{hint}; it has {', '.join(list(by_name)[:12])}")
    return replace(paths.take(tuple(by_name[label] for label in observed.columns)), keys=observed.keys)
