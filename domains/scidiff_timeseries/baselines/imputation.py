"""Simple imputations that every table carries. They are deterministic: all their paths are one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scidiff.errors import UserError
from scidiff_timeseries.arrays import ArrayLike

Array = NDArray[np.float64]

__all__ = ["last_value", "linear_interpolation"]


def linear_interpolation(values: ArrayLike, otherwise: ArrayLike = np.nan, n_paths: int = 1) -> Array:
    """Paths [n_paths, time] or [n_paths, time, channel] of values [time] or [time, channel], NaN where something is missing.

    Between two known values of a channel their straight line in time, before the first the first, after the last the last; channels
    without any known value get ``otherwise`` (one number, or one a channel). Known values are kept.

    Raises:
        UserError: other shapes, or infinite values.
    """
    table, shape = _table(values)
    filled, rest = table.copy(), np.broadcast_to(np.asarray(otherwise, dtype=np.float64), table.shape[1:])
    for channel, column in enumerate(table.T):
        known = np.flatnonzero(~np.isnan(column))
        missing = np.flatnonzero(np.isnan(column))
        filled[missing, channel] = np.interp(missing, known, column[known]) if len(known) else rest[channel]
    return np.repeat(filled.reshape(1, *shape), n_paths, 0)


def last_value(values: ArrayLike, otherwise: ArrayLike = np.nan, n_paths: int = 1) -> Array:
    """Paths as of :func:`linear_interpolation`: the last known value of the channel, before the first known one that one, and ``otherwise``
    in channels without any."""
    table, shape = _table(values)
    filled, rest = table.copy(), np.broadcast_to(np.asarray(otherwise, dtype=np.float64), table.shape[1:])
    for channel, column in enumerate(table.T):
        known = np.flatnonzero(~np.isnan(column))
        if len(known):
            before = np.searchsorted(known, np.arange(len(column)), side="right") - 1
            filled[:, channel] = column[known[np.maximum(before, 0)]]
        else:
            filled[:, channel] = rest[channel]
    return np.repeat(filled.reshape(1, *shape), n_paths, 0)


def _table(values: ArrayLike) -> tuple[Array, tuple[int, ...]]:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim not in (1, 2):
        raise UserError(f"values are [time] or [time, channel], got shape {array.shape}")
    if np.isinf(array).any():
        place = tuple(int(i) for i in np.argwhere(np.isinf(array))[0])
        raise UserError(f"the value at {place} is infinite; write NaN where it is missing")
    return array.reshape(len(array), -1), array.shape
