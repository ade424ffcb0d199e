r"""The year's cycle of a series: what is normal for the season, and how much varies then.

Transformed values are :math:`x_t = \mu(\phi_t) + s(\phi_t)\, u_t` with :math:`\phi` the time of the year in (0, 1),
:math:`\mu(\phi) = a_0 + \sum_{k \le 3} a_k \cos 2\pi k \phi + b_k \sin 2\pi k \phi` and :math:`\log s` a sum of two such harmonics without
a constant; base laws and network see u. Both are least-squares fits: of mu to differences from a moving average over one year, for trends
look like a season; of s where values return to their mean (a level that moves is not to be scaled, so s = 1 where the moving average varies
more than what is left). A series gets a cycle where, learned from its first two thirds, it makes differences over a quarter of a year
smaller in the last third, by more than chance; so a random walk gets none.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scidiff.config import Config

Array = NDArray[np.float64]
_MEAN, _SCALE = 3, 2
_YEARS = 3
_ROUNDS = 4
_SIGMAS = 1.5


class Climate(Config):
    """Coefficients (a_0, a_1, b_1, a_2, ...) of the mean, (a_1, b_1, ...) of the logarithm of the scale."""

    mean: tuple[float, ...]
    log_scale: tuple[float, ...]

    def moments(self, phase: Array) -> tuple[Array, Array]:
        """(mean, scale) at times of the year."""
        mean, log_scale = (_basis(phase, len(c) // 2) @ np.array(c) for c in (self.mean[1:], self.log_scale))
        return self.mean[0] + mean, np.exp(log_scale)


def fit_climate(x: Array, phase: Array, per_year: float) -> Climate | None:
    """Of values x [time] (NaN missing) at times of the year ``phase`` [time]; None for less than three years and where it does not help."""
    if len(x) < _YEARS * per_year or per_year < 12:
        return None
    lag = round(per_year / 4)
    cut = 2 * len(x) // 3
    learned = _fit(x[:cut], phase[:cut], round(per_year))
    if learned is None:
        return None
    late = x[cut:]
    gain = _squares(late, lag) - _squares(late - learned.moments(phase[cut:])[0], lag)
    return None if certain_mean(gain, lag, _SIGMAS) is None else _fit(x, phase, round(per_year))


def certain_mean(gain: Array, size: int, sigmas: float) -> float | None:
    """Mean of the means of a series' blocks of about ``size`` steps (NaN left out); None where it is not above 0 by ``sigmas`` standard
    errors of it."""
    split = [block[np.isfinite(block)] for block in np.array_split(gain, max(len(gain) // size, 1))]
    blocks = np.array([block.mean() for block in split if len(block)])
    if len(blocks) > 1 and blocks.mean() > sigmas * blocks.std(ddof=1) / np.sqrt(len(blocks)):
        return float(blocks.mean())
    return None


def moving_average(x: Array, steps: int) -> Array:
    """Centred, of what is known; NaN where less than half of it is."""
    return np.array(pd.Series(x).rolling(steps, center=True, min_periods=max(steps // 2, 1)).mean())


def _squares(x: Array, lag: int) -> Array:
    return (x[lag:] - x[:-lag]) ** 2


def _fit(x: Array, phase: Array, year: int) -> Climate | None:
    basis, cycle, half = _basis(phase, _MEAN), np.zeros(2 * _MEAN), year // 2
    slow = rest = x
    for _ in range(_ROUNDS):  # of missing values the moving average holds some of the cycle: less each time
        slow = moving_average(rest, year)
        slow[:half] = slow[len(x) - half :] = np.nan  # not a whole year
        seen = np.isfinite(x - slow)
        if seen.sum() < 10 * (_MEAN + _SCALE):
            return None
        cycle = _regress(basis[seen], (x - slow)[seen])[1:]
        rest = x - basis @ cycle
    centre = float(np.nanmean(rest))
    log_scale = np.zeros(2 * _SCALE)
    if np.nanstd(slow) < np.nanstd(rest - slow):
        size, known = np.abs(rest - centre), np.isfinite(rest)
        floor = 1e-3 * np.nanstd(rest) + 1e-300
        log_scale = _regress(_basis(phase[known], _SCALE), np.log(size[known] + floor))[1:]
    return Climate(mean=(centre, *cycle.tolist()), log_scale=tuple(log_scale.tolist()))


def _regress(basis: Array, y: Array) -> Array:
    """Coefficients, the constant first."""
    return np.asarray(np.linalg.lstsq(np.concatenate((np.ones((len(y), 1)), basis), 1), y, rcond=None)[0], dtype=np.float64)


def _basis(phase: Array, harmonics: int) -> Array:
    angle = 2 * np.pi * np.asarray(phase)[..., None] * np.arange(1, harmonics + 1)
    both = np.stack((np.cos(angle), np.sin(angle)), -1)
    return np.asarray(both.reshape(*np.shape(phase), 2 * harmonics), dtype=np.float64)
