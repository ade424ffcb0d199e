"""Scores of sample paths against what happened.

Shapes everywhere: ``paths`` [..., n_paths, horizon] and ``truth`` [..., horizon]; the leading axes are windows (series, origins or
both). An entry whose truth is NaN is left out of every sum. All arithmetic is float64.

Every ratio of sums is also given as its terms, one pair a window, so that :mod:`.intervals` can resample windows.
"""

from __future__ import annotations

import math
from typing import Final, Literal

import numpy as np
import scoringrules
from numpy.typing import NDArray

from scidiff_timeseries.arrays import ArrayLike

Array = NDArray[np.float64]
Rule = Literal["gluonts", "linear", "weibull"]

NINE: Final = tuple(round(0.1 * k, 1) for k in range(1, 10))
"""The levels 0.1 ... 0.9 of GluonTS."""
NINETEEN: Final = tuple(round(0.05 * k, 2) for k in range(1, 20))
"""The levels 0.05 ... 0.95 of CSDI."""
_BATCH_ENTRIES = 4_000_000  # floats held at once by the pairwise distances of the energy score


def checked(paths: ArrayLike, truth: ArrayLike) -> tuple[Array, Array, NDArray[np.bool_]]:
    """``paths`` and ``truth`` as float64, masked entries set to 0 in both, and the mask of the entries that count.

    Raises:
        ValueError: the shapes do not fit, there is no path, the truth is infinite, or a path is not finite where the truth is known.
    """
    p, y = np.asarray(paths, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    if p.ndim != y.ndim + 1 or p.shape[:-2] != y.shape[:-1] or p.shape[-1] != y.shape[-1]:
        raise ValueError(f"paths [..., n_paths, horizon] and truth [..., horizon] do not fit: {p.shape} and {y.shape}")
    if p.shape[-2] == 0:
        raise ValueError("there is no path: n_paths is 0")
    if np.isinf(y).any():
        raise ValueError("the truth holds infinite values; write NaN where nothing was observed")
    counted = ~np.isnan(y)
    p = np.where(counted[..., None, :], p, 0.0)
    if not np.isfinite(p).all():
        raise ValueError(f"{int((~np.isfinite(p)).sum())} values of the paths are NaN or infinite where the truth is known")
    return p, np.where(counted, y, 0.0), counted


def ratio(numerators: ArrayLike, denominators: ArrayLike) -> float:
    """sum(numerators) / sum(denominators); NaN where the denominators sum to zero (nothing observed, or all of it zero)."""
    bottom = float(np.sum(denominators))
    return float(np.sum(numerators)) / bottom if bottom > 0 else math.nan


def quantiles(paths: ArrayLike, levels: ArrayLike, rule: Rule = "gluonts") -> Array:
    """Quantiles over the paths, [level, ..., horizon].

    With n sorted paths x_0 <= ... <= x_{n-1}, the quantile at level q is

    - ``gluonts``: x_k with k = round((n - 1) q), half to even; what GluonTS' ``SampleForecast.quantile`` returns;
    - ``linear``: at the fractional index (n - 1) q; numpy's and torch's default;
    - ``weibull``: at the fractional index (n + 1) q - 1, within 0 ... n - 1. An observation exchangeable with the paths lies below
      it with probability q at every n, so coverage measured with it is not biased by the number of paths.
    """
    p, q = np.asarray(paths, dtype=np.float64), np.atleast_1d(np.asarray(levels, dtype=np.float64))
    if q.ndim != 1 or not ((q > 0) & (q < 1)).all():
        raise ValueError(f"quantile levels lie strictly between 0 and 1, got {q}")
    if rule != "gluonts":
        return np.quantile(p, q, axis=-2, method=rule)
    index = np.round((p.shape[-2] - 1) * q).astype(int)
    return np.moveaxis(np.take(np.sort(p, axis=-2), index, axis=-2), -2, 0)


def quantile_loss(forecast: Array, y: Array, level: Array | float) -> Array:
    """2 |(f - y)(1{y <= f} - q)| of forecasts f of quantile q."""
    return np.asarray(2 * np.abs((forecast - y) * ((y <= forecast) - level)))


def wql_terms(paths: ArrayLike, truth: ArrayLike, levels: ArrayLike = NINE, rule: Rule = "gluonts") -> tuple[Array, Array]:
    """Terms of :func:`wql`, one a window: the quantile losses averaged over levels and summed over the horizon, and sum |y|."""
    p, y, counted = checked(paths, truth)
    q = np.asarray(levels, dtype=np.float64)
    loss = np.zeros(y.shape)
    for level, forecast in zip(q, quantiles(p, q, rule), strict=True):
        loss += quantile_loss(forecast, y, level)
    return np.asarray(np.sum(loss * counted / len(q), axis=-1)), np.asarray(np.sum(np.abs(y), axis=-1))


def wql(paths: ArrayLike, truth: ArrayLike, levels: ArrayLike = NINE, rule: Rule = "gluonts") -> float:
    """CRPS as the forecasting literature reports it: GluonTS' ``mean_wQuantileLoss``.

    The mean over the levels q of QL_q = 2 sum |(f_q - y)(1{y <= f_q} - q)| / sum |y|; both sums run over all windows and entries
    together. NaN if sum |y| is zero. Source: ``gluonts.evaluation.Evaluator``, with nine levels and ``SampleForecast`` quantiles.
    """
    return ratio(*wql_terms(paths, truth, levels, rule))


def csdi_crps(paths: ArrayLike, truth: ArrayLike) -> float:
    """CRPS as CSDI reports it for imputation: :func:`wql` with nineteen levels and interpolated quantiles.

    ``truth`` is NaN everywhere but at the entries that were hidden on purpose. CSDI scores values standardised by each variable's
    mean and standard deviation. Source: Tashiro et al. 2021, ``calc_quantile_CRPS``.
    """
    return wql(paths, truth, NINETEEN, "linear")


def channel_sum(values: ArrayLike) -> Array:
    """Sum over the last axis (channels); NaN where any channel is."""
    return np.asarray(np.asarray(values, dtype=np.float64).sum(axis=-1))


def crps_sum(paths: ArrayLike, truth: ArrayLike, levels: ArrayLike = NINE) -> float:
    """CRPS-sum: :func:`wql` of the sum over channels, for paths drawn jointly.

    Shapes: paths [..., n_paths, horizon, channel], truth [..., horizon, channel]. A time at which any channel is missing is left out.
    Source: Salinas et al. 2019.
    """
    return wql(channel_sum(paths), channel_sum(truth), levels)


def crps(paths: ArrayLike, truth: ArrayLike) -> Array:
    """CRPS of the paths' empirical law at every entry, [..., horizon]; NaN where the truth is.

    E|X - y| - E|X - X'|/2 over the paths, in the unit of the data (``scoringrules.crps_ensemble``).
    """
    p, y, counted = checked(paths, truth)
    score = np.asarray(scoringrules.crps_ensemble(y, p, m_axis=-2, backend="numpy"), dtype=np.float64)
    return np.where(counted, score, np.nan)


def energy_score(paths: ArrayLike, truth: ArrayLike) -> Array:
    """Energy score of every window's joint law over the horizon, [...]; NaN for a window of which nothing was observed.

    ES = E||X - y|| - E||X - X'||/2 with the Euclidean norm over the observed entries, expectations over the paths (V-statistic), in
    the unit of the data (``scoringrules.es_ensemble``). Channels of one system: put them into the horizon axis, on one scale.
    Source: Gneiting and Raftery 2007.
    """
    p, y, counted = checked(paths, truth)
    n, horizon = p.shape[-2:]
    flat_p, flat_y = p.reshape(-1, n, horizon), y.reshape(-1, horizon)
    size = max(1, _BATCH_ENTRIES // max(1, n * n * horizon))
    score = np.zeros(len(flat_y))
    for i in range(0, len(flat_y), size):
        score[i : i + size] = scoringrules.es_ensemble(flat_y[i : i + size], flat_p[i : i + size], backend="numpy")
    return np.where(counted.any(axis=-1), score.reshape(y.shape[:-1]), np.nan)


def absolute_error_terms(paths: ArrayLike, truth: ArrayLike) -> tuple[Array, Array]:
    """Terms of :func:`mae`, one a window: sum |median - y| and the number of observed entries."""
    p, y, counted = checked(paths, truth)
    error = np.abs(np.median(p, axis=-2) - y) * counted
    return np.asarray(error.sum(axis=-1)), np.asarray(counted.sum(axis=-1), dtype=np.float64)


def mae(paths: ArrayLike, truth: ArrayLike) -> float:
    """Mean absolute error of the paths' median over all observed entries, in the unit of the data."""
    return ratio(*absolute_error_terms(paths, truth))


def seasonal_error(history: ArrayLike, season: int) -> float:
    """Mean of |y_t - y_{t-m}| over the pairs of a history [time] that are both observed.

    Season 1 is used where the history is not longer than ``season``, as GluonTS does. NaN without any pair.
    """
    y = np.asarray(history, dtype=np.float64)
    if y.ndim != 1 or season < 1:
        raise ValueError(f"a seasonal error needs a history [time] and a season of at least 1, got {y.shape} and {season}")
    lag = season if season < len(y) else 1
    differences = np.abs(y[lag:] - y[:-lag])
    differences = differences[~np.isnan(differences)]
    return float(differences.mean()) if len(differences) else math.nan


def mase_terms(paths: ArrayLike, truth: ArrayLike, seasonal_errors: ArrayLike) -> tuple[Array, Array]:
    """Terms of :func:`mase`, one a window: its scaled error, and 1 where the window counts (both 0 where it does not)."""
    errors, counts = absolute_error_terms(paths, truth)
    scale = np.broadcast_to(np.asarray(seasonal_errors, dtype=np.float64), errors.shape)
    kept = (counts > 0) & (scale > 0)
    scaled = np.divide(errors, counts * scale, out=np.zeros(errors.shape), where=kept)
    return scaled, kept.astype(np.float64)


def mase(paths: ArrayLike, truth: ArrayLike, seasonal_errors: ArrayLike) -> float:
    """Mean over windows of (mean |median - y| over the horizon) / (:func:`seasonal_error` of the window's own history).

    ``seasonal_errors`` [...], one a window. Windows without an observed entry, and those whose seasonal error is zero or NaN (a
    constant or too short history), are left out; NaN if none is left. Source: Hyndman and Koehler 2006.
    """
    return ratio(*mase_terms(paths, truth, seasonal_errors))
