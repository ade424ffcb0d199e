r"""Return levels: what is exceeded once in T years on average, from a generalised extreme value (GEV) law of yearly maxima.

The law's parameters come from L-moments, which for the few dozen years that there are beat maximum likelihood and always exist
(Hosking, Wallis and Wood 1985); its quantile at 1 - 1/T is that of ``scipy.stats.genextreme``, whose shape c is Hosking's k.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import gamma
from scipy.stats import genextreme

from scidiff_timeseries.simulation.resample import Units

__all__ = ["FEWEST_YEARS", "gev", "return_levels", "yearly_maxima"]

Array = NDArray[np.float64]
FEWEST_YEARS = 10
_GUMBEL, _STEP = 1e-7, 1e-4
_WHOLE = 0.9
"""Share of a year's steps that must be known."""


def yearly_maxima(values: Array, years: NDArray[np.intp], units: Units, per_year: float) -> tuple[Array, NDArray[np.intp]]:
    """(maxima [n], units) of every path [path, time] and calendar year of which at least 90 % of its ``per_year`` steps are known."""
    found: list[Array] = []
    where: list[NDArray[np.intp]] = []
    for year in np.unique(years):
        mine = np.flatnonzero(years == year)
        part = values[:, mine]
        whole = np.isfinite(part).sum(1) >= _WHOLE * per_year
        if whole.any():
            found.append(np.nanmax(part[whole], axis=1))
            where.append(units.number[whole, mine[0]])
    if not found:
        return np.zeros(0), np.zeros(0, dtype=np.intp)
    return np.concatenate(found), np.concatenate(where)


def gev(maxima: Array) -> tuple[float, float, float]:
    """(shape c, location, scale) of scipy's ``genextreme`` by L-moments; NaN if fewer than 3 maxima or none differ."""
    c, location, scale = _gev(np.sort(maxima), np.ones((1, len(maxima))))
    return float(c[0]), float(location[0]), float(scale[0])


def return_levels(maxima: Array, number: NDArray[np.intp], units: Units, periods: tuple[float, ...]) -> Array:
    """Levels [1 + resamples, period] of maxima [n] that belong to these units; NaN with fewer than 10 of them."""
    if len(maxima) < FEWEST_YEARS:
        return np.full((len(units.weights), len(periods)), np.nan)
    order = np.argsort(maxima)
    c, location, scale = _gev(maxima[order], units.weights[:, number[order]])
    levels = genextreme.ppf(1 - 1 / np.array(periods), c[:, None], loc=location[:, None], scale=scale[:, None])
    return np.asarray(levels, dtype=np.float64)


def _gev(x: Array, weights: Array) -> tuple[Array, Array, Array]:
    """Of sorted values [n], each as often as its whole weight [resample, n] says."""
    above = np.cumsum(weights, axis=1)
    n = above[:, -1]
    below = above - weights
    with np.errstate(invalid="ignore", divide="ignore"):  # too few values: NaN
        b0 = weights @ x / n  # probability weighted moments, from sums of the ranks 0, 1, ... that a value's copies have
        b1 = (above * (above - 1) - below * (below - 1)) / 2 @ x / (n * (n - 1))
        b2 = (above * (above - 1) * (above - 2) - below * (below - 1) * (below - 2)) / 3 @ x / (n * (n - 1) * (n - 2))
        second, third = 2 * b1 - b0, 6 * b2 - 6 * b1 + b0
        second = np.where((second > 1e-12 * np.abs(x).max(initial=0.0)) & (n >= 3), second, np.nan)
        c = _shape(third / second)
        gumbel = np.abs(c) < _GUMBEL
        safe = np.where(gumbel, 1.0, c)
        factor = gamma(1 + safe)
        scale = np.where(gumbel, second / math.log(2), second * safe / (-np.expm1(-safe * math.log(2)) * factor))
        location = np.where(gumbel, b0 - np.euler_gamma * scale, b0 - scale * (1 - factor) / safe)
    return np.where(gumbel, 0.0, c), location, scale


def _shape(skew: Array) -> Array:
    """c with 2 (1 - 3^-c) / (1 - 2^-c) - 3 = L-skewness, by Newton's steps from Hosking's rational start."""

    def f(c: Array) -> Array:
        c = np.where(np.abs(c) < _GUMBEL, _GUMBEL, c)
        return 2 * np.expm1(-c * math.log(3)) / np.expm1(-c * math.log(2)) - 3 - skew

    skew = np.clip(skew, -0.95, 0.95)
    start = 2 / (3 + skew) - math.log(2) / math.log(3)
    c = 7.8590 * start + 2.9554 * start**2
    for _ in range(8):
        c = np.maximum(c - f(c) / ((f(c + _STEP) - f(c - _STEP)) / (2 * _STEP)), -0.99)  # at -1 and below there is no mean
    return c
