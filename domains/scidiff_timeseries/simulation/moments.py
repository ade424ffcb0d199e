"""Statistics that are functions of sums over times, of every bootstrap resample at once.

All take values [path, time, column] with NaN where missing, and return draws [1 + resamples, ...].
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scidiff_timeseries.simulation.resample import Units, ratio, weighted_quantiles

__all__ = ["aggregated", "central_moments", "co_exceedance", "correlations", "hill", "kurtosis", "lagged_correlation", "middle"]

Array = NDArray[np.float64]
_TAIL_KEPT = 4
"""Times the tail that is kept sorted for a resample to find its own in."""


def middle(draws: Array) -> Array:
    """Median over the last axis of what is not NaN; NaN where nothing is left."""
    there = np.isfinite(draws)
    kept = np.sort(np.where(there, draws, np.inf), axis=-1)
    count = there.sum(-1, keepdims=True)
    low, high = (np.take_along_axis(kept, np.clip((count - up) // 2, 0, draws.shape[-1] - 1), -1) for up in (1, 0))
    return np.where(count[..., 0] > 0, 0.5 * (np.where(count > 0, low, 0.0) + np.where(count > 0, high, 0.0))[..., 0], np.nan)


def aggregated(returns: Array, steps: int) -> Array:
    """Overlapping sums of ``steps`` consecutive returns, [path, time - steps + 1, column], at their first time."""
    return np.lib.stride_tricks.sliding_window_view(returns, steps, axis=1).sum(-1)


def central_moments(units: Units, x: Array, order: int) -> list[Array]:
    """Mean and the central moments 2, ..., ``order``, each [1 + resamples, column]."""
    shift = _mean(x)
    powers = [units.mean((x - shift) ** k) for k in range(1, order + 1)]
    m = powers[0]
    found = [m + shift, powers[1] - m**2]
    if order >= 3:
        found.append(powers[2] - 3 * m * powers[1] + 2 * m**3)
    if order >= 4:
        found.append(powers[3] - 4 * m * powers[2] + 6 * m**2 * powers[1] - 3 * m**4)
    return found


def kurtosis(units: Units, x: Array) -> Array:
    """m4 / m2^2 - 3, [1 + resamples, column]: 0 for a Gaussian."""
    _, m2, _, m4 = central_moments(units, x, 4)
    return ratio(m4, np.maximum(m2, 0.0) ** 2) - 3


def lagged_correlation(units: Units, x: Array, y: Array, lag: int) -> Array:
    """Pearson's correlation of the pairs (x_t, y_{t + lag}), pooled over paths and times, [1 + resamples, column]."""
    end = x.shape[1] - lag
    a, b = (x - _mean(x))[:, :end], (y - _mean(y))[:, lag:]
    there = np.isfinite(a) & np.isfinite(b)
    a, b = np.where(there, a, 0.0), np.where(there, b, 0.0)
    n, sa, sb, saa, sbb, sab = (units.sums(term) for term in (there.astype(np.float64), a, b, a * a, b * b, a * b))
    spread = np.sqrt(np.maximum(n * saa - sa**2, 0.0) * np.maximum(n * sbb - sb**2, 0.0))
    return ratio(n * sab - sa * sb, spread)


def correlations(units: Units, x: Array) -> Array:
    """Pearson's correlation of every pair of columns i < j at one time, [1 + resamples, pair]."""
    first, second = np.triu_indices(x.shape[2], 1)
    return lagged_correlation(units, x[..., first], x[..., second], 0)


def co_exceedance(units: Units, x: Array, level: float) -> Array:
    """P(x_j is below its own quantile at ``level`` | x_i is), mean over the pairs i < j, [1 + resamples].

    It is ``level`` for independent columns. The quantiles are those of each resample. Times at which a column is missing are left out.
    """
    number, flat = units.number.ravel(), x.reshape(-1, x.shape[2])
    whole = np.isfinite(flat).all(1)
    number, flat = number[whole], flat[whole]
    thresholds = np.stack([weighted_quantiles(column, number, units, (level,))[:, 0] for column in flat.T], 1)
    found = np.full(len(units.weights), np.nan)
    upper = np.triu_indices(x.shape[2], 1)
    for row, threshold in enumerate(thresholds):
        weight = units.weights[row, number]
        drawn = weight > 0
        below = (flat[drawn] <= threshold).astype(np.float64)
        joint = (below * weight[drawn, None]).T @ below
        each = joint.diagonal()
        found[row] = ratio(joint, 0.5 * (each[:, None] + each))[upper].mean()
    return found


def hill(units: Units, x: Array, tail: float) -> Array:
    r"""Hill's tail index of the upper tail of each column, [1 + resamples, column].

    :math:`\hat\alpha = k / \sum_{i \le k} \ln(x_{(i)} / x_{(k+1)})` over the k largest values, k = ``tail`` of all. A law with
    P(X > x) ~ x^-alpha gives alpha; moments above alpha do not exist. Source: Hill 1975.
    """
    number = np.broadcast_to(units.number[..., None], x.shape)
    return np.stack([_hill(x[..., c].ravel(), number[..., c].ravel(), units.weights, tail) for c in range(x.shape[2])], 1)


def _hill(x: Array, number: NDArray[np.intp], weights: Array, tail: float) -> Array:
    there = np.isfinite(x)
    x, number = x[there], number[there]
    order = np.argsort(-x)[: int(_TAIL_KEPT * tail * len(x)) + 2]
    order = order[x[order] > 0]
    totals = weights @ np.bincount(number, minlength=weights.shape[1]).astype(np.float64)
    found = np.full(len(weights), np.nan)
    logs = np.log(x[order])
    for row, total in enumerate(totals):
        w = weights[row, number[order]]
        reached = np.cumsum(w)
        k = np.floor(tail * total + 1e-9)
        last = int(np.searchsorted(reached, k))  # the k-th value
        after = int(np.searchsorted(reached, k + 0.5))  # the one behind it
        if k < 1 or after >= len(logs):
            continue
        w = w[: last + 1].copy()
        w[last] -= reached[last] - k
        excess = float(w @ (logs[: last + 1] - logs[after]))
        found[row] = k / excess if excess > 0 else np.nan
    return found


def quantile_draws(units: Units, x: Array, number: NDArray[np.intp], levels: tuple[float, ...]) -> Array:
    """Quantiles of the known ones of values [n] that belong to these units, [1 + resamples, level]."""
    there = np.isfinite(x)
    return weighted_quantiles(x[there], number[there], units, levels)


def _mean(x: Array) -> Array:
    """Over paths and times, [column]; 0 where nothing is known."""
    there = np.isfinite(x)
    return np.where(there, x, 0.0).sum((0, 1)) / np.maximum(there.sum((0, 1)), 1)
