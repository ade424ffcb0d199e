"""Confidence intervals of 95 % for the evaluation's figures.

*Proportions* (one trial a molecule): Wilson's score interval. With p = k/n and z = 1.96, it is the set of p' with
|p - p'| <= z sqrt(p'(1 - p')/n), so it never leaves [0, 1] and has width at p = 0 and p = 1.

*Shares of atoms*: atoms of one molecule fail together, so atoms are no independent trials. The interval is the percentile
bootstrap over molecules of (sum of numerators) / (sum of denominators). Where every atom passes or every atom fails the bootstrap
has nothing to resample; then Wilson's interval with the number of molecules as the number of trials is given instead.

*Uniqueness* is a proportion too, of first occurrences among n molecules. Bootstrapping it would create the very duplicates that it
counts. While duplicates are rare their number is close to Poisson, and Wilson's interval has the right width; when they are common
it is wider than needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LEVEL = 0.95
RESAMPLES = 2000
_SEED = 0  # the interval of a given sample is a fixed number


@dataclass(frozen=True)
class Interval:
    """A confidence interval [low, high] and the method's name."""

    low: float
    high: float
    method: str


def wilson(successes: int, trials: int) -> Interval | None:
    """Wilson's 95 % interval for ``successes`` of ``trials``; None when there is no trial.

    Raises:
        ValueError: not 0 <= successes <= trials.
    """
    from scipy.stats import binomtest  # a second, which only those who judge need wait

    if not 0 <= successes <= trials:
        raise ValueError(f"a proportion needs 0 <= successes <= trials, got {successes} of {trials}")
    if trials == 0:
        return None
    interval = binomtest(successes, trials).proportion_ci(confidence_level=LEVEL, method="wilson")
    return Interval(float(interval.low), float(interval.high), "Wilson")


def ratio_over_molecules(numerators: Sequence[int], denominators: Sequence[int]) -> Interval | None:
    """95 % interval of sum(numerators) / sum(denominators), one pair a molecule, resampling molecules.

    Returns None when the denominators sum to zero.
    """
    from scipy.stats import bootstrap

    top, bottom = np.asarray(numerators, dtype=np.float64), np.asarray(denominators, dtype=np.float64)
    counted = bottom > 0
    top, bottom = top[counted], bottom[counted]
    if len(bottom) == 0:
        return None
    if len(bottom) == 1 or top.sum() in (0.0, bottom.sum()):
        return _molecules_as_trials(float(top.sum() / bottom.sum()), len(bottom))
    result = bootstrap(
        (top, bottom),
        lambda a, b, axis: a.sum(axis=axis) / b.sum(axis=axis),
        paired=True,
        vectorized=True,
        n_resamples=RESAMPLES,
        batch=max(1, 2_000_000 // len(bottom)),
        confidence_level=LEVEL,
        method="percentile",
        rng=np.random.default_rng(_SEED),
    )
    low, high = result.confidence_interval
    return Interval(float(low), float(high), f"bootstrap over molecules ({RESAMPLES} resamples)")


def _molecules_as_trials(share: float, molecules: int) -> Interval:
    """The hull of Wilson's intervals at the two counts next to ``share``: molecules are the trials."""
    ends = [wilson(int(count), molecules) for count in (np.floor(share * molecules), np.ceil(share * molecules))]
    low, high = min(i.low for i in ends if i), max(i.high for i in ends if i)
    return Interval(low, high, "Wilson over molecules")
