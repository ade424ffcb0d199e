"""95 % intervals of ratios of sums, by a circular block bootstrap over windows.

Windows that follow each other share their weather or their market. So blocks of consecutive windows are resampled, on a circle such
that every window is drawn equally often, and the ratio sum(numerators) / sum(denominators) is formed anew for each of 2000 resamples;
the interval runs from their 2.5 % to their 97.5 % quantile. The random numbers are numpy's Philox, fixed by the seed: the interval of
given windows is a fixed pair of numbers. With few windows (fewer than some twenty) such an interval is too narrow; it then is a
lower bound of the uncertainty, not its measure. Source: Politis and Romano 1992.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scidiff_timeseries.arrays import ArrayLike

LEVEL = 0.95
RESAMPLES = 2000


@dataclass(frozen=True)
class Interval:
    """A confidence interval [low, high] and how it was made."""

    low: float
    high: float
    method: str


def default_block(windows: int) -> int:
    """Length of a block: the cube root of the number of windows, rounded up (the rate that is best for the variance)."""
    return max(1, math.ceil(windows ** (1 / 3) - 1e-9))


def circular_blocks(windows: int, block: int | None, resamples: int, seed: int) -> NDArray[np.intp]:
    """Indices [resamples, windows] of resampled windows: blocks of ``block`` neighbours, which wrap around at the end.

    Raises:
        ValueError: not 1 <= block <= windows.
    """
    length = default_block(windows) if block is None else block
    if not 1 <= length <= windows:
        raise ValueError(f"a block holds 1 to {windows} windows, got {length}")
    starts = np.random.Generator(np.random.Philox(seed)).integers(windows, size=(resamples, -(-windows // length)))
    return ((starts[..., None] + np.arange(length)) % windows).reshape(resamples, -1)[:, :windows]


def ratio_interval(
    numerators: ArrayLike, denominators: ArrayLike, *, block: int | None = None, unit: str = "windows", seed: int = 0
) -> Interval | None:
    """95 % interval of sum(numerators) / sum(denominators).

    The first axis of both arrays [windows, ...] is resampled, in order of time; the other axes (series that share the window's time)
    stay together. ``block=1`` resamples independent units, such as unrelated series. None if there is one window only, or if the
    denominators of some resample sum to zero.
    """
    top, bottom = np.asarray(numerators, dtype=np.float64), np.asarray(denominators, dtype=np.float64)
    if top.shape != bottom.shape or top.ndim == 0:
        raise ValueError(f"numerators and denominators need one shape [windows, ...], got {top.shape} and {bottom.shape}")
    windows = len(top)
    if windows < 2:
        return None
    length = default_block(windows) if block is None else block
    picks = circular_blocks(windows, length, RESAMPLES, seed)
    top, bottom = (values.reshape(windows, -1).sum(axis=1)[picks].sum(axis=1) for values in (top, bottom))
    if not (bottom > 0).all():
        return None
    low, high = np.quantile(top / bottom, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(low), float(high), f"circular block bootstrap over {windows} {unit}, blocks of {length}, {RESAMPLES} resamples")


def skill_interval(
    ours: ArrayLike, theirs: ArrayLike, *, block: int | None = None, unit: str = "windows", seed: int = 0
) -> Interval | None:
    """95 % interval of the skill 1 - sum(ours) / sum(theirs), losses [windows, ...] of two methods on the same windows.

    Both are resampled together, so what makes a window hard for both cancels. An interval above zero: ours is better.
    """
    interval = ratio_interval(ours, theirs, block=block, unit=unit, seed=seed)
    return interval and Interval(1 - interval.high, 1 - interval.low, interval.method)
