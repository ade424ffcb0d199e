r"""Backtests of value at risk (VaR) and expected shortfall (ES).

At level p the VaR is minus the p-quantile of the return, the ES minus the mean of the returns below it. A violation is a return below -VaR.

=====================  ==========================================================================================================
Kupiec 1995            violations come with probability p: likelihood ratio of a binomial law, chi-squared with 1 degree of freedom
Christoffersen 1998    whether one comes does not depend on whether the day before had one: likelihood ratio of a Markov chain, chi-squared
                       with 1 degree; both together with 2
Acerbi, Szekely 2014   second statistic: Z = 1 + sum_t r_t 1{violation} / (T p ES_t); 0 is expected, below 0 the shortfall is underrated;
                       its one-sided p-value is the share of samples of the model's own law with a smaller Z
=====================  ==========================================================================================================
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import xlogy
from scipy.stats import chi2

__all__ = ["Backtest", "Test", "acerbi_szekely", "backtest", "christoffersen", "kupiec", "value_at_risk"]

Array = NDArray[np.float64]
SAMPLES = 2000


@dataclass(frozen=True)
class Test:
    """A statistic and its p-value."""

    __test__ = False  # no test of pytest's

    statistic: float
    p_value: float


@dataclass(frozen=True)
class Backtest:
    """Of one law at one level: ``violations`` in ``days``; ``joint`` is Kupiec's and Christoffersen's together."""

    level: float
    value_at_risk: float
    shortfall: float
    days: int
    violations: int
    kupiec: Test
    independence: Test
    joint: Test
    shortfall_test: Test


def value_at_risk(returns: Array, level: float) -> tuple[float, float]:
    """(VaR, ES) of the empirical law of returns [n]: the smallest return with at least this share at or below it, and the mean of these."""
    kept = np.sort(returns[np.isfinite(returns)])
    if not len(kept):
        return float("nan"), float("nan")
    count = max(1, int(np.ceil(level * len(kept) * (1 - 1e-12))))
    return -float(kept[count - 1]), -float(kept[:count].mean())


def kupiec(violations: int, days: int, level: float) -> Test:
    """LR = 2 [x ln(x/T) + (T-x) ln(1-x/T) - x ln p - (T-x) ln(1-p)] of x violations in T days."""
    x, rest = violations, days - violations
    free = xlogy(x, x / days) + xlogy(rest, rest / days)
    ratio = max(0.0, 2 * float(free - xlogy(x, level) - xlogy(rest, 1 - level)))
    return Test(ratio, float(chi2.sf(ratio, 1)))


def christoffersen(hits: NDArray[np.bool_]) -> Test:
    """LR of a first-order Markov chain of violations against independent ones, over the T - 1 transitions."""
    before, after = hits[:-1], hits[1:]
    n = np.array([[np.sum((before == i) & (after == j)) for j in (False, True)] for i in (False, True)], dtype=np.float64)
    rows, total = n.sum(1, keepdims=True), n.sum()
    if total == 0:
        return Test(0.0, 1.0)
    chain = xlogy(n, np.divide(n, rows, out=np.ones_like(n), where=rows > 0)).sum()
    ratio = max(0.0, 2 * float(chain - xlogy(n.sum(0), n.sum(0) / total).sum()))
    return Test(ratio, float(chi2.sf(ratio, 1)))


def acerbi_szekely(returns: Array, var: float, shortfall: float, level: float, law: Array, seed: int = 0) -> Test:
    """Z of returns [time] and its p-value by samples of as many independent draws from ``law`` [n], the model's returns."""

    def z(r: Array) -> Array:
        return 1 + np.where(r < -var, r, 0.0).sum(1) / (r.shape[1] * level * shortfall)

    found = float(z(returns[None])[0])
    kept = law[np.isfinite(law)]
    drawn = np.random.Generator(np.random.Philox(seed)).choice(kept, size=(SAMPLES, len(returns)))
    return Test(found, float((1 + (z(drawn) <= found).sum()) / (1 + SAMPLES)))


def backtest(returns: Array, law: Array, level: float, seed: int = 0) -> Backtest:
    """All tests of returns [time] against one law for every day, given by its draws [n]. Missing returns are left out."""
    returns = returns[np.isfinite(returns)]
    var, shortfall = value_at_risk(law, level)
    hits = returns < -var
    first, second = kupiec(int(hits.sum()), len(returns), level), christoffersen(hits)
    both = first.statistic + second.statistic
    return Backtest(
        level=level,
        value_at_risk=var,
        shortfall=shortfall,
        days=len(returns),
        violations=int(hits.sum()),
        kupiec=first,
        independence=second,
        joint=Test(both, float(chi2.sf(both, 2))),
        shortfall_test=acerbi_szekely(returns, var, shortfall, level, law, seed),
    )
