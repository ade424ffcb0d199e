"""Simple simulators that stand beside a model in every report, as frames of paths."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri
from scipy.stats import rankdata
from scipy.stats import t as student

from scidiff.errors import UserError

__all__ = ["block_bootstrap", "garch_t", "seasonal_bootstrap"]

Array = NDArray[np.float64]
_WARM_UP = 500
_FEWEST = 100


def block_bootstrap(returns: pd.DataFrame, n: int, length: int, *, block: float | int = 20, seed: int = 0) -> pd.DataFrame:
    """The stationary bootstrap of the joint returns: ``n`` paths of ``length`` rows of ``returns``, in blocks of geometric length with mean
    ``block``, on a circle. All columns keep their common days. Source: Politis and Romano 1994.

    Returns:
        Columns ``path`` and those of ``returns``.

    Raises:
        UserError: no rows without a missing value, or sizes below 1.
    """
    rows = _complete(returns, 1, n, length)
    if block < 1:
        raise UserError(f"blocks have a mean length of at least 1, got {block:g}")
    rng = np.random.Generator(np.random.Philox(seed))
    fresh = rng.random((n, length)) < 1 / block
    fresh[:, 0] = True
    starts = rng.integers(len(rows), size=(n, length))
    last = np.maximum.accumulate(np.where(fresh, np.arange(length), 0), axis=1)  # where the running block began
    picks = (np.take_along_axis(starts, last, axis=1) + np.arange(length) - last) % len(rows)
    return _frame(rows[picks], returns.columns)


def garch_t(returns: pd.DataFrame, n: int, length: int, *, seed: int = 0) -> pd.DataFrame:
    r"""A GARCH(1, 1) with Student-t innovations for every column (maximum likelihood, package ``arch``), joined by a Gaussian copula.

    :math:`r_t = \mu + \sigma_t z_t`, :math:`\sigma_t^2 = \omega + \alpha (r_{t-1} - \mu)^2 + \beta \sigma_{t-1}^2`, z Student-t of variance
    one with nu degrees of freedom. The normal scores of the standardised residuals give the copula's correlation. Paths start from the
    sample variance and forget it in 500 steps. Sources: Bollerslev 1987; Jondeau and Rockinger 2006.

    Raises:
        UserError: fewer than 100 complete rows, a constant column, or no ``arch``.
    """
    rows = _complete(returns, _FEWEST, n, length)
    fits = [_fit(rows[:, k], label) for k, label in enumerate(returns.columns)]
    scores = np.stack([ndtri(rankdata(fit[1]) / (len(fit[1]) + 1)) for fit in fits], 1)
    correlation = np.atleast_2d(np.corrcoef(scores.T))
    parameters = np.array([fit[0] for fit in fits]).T
    mu, omega, alpha, beta, freedom = parameters
    rng = np.random.Generator(np.random.Philox(seed))
    values, axes = np.linalg.eigh(correlation)
    root = axes * np.sqrt(np.maximum(values, 0.0))
    variance = np.tile(rows.var(0), (n, 1))
    drawn = np.empty((n, length, rows.shape[1]))
    for step in range(-_WARM_UP, length):
        g = rng.standard_normal((n, rows.shape[1])) @ root.T
        z = student.ppf(np.clip(ndtr(g), 1e-12, 1 - 1e-12), freedom) * np.sqrt((freedom - 2) / freedom)
        shock = np.sqrt(variance) * z
        if step >= 0:
            drawn[:, step] = mu + shock
        variance = omega + alpha * shock**2 + beta * variance
    return _frame(drawn, returns.columns)


def _fit(column: Array, label: Any) -> tuple[tuple[float, ...], Array]:
    """((mu, omega, alpha, beta, nu), standardised residuals)."""
    try:
        from arch import arch_model
    except ImportError as error:
        raise UserError("the reference GARCH-t needs arch: pip install 'scidiffusion[timeseries]'") from error
    spread = float(column.std())
    if not spread > 0:
        raise UserError(f"column {label!r} is constant; a GARCH needs returns that vary")
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # of the optimiser; a fit that failed is no worse a reference than none
        model = arch_model(column / spread, mean="Constant", vol="GARCH", p=1, q=1, dist="t", rescale=False)
        fit: Any = model.fit(disp="off", show_warning=False)
        residuals = np.asarray(fit.resid / fit.conditional_volatility, dtype=np.float64)
    mu, omega, alpha, beta, nu = (float(value) for value in fit.params)
    return (mu * spread, omega * spread**2, alpha, beta, max(nu, 2.05)), residuals


def seasonal_bootstrap(observed: pd.DataFrame, stamps: pd.DatetimeIndex, n: int, *, block: int = 30, seed: int = 0) -> pd.DataFrame:
    """Paths at ``stamps`` of blocks of the wide frame ``observed`` (times in its index, a column for each channel), ``block`` steps long,
    from the same time of the year (and of the day) of a year drawn at random. All columns keep their common days.

    Every block is what followed one past stamp, so it is real weather; what a bootstrap cannot make is a value that never was.

    Raises:
        UserError: no index of times, or a time of the year that no year of the data has.
    """
    index = observed.index
    if not isinstance(index, pd.DatetimeIndex) or len(index) < 3:
        raise UserError("a seasonal bootstrap needs an index of time stamps; use df.set_index('ds')")
    values = observed.to_numpy(dtype=np.float64, na_value=np.nan)
    known = np.concatenate([[0], np.cumsum(np.isfinite(values).any(1))])
    begins = np.arange(0, len(stamps), block)
    places = _places(index, stamps[begins])
    rng = np.random.Generator(np.random.Philox(seed))
    drawn = np.full((n, len(stamps), values.shape[1]), np.nan)
    for begin, rows in zip(begins, places, strict=True):
        size = min(block, len(stamps) - begin)
        rows = rows[(rows >= 0) & (rows + size <= len(values))]
        rows = rows[known[rows + size] - known[rows] == size]
        if not len(rows):
            raise UserError(f"no year of the data has {size} values from {stamps[begin]:%d %B} on; give longer data or shorter blocks")
        drawn[:, begin : begin + size] = values[rng.choice(rows, size=n)[:, None] + np.arange(size)]
    frame = _frame(drawn, observed.columns)
    return frame.assign(ds=stamps.take(np.tile(np.arange(len(stamps)), n)))  # keeps a time zone


def _places(index: pd.DatetimeIndex, stamps: pd.DatetimeIndex) -> NDArray[np.intp]:
    """Rows [stamp, year] of the same time in each year of the data, the nearest ones; -1 if they do not reach it."""
    found: list[NDArray[np.intp]] = []
    near = 2 * (index[1] - index[0])
    for year in np.unique(np.asarray(index.year)):
        targets = pd.DatetimeIndex([stamp + pd.DateOffset(years=int(year) - stamp.year) for stamp in stamps])
        found.append(np.asarray(index.get_indexer(targets, method="nearest", tolerance=near), dtype=np.intp))
    return np.stack(found, 1)


def _complete(returns: pd.DataFrame, fewest: int, n: int, length: int) -> Array:
    if n < 1 or length < 1:
        raise UserError(f"n >= 1 paths of length >= 1 are needed, got {n} and {length}")
    rows = returns.to_numpy(dtype=np.float64, na_value=np.nan)
    rows = rows[np.isfinite(rows).all(1)]
    if len(rows) < fewest:
        raise UserError(f"{len(rows)} complete rows of returns; at least {fewest} are needed")
    return rows


def _frame(values: Array, columns: pd.Index) -> pd.DataFrame:
    """[path, time, column] as rows."""
    frame = pd.DataFrame(values.reshape(-1, values.shape[2]), columns=columns)
    frame.insert(0, "path", np.repeat(np.arange(len(values)), values.shape[1]))
    return frame
