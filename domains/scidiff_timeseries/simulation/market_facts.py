"""The stylised facts of returns, measured on paths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from scidiff_timeseries.simulation import moments
from scidiff_timeseries.simulation.facts import Fact
from scidiff_timeseries.simulation.resample import Units

__all__ = ["AGGREGATED", "FACTS", "VECTORS", "MarketFacts", "drawdowns", "market_facts", "portfolio"]

Array = NDArray[np.float64]
AGGREGATED: Final = (1, 5, 20)
TAIL: Final = 0.05
LEVERAGE: Final = 10
VOLATILITY_WINDOW: Final = 20
MOST_ASSETS: Final = 40
"""Of more, pairs are taken among this many, evenly spread over the columns."""

_ONE, _TIME, _ACROSS, _PATHS = "One asset at a time (median over assets)", "Over time (mean over assets)", "Across assets", "Whole paths"
FACTS: Final[tuple[Fact, ...]] = (
    Fact("volatility", "volatility", "standard deviation of log returns a step", _ONE),
    Fact("volatility_distance", "volatilities, distance", "root mean square over assets of ln(volatility / observed)", _ONE, distance=True),
    Fact("skewness", "skewness", "m3 / m2^1.5", _ONE),
    *(
        Fact(f"kurtosis_{h}", f"kurtosis, {h} step{'s' * (h > 1)}", f"m4 / m2^2 - 3 of overlapping sums of {h} returns; Gaussian 0", _ONE)
        for h in AGGREGATED
    ),
    Fact("hill_left", "tail index, losses", f"Hill's index of the {TAIL:.0%} largest losses; small is heavy", _ONE),
    Fact("hill_right", "tail index, gains", f"Hill's index of the {TAIL:.0%} largest gains", _ONE),
    Fact("acf_1", "autocorrelation, lag 1", "corr(r_t, r_(t+1)), pooled over paths", _TIME),
    Fact("acf", "autocorrelation, all lags", "mean of corr(r_t, r_(t+k)) over the lags", _TIME),
    Fact("acf_abs_1", "clustering, lag 1", "corr(|r_t|, |r_(t+1)|)", _TIME),
    Fact("acf_abs", "clustering, all lags", "mean of corr(|r_t|, |r_(t+k)|) over the lags", _TIME),
    Fact("leverage", "leverage", f"mean of corr(r_t, |r_(t+k)|) over lags 1 to {LEVERAGE}; below 0: losses are followed by unrest", _TIME),
    Fact("volatility_spread", "spread of volatility", f"standard deviation of ln(root mean square of {VOLATILITY_WINDOW} returns)", _TIME),
    Fact("correlation", "correlation", "mean over pairs of corr(r_i, r_j) at one time", _ACROSS),
    Fact("correlation_distance", "correlations, distance", "root mean square over pairs of corr - observed corr", _ACROSS, distance=True),
    Fact("correlation_abs", "correlation of sizes", "mean over pairs of corr(|r_i|, |r_j|)", _ACROSS),
    Fact("tail_lower", "joint losses", f"P(r_j in its lowest {TAIL:.0%} | r_i is), mean over pairs", _ACROSS, share=True),
    Fact("tail_upper", "joint gains", f"P(r_j in its highest {TAIL:.0%} | r_i is), mean over pairs", _ACROSS, share=True),
    Fact("portfolio_kurtosis", "portfolio's kurtosis", "kurtosis of the returns of the equally weighted portfolio", _ACROSS),
    Fact(
        "drawdown_50", "drawdown, median", "median over windows of the portfolio's largest fall from its highest before", _PATHS, share=True
    ),
    Fact("drawdown_95", "drawdown, 95 %", "95 % quantile over windows of the same", _PATHS, share=True),
    Fact("drawdown_asset", "assets' drawdown", "median over windows of an asset's largest fall, median over assets", _PATHS, share=True),
)
VECTORS: Final = {"volatility_distance": "log_volatilities", "correlation_distance": "correlations"}
"""Facts that are distances, and the vectors that they compare."""


@dataclass(frozen=True)
class MarketFacts:
    """Draws [1 + resamples] by fact, draws [1 + resamples, n] of vectors and curves, and falls of windows for the picture."""

    facts: dict[str, Array]
    vectors: dict[str, Array]
    falls: Array


def market_facts(returns: Array, units: Units, lags: Sequence[int], window: int) -> MarketFacts:
    """Every fact of :data:`FACTS` but the distances, of log returns [path, time, asset]; drawdowns over windows of ``window`` steps."""
    facts: dict[str, Array] = {}
    curves: dict[str, Array] = {}
    _alone(returns, units, facts, curves)
    _over_time(returns, units, lags, facts, curves)
    if returns.shape[2] > 1:
        _across(returns, units, facts, curves)
    falls = _paths(returns, units, window, facts)
    return MarketFacts(facts, curves, falls)


def _alone(returns: Array, units: Units, facts: dict[str, Array], curves: dict[str, Array]) -> None:
    _, m2, m3 = moments.central_moments(units, returns, 3)
    deviation = np.sqrt(np.maximum(m2, 0.0))
    facts["volatility"] = moments.middle(deviation)
    facts["skewness"] = moments.middle(moments.ratio(m3, deviation**3))
    with np.errstate(divide="ignore"):
        curves["log_volatilities"] = np.log(deviation)
    each: list[Array] = []
    for steps in AGGREGATED:
        if steps < returns.shape[1]:
            facts[f"kurtosis_{steps}"] = moments.middle(moments.kurtosis(units, moments.aggregated(returns, steps)))
            each.append(facts[f"kurtosis_{steps}"])
    curves["kurtosis"] = np.stack(each, 1)
    facts["hill_left"] = moments.middle(moments.hill(units, -returns, TAIL))
    facts["hill_right"] = moments.middle(moments.hill(units, returns, TAIL))


def _over_time(returns: Array, units: Units, lags: Sequence[int], facts: dict[str, Array], curves: dict[str, Array]) -> None:
    size = np.abs(returns)
    pairs = {"acf": (returns, returns), "acf_abs": (size, size), "leverage": (returns, size)}
    for key, (x, y) in pairs.items():
        curves[key] = np.stack([_average(moments.lagged_correlation(units, x, y, lag)) for lag in lags], 1)
    for key in ("acf", "acf_abs"):
        facts[key] = curves[key].mean(1)
        if 1 in lags:
            facts[f"{key}_1"] = curves[key][:, list(lags).index(1)]
    near = [k for k, lag in enumerate(lags) if 1 <= lag <= LEVERAGE]
    facts["leverage"] = curves["leverage"][:, near].mean(1) if near else np.full(len(units.weights), np.nan)
    if returns.shape[1] > VOLATILITY_WINDOW:
        power = moments.aggregated(returns**2, VOLATILITY_WINDOW)
        logs = 0.5 * np.log(np.where(power > 0, power, np.nan))
        facts["volatility_spread"] = _average(np.sqrt(np.maximum(moments.central_moments(units, logs, 2)[1], 0.0)))


def _across(returns: Array, units: Units, facts: dict[str, Array], curves: dict[str, Array]) -> None:
    assets = returns.shape[2]
    kept = returns[..., np.linspace(0, assets - 1, min(assets, MOST_ASSETS)).round().astype(int)]
    curves["correlations"] = moments.correlations(units, kept)
    facts["correlation"] = _average(curves["correlations"])
    facts["correlation_abs"] = _average(moments.correlations(units, np.abs(kept)))
    facts["tail_lower"] = moments.co_exceedance(units, kept, TAIL)
    facts["tail_upper"] = moments.co_exceedance(units, -kept, TAIL)
    facts["portfolio_kurtosis"] = moments.kurtosis(units, portfolio(returns)[..., None])[:, 0]


def _paths(returns: Array, units: Units, window: int, facts: dict[str, Array]) -> Array:
    """Returns the portfolio's falls [n]."""
    each: list[Array] = []
    falls = np.zeros(0)
    columns = [portfolio(returns), *np.moveaxis(returns, 2, 0)]
    for k, column in enumerate(columns):
        values, number = drawdowns(column, units, window)
        draws = moments.quantile_draws(units, values, number, (0.5, 0.95))
        if k == 0:
            falls, (facts["drawdown_50"], facts["drawdown_95"]) = values, draws.T
        else:
            each.append(draws[:, 0])
    facts["drawdown_asset"] = moments.middle(np.stack(each, 1))
    return falls


