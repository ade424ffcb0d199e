r"""Two questions about a statistic: how uncertain is the data's, and which values do samples as large as the data have under a simulator?

Both are answered by drawing *units* with replacement. Of the data, units are blocks of consecutive times, and as many are drawn as there
are: a block bootstrap (Carlstein 1986). Of a simulator, units are its paths, and as many are drawn as make a sample of the data's size: so
kurtosis or drawdowns, which grow with the amount of data, are compared at the same amount.

A statistic is a function of sums over times; a term that reaches ahead (:math:`x_t x_{t+k}`) belongs to the unit of its first time and
keeps its true successor, so units have no joints. Sums are formed once for each unit and weighted by how often a resample drew it.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

__all__ = ["LEVEL", "Units", "ratio", "resolved", "weighted_quantiles"]

Array = NDArray[np.float64]
LEVEL = 0.95
FEWEST_PATHS = 8
"""With fewer, blocks of times are drawn."""


@dataclass(frozen=True)
class Units:
    """How often every resample drew each unit.

    Attributes:
        number: of the unit that each [path, time] belongs to; does not decrease along paths, one after the other.
        weights: [1 + resamples, unit]; the first row is 1, everything there is.
        what: in words.
    """

    number: NDArray[np.intp]
    weights: Array
    what: str

    @classmethod
    def of(cls, shape: tuple[int, int], *, block: int, resamples: int, seed: int, size: int | None = None) -> Units:
        """``size`` None: blocks of ``block`` times of the data. Otherwise samples of that many times from simulated paths: whole ones
        (cut into pieces of the size where they are much longer), or blocks where there are fewer than 8."""
        paths, times = shape
        pieces = 1 if size is None else max(1, round(times / size))
        if size is None or paths * pieces < FEWEST_PATHS:
            pieces, what = max(1, times // block), f"blocks of {block} steps"
        else:
            what = "paths" if pieces == 1 else f"pieces of {times // pieces} steps"
        inside = np.minimum(np.arange(times) // (times // pieces), pieces - 1)  # the last one takes the rest
        number = inside + pieces * np.arange(paths)[:, None]
        drawn = None if size is None else max(1, round(size * pieces / times))
        return cls.numbered(number, what, resamples, seed, drawn)

    @classmethod
    def numbered(cls, number: NDArray[np.intp], what: str, resamples: int, seed: int, drawn: int | None = None) -> Units:
        """Units by their numbers 0, 1, ... [path, time], of which each resample draws ``drawn``, or as many as there are."""
        count = int(number.max()) + 1
        drawn = count if drawn is None else drawn
        picks = np.random.Generator(np.random.Philox(seed)).multinomial(drawn, np.full(count, 1 / count), size=resamples)
        weights = np.concatenate([np.ones((1, count)), picks.astype(np.float64)])
        return cls(number, weights, f"{drawn} of {count} {what}")

    def each(self, terms: Array) -> Array:
        """Sums of terms [path, time', ...] over every unit, [unit, ...]; NaN counts as 0, and times beyond the last term have none."""
        number, count = self.number[:, : terms.shape[1]].ravel(), self.weights.shape[1]
        flat = np.nan_to_num(terms).reshape(len(number), -1)
        bounds = np.searchsorted(number, np.arange(count + 1))
        sums = np.stack([flat[low:high].sum(0) for low, high in pairwise(bounds)])
        return sums.reshape(count, *terms.shape[2:])

    def sums(self, terms: Array) -> Array:
        """Sums over every resample, [1 + resamples, ...]."""
        each = self.each(terms)
        return (self.weights @ each.reshape(len(each), -1)).reshape(len(self.weights), *each.shape[1:])

    def mean(self, values: Array) -> Array:
        """Means of the values that are not NaN, [1 + resamples, ...]; NaN where there are none."""
        there = np.isfinite(values)
        return ratio(self.sums(np.where(there, values, 0.0)), self.sums(there.astype(np.float64)))


def ratio(top: Array, bottom: Array) -> Array:
    """top / bottom, NaN where the denominator is 0."""
    return np.divide(top, bottom, out=np.full(np.broadcast(top, bottom).shape, np.nan), where=bottom != 0)


def resolved(draws: Array) -> tuple[float, float, float]:
    """(value of everything, low, high) of draws [1 + resamples]: low and high hold 95 % of the resamples; NaN without any finite one."""
    rest = draws[1:][np.isfinite(draws[1:])]
    if not len(rest):
        return float(draws[0]), float("nan"), float("nan")
    low, high = np.quantile(rest, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(draws[0]), float(low), float(high)


def weighted_quantiles(values: Array, number: NDArray[np.intp], units: Units, levels: tuple[float, ...]) -> Array:
    """Quantiles [1 + resamples, level] of values [n] that belong to these units: the smallest value that at least this share lies at or
    below. NaN where a resample drew none."""
    order = np.argsort(values)
    ordered, number = values[order], number[order]
    found = np.full((len(units.weights), len(levels)), np.nan)
    for row, weights in enumerate(units.weights):  # one by one: a table of all would not fit the caches
        cumulative = np.cumsum(weights[number])
        if len(cumulative) and cumulative[-1] > 0:
            at = np.searchsorted(cumulative, np.array(levels) * cumulative[-1] * (1 - 1e-12))
            found[row] = ordered[np.minimum(at, len(ordered) - 1)]
    return found
