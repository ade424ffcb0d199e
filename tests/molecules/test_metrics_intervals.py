"""Intervals against published values and exact binomial laws."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, norm

from scidiff_molecules.metrics.intervals import ratio_over_molecules, wilson


# Newcombe, Statistics in Medicine 17 (1998) 857, table I, method 3
@pytest.mark.parametrize(
    ("k", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_gives_newcombes_values(k: int, n: int, low: float, high: float) -> None:
    interval = wilson(k, n)
    assert interval is not None
    assert (round(interval.low, 4), round(interval.high, 4)) == (low, high)


@given(n=st.integers(1, 20_000), data=st.data())
def test_wilson_ends_lie_1_96_standard_errors_from_the_share(n: int, data: st.DataObject) -> None:
    k = data.draw(st.integers(0, n))
    interval, p, z = wilson(k, n), k / n, norm.ppf(0.975)
    assert interval is not None
    assert 0 <= interval.low <= p + 1e-12
    assert p - 1e-12 <= interval.high <= 1
    for end in (interval.low, interval.high):  # the defining equation; an end at 0 or 1 is the share itself
        assert abs(p - end) == pytest.approx(z * np.sqrt(end * (1 - end) / n), abs=1e-9)
    mirrored = wilson(n - k, n)
    assert mirrored is not None
    assert (1 - mirrored.high, 1 - mirrored.low) == pytest.approx((interval.low, interval.high), abs=1e-12)


def test_no_trials_no_interval_and_impossible_counts_are_refused() -> None:
    assert wilson(0, 0) is None
    assert ratio_over_molecules([], []) is None
    assert ratio_over_molecules([0, 0], [0, 0]) is None
    for k, n in ((2, 1), (-1, 3)):
        with pytest.raises(ValueError, match="0 <= successes <= trials"):
            wilson(k, n)


def test_one_atom_molecules_give_the_binomial_quantiles() -> None:
    n, k = 400, 300
    interval = ratio_over_molecules([1] * k + [0] * (n - k), [1] * n)
    assert interval is not None
    exact = binom.ppf([0.025, 0.975], n, k / n) / n
    # 2000 resamples: a quantile's own error is about 0.006 / pdf = 0.0027 in the share, one count is 0.0025
    assert (interval.low, interval.high) == pytest.approx(tuple(exact), abs=0.006)


def test_atoms_that_fail_together_do_not_narrow_the_interval() -> None:
    """Eighteen atoms that share one fate carry the information of one molecule."""
    fate = [1] * 180 + [0] * 20
    single = ratio_over_molecules(fate, [1] * 200)
    clustered = ratio_over_molecules([18 * f for f in fate], [18] * 200)
    naive = wilson(18 * 180, 18 * 200)
    assert single is not None
    assert clustered is not None
    assert naive is not None
    assert (clustered.low, clustered.high) == pytest.approx((single.low, single.high), abs=1e-12)
    assert clustered.high - clustered.low > 3 * (naive.high - naive.low)


def test_the_interval_of_a_sample_is_a_fixed_number_and_ignores_molecules_of_no_atoms() -> None:
    top, bottom = list(range(18)) * 5, [18] * 90
    assert ratio_over_molecules(top, bottom) == ratio_over_molecules(top, bottom)
    assert ratio_over_molecules([*top, 0, 0], [*bottom, 0, 0]) == ratio_over_molecules(top, bottom)


def test_where_every_atom_passes_or_fails_molecules_are_the_trials() -> None:
    full, none = ratio_over_molecules([18] * 50, [18] * 50), ratio_over_molecules([0] * 50, [18] * 50)
    proportion = wilson(50, 50)
    assert full is not None
    assert none is not None
    assert proportion is not None
    assert (full.low, full.high) == (proportion.low, proportion.high)
    assert (none.low, none.high) == pytest.approx((0.0, 1 - proportion.low), abs=1e-12)
    one = ratio_over_molecules([5], [10])
    assert one is not None
    assert (one.low, one.high) == (0.0, 1.0)


def test_uniqueness_is_covered_when_duplicates_are_rare_and_overcovered_when_common() -> None:
    """n draws from K kinds: the exact mean and variance of the number of distinct kinds against Wilson's width."""
    for kinds, n, tight in ((20_000, 1000, True), (1000, 1000, False), (100, 1000, False)):
        miss, miss_two = (1 - 1 / kinds) ** n, (1 - 2 / kinds) ** n
        mean = kinds * (1 - miss)
        variance = kinds * miss * (1 - miss) + kinds * (kinds - 1) * (miss_two - miss**2)
        interval = wilson(round(mean), n)
        assert interval is not None
        half, needed = (interval.high - interval.low) / 2, 1.96 * np.sqrt(max(variance, 0.0)) / n
        assert half >= needed
        assert not tight or half <= 1.1 * needed