def portfolio(returns: Array) -> Array:
    """Log returns [path, time] of the portfolio with equal weights, rebalanced every step: ln mean_i exp(r_i), of the assets known."""
    count = np.isfinite(returns).sum(2)
    growth = logsumexp(np.where(np.isfinite(returns), returns, -np.inf), axis=2)
    return np.where(count > 0, growth - np.log(np.maximum(count, 1)), np.nan)


def drawdowns(returns: Array, units: Units, window: int) -> tuple[Array, NDArray[np.intp]]:
    """(falls, units) of windows of ``window`` log returns [path, time]: max_t (1 - P_t / max_{s <= t} P_s), the price before the first
    return included. Windows start every quarter of a window; one with a missing return counts it as 0."""
    starts = np.arange(0, returns.shape[1] - window + 1, max(1, window // 4))
    logs = np.cumsum(np.nan_to_num(returns), axis=1)
    logs = np.concatenate([np.zeros((len(returns), 1)), logs], axis=1)
    found = np.empty((len(returns), len(starts)))
    for k, start in enumerate(starts):
        part = logs[:, start : start + window + 1]
        found[:, k] = -np.expm1((part - np.maximum.accumulate(part, axis=1)).min(axis=1))
    return found.ravel(), units.number[:, starts].ravel()


def _average(draws: Array) -> Array:
    there = np.isfinite(draws)
    return moments.ratio(np.where(there, draws, 0.0).sum(-1), there.sum(-1).astype(np.float64))
