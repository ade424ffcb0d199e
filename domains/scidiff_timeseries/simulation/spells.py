"""Spells: runs of consecutive steps on which something holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scidiff_timeseries.simulation.resample import Units, ratio, weighted_quantiles

__all__ = ["Spells", "spells"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Spells:
    """Runs of one column: ``lengths`` [run], and the unit that each begins in."""

    lengths: NDArray[np.intp]
    unit: NDArray[np.intp]

    def mean(self, units: Units) -> Array:
        """Mean length, [1 + resamples]."""
        return ratio(self._sums(units, self.lengths), self._sums(units, np.ones(len(self.lengths))))

    def quantile(self, units: Units, level: float) -> Array:
        """Quantile of the lengths, [1 + resamples]."""
        return weighted_quantiles(self.lengths.astype(np.float64), self.unit, units, (level,))[:, 0]

    def long(self, units: Units, known: Array, fewest: int) -> Array:
        """Share of the known steps [path, time] (1 or 0) that lie in runs of at least ``fewest`` steps, [1 + resamples]."""
        return ratio(self._sums(units, np.where(self.lengths >= fewest, self.lengths, 0)), units.sums(known))

    def _sums(self, units: Units, terms: NDArray[Any]) -> Array:
        return units.weights @ np.bincount(self.unit, terms, minlength=units.weights.shape[1])


def spells(holds: NDArray[np.bool_], known: NDArray[np.bool_], units: Units) -> Spells:
    """Maximal runs of steps [path, time] that are known and hold.

    A run ends where a value is missing and at the ends of a path, and counts with the length that was seen.
    """
    inside = holds & known
    edge = np.zeros((len(inside), 1), dtype=bool)
    steps = np.diff(np.concatenate([edge, inside, edge], axis=1).astype(np.int8), axis=1)
    path, begin = np.nonzero(steps == 1)
    _, end = np.nonzero(steps == -1)
    return Spells((end - begin).astype(np.intp), units.number[path, begin])
