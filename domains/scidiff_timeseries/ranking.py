"""Ranking candidates by losses on a few windows of many series.

A handful of windows of one series says little, those of the whole panel say nothing of what is particular to a series. A candidate's score
is a blend of both, and how much a series' own windows count is itself chosen by leaving one window out.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
TRUSTS = (0.0, 0.25, 0.5, 0.75, 1.0)
_WORST = 10.0


def scores(losses: Array, trust: float) -> Array:
    """[candidate, series], lower is better: ``trust`` x (own mean loss / own best) + (1 - trust) x the panel's mean of that.

    ``losses`` [candidate, series, window]: NaN where a series has no such window, infinite where it cannot use the candidate.
    A series without windows gets the panel's score.
    """
    known = ~np.isnan(losses)
    own = np.where(known, losses, 0.0).sum(2) / np.maximum(known.sum(2), 1)
    seen = known.any((0, 2))
    best = own.min(0)
    relative = np.clip(own / np.where(best > 0, best, 1.0), None, _WORST)
    shared = relative[:, seen].mean(1, keepdims=True) if seen.any() else np.ones((len(losses), 1))
    return np.where(np.isinf(own), np.inf, np.where(seen, trust * relative + (1 - trust) * shared, shared))


def trust(losses: Array) -> float:
    """How much a series' own windows count: the one of :data:`TRUSTS` whose choices, made without a window, lose least on it."""
    lost = np.zeros(len(TRUSTS))
    for window in range(losses.shape[2]):
        held, others = losses[:, :, window], np.delete(losses, window, 2)
        judged = ~np.isnan(held).any(0) & ~np.isnan(others).all((0, 2))
        best = np.where(np.isinf(held), np.inf, held).min(0, initial=np.inf, where=~np.isnan(held))
        unit = np.where((best > 0) & np.isfinite(best), best, 1.0)
        for place, candidate in enumerate(TRUSTS):
            chosen = np.nan_to_num(scores(others, candidate), nan=np.inf).argmin(0)
            relative = np.clip(held[chosen, np.arange(held.shape[1])] / unit, None, _WORST)
            lost[place] += relative[judged].sum()
    return TRUSTS[int(lost.argmin())]
