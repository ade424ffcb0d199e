"""The mean course of a season shorter than a year: of a day's hours, of a week's days.

Base laws let seasons wander, each sample path from a start of its own; what all seasons have in common is their mean course, and is taken
off before. It is the mean difference, at each step of the season, from a moving average over one season. A series gets one where, learned
from its first two thirds, it makes differences over half a season smaller in the last third, by more than chance.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from scidiff.config import Config
from scidiff_timeseries.climate import certain_mean, moving_average

Array = NDArray[np.float64]
_SEASONS = 12
_SIGMAS = 3.0
_YEAR = 0.9


class Profile(Config):
    """``means``: of each step of the season, with mean zero."""

    means: tuple[float, ...]

    def at(self, step: Array) -> Array:
        """At steps of these numbers (NaN: of the first)."""
        return np.array(self.means)[np.nan_to_num(step).astype(np.intp) % len(self.means)]


def fit_profile(x: Array, step: Array, seasons: Sequence[int], per_year: float) -> Profile | None:
    """Of values x [time] (NaN missing) at steps of these numbers, for the season of which it helps most; None where it does not, for less
    than twelve seasons, and for a season that is the year (:mod:`scidiff_timeseries.climate` knows better)."""
    able = [m for m in seasons if _SEASONS * m <= len(x) and (per_year < 12 or m < _YEAR * per_year)]
    cut, lags = 2 * len(x) // 3, {m // 2 for m in able}
    best: tuple[float, int] | None = None
    for m in able:
        late = x[cut:]
        rest = late - _mean_course(x[:cut], step[:cut], m).at(step[cut:])
        gain = sum((_squares(late, lag) - _squares(rest, lag) for lag in lags), np.zeros(len(late)))
        mean = certain_mean(gain, m, _SIGMAS)
        if mean is not None and (best is None or mean > best[0]):
            best = mean, m
    return None if best is None else _mean_course(x, step, best[1])


def _squares(x: Array, lag: int) -> Array:
    """Of the difference to ``lag`` steps before; NaN where there is none."""
    found = np.full(len(x), np.nan)
    found[lag:] = (x[lag:] - x[: len(x) - lag]) ** 2
    return found


def _mean_course(x: Array, step: Array, season: int) -> Profile:
    away = x - moving_average(x, season)
    seen, slot = np.isfinite(away), step.astype(np.intp) % season
    means = np.bincount(slot[seen], away[seen], season) / np.maximum(np.bincount(slot[seen], minlength=season), 1)
    return Profile(means=tuple((means - means.mean()).tolist()))
