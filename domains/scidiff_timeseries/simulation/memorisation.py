r"""Does a simulator repeat its training data? Nearest neighbours of windows.

A window is ``length`` consecutive values (returns) of all columns, each in units of its training deviation. For a window s with nearest
training window t* the ratio :math:`d(s, t^*) / d(t^*, \mathrm{nn}(t^*))` compares its Euclidean distance with that of t* to *its* nearest
training window (windows that overlap t* are none). The training windows' own ratios, each left out, say what is usual; a copy has 0.
Being relative to the same place it does not mistake calm windows, which are near to everything, for copies.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scidiff_timeseries.simulation.facts import Fact
from scidiff_timeseries.simulation.resample import Units, ratio, weighted_quantiles

__all__ = ["COPIED", "FACTS", "Memory", "windows"]

Array = NDArray[np.float64]
COPIED = 0.5
MOST = 1000
"""Windows that are looked up, evenly spread over all."""
_LIBRARY, _CHUNK = 20_000, 200
_GROUP = "Memorisation"
FACTS = (
    Fact("nearest", "nearest training window", "median over windows of d(s, t*) / d(t*, nn(t*)); observed: training windows", _GROUP),
    Fact("copies", "near copies", f"share of windows with a ratio below {COPIED}", _GROUP, share=True),
)


@dataclass(frozen=True)
class Memory:
    """The training windows, [window, value], where each starts, and the unit of every column."""

    windows: Array
    starts: NDArray[np.intp]
    length: int
    unit: Array

    @classmethod
    def of(cls, values: Array, length: int) -> Memory | None:
        """Of training values [time, column]; None if there are no two windows without overlap."""
        there = np.isfinite(values)
        count = np.maximum(there.sum(0), 1)
        mean = np.where(there, values, 0.0).sum(0) / count
        spread = np.sqrt(np.where(there, (values - mean) ** 2, 0.0).sum(0) / count)
        unit = np.where(spread > 0, spread, 1.0)
        kept, starts, _ = windows(values[None] / unit, length)
        if len(kept) < 2 or starts[-1] - starts[0] < length:
            return None
        return cls(kept, starts, length, unit)

    def ratios(self, values: Array) -> tuple[Array, NDArray[np.intp], NDArray[np.intp]]:
        """(ratios, paths, starts) of the windows of values [path, time, column] that follow each other without overlap."""
        made, starts, path = windows(values / self.unit, self.length, step=self.length)
        kept = _spread(len(made), MOST)
        distance, nearest = self._nearest(made[kept])
        return self._relative(distance, nearest), path[kept], starts[kept]

    def left_out(self) -> tuple[Array, NDArray[np.intp]]:
        """The training windows' own ratios, and where they start."""
        kept = _spread(len(self.windows), MOST)
        distance, nearest = self._nearest(self.windows[kept], self.starts[kept])
        return self._relative(distance, nearest), self.starts[kept]

    def _nearest(self, some: Array, starts: NDArray[np.intp] | None = None) -> tuple[Array, NDArray[np.intp]]:
        """(distance, number) of the nearest training window; with ``starts`` of one that does not overlap, infinite if all do."""
        found, number = np.full(len(some), np.inf), np.zeros(len(some), dtype=np.intp)
        for first in range(0, len(some), _CHUNK):
            part = slice(first, first + _CHUNK)
            far = (self.windows**2).sum(1) - 2 * some[part] @ self.windows.T  # up to the window's own norm, the same for all
            if starts is not None:
                far[np.abs(starts[part, None] - self.starts) < self.length] = np.inf
            number[part] = far.argmin(1)
            alone = np.isinf(far[np.arange(len(far)), number[part]])
            exact = np.sqrt(((some[part] - self.windows[number[part]]) ** 2).sum(1))  # a copy has 0, not rounding's rest
            found[part] = np.where(alone, np.inf, exact)
        return found, number

    def _relative(self, distance: Array, nearest: NDArray[np.intp]) -> Array:
        distinct, back = np.unique(nearest, return_inverse=True)
        own = self._nearest(self.windows[distinct], self.starts[distinct])[0][back]
        there = np.isfinite(distance) & np.isfinite(own)
        found = np.full(len(distance), np.nan)
        some = there & (own > 0)
        found[some] = distance[some] / own[some]
        found[there & (own == 0) & (distance == 0)] = 0.0
        return found


def facts(ratios: Array, number: NDArray[np.intp], units: Units) -> dict[str, Array]:
    """:data:`FACTS` of ratios [n] that belong to these units."""
    there = np.isfinite(ratios)
    ratios, number = ratios[there], number[there]
    units_there = units.weights.shape[1]
    copied, total = (units.weights @ np.bincount(number, terms, units_there) for terms in (ratios < COPIED, np.ones(len(ratios))))
    return {"nearest": weighted_quantiles(ratios, number, units, (0.5,))[:, 0], "copies": ratio(copied, total)}


def windows(values: Array, length: int, step: int = 1) -> tuple[Array, NDArray[np.intp], NDArray[np.intp]]:
    """(windows [n, value], starts [n], paths [n]) of [path, time, column] that miss no value."""
    paths, times, columns = values.shape
    if times < length:
        return np.zeros((0, length * columns)), np.zeros(0, dtype=np.intp), np.zeros(0, dtype=np.intp)
    view = np.lib.stride_tricks.sliding_window_view(values, length, axis=1)[:, ::step]
    path, start = np.indices(view.shape[:2])
    flat = view.reshape(paths * view.shape[1], -1)
    whole = np.isfinite(flat).all(1)
    path, start = path.ravel()[whole], step * start.ravel()[whole]
    thin = _spread(len(path), _LIBRARY)
    return flat[whole][thin], start[thin].astype(np.intp), path[thin].astype(np.intp)


def _spread(count: int, most: int) -> NDArray[np.intp]:
    return np.linspace(0, count - 1, min(count, most)).round().astype(np.intp)
