"""Transforms of values, the mean course of a season and the year's cycle."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import ndtri

from scidiff_timeseries.climate import Climate, fit_climate
from scidiff_timeseries.profile import Profile, fit_profile
from scidiff_timeseries.transforms import Transform, candidates

DAYS = np.arange(10 * 365)
PHASE = (DAYS % 365) / 365
WHEN = np.stack((PHASE, DAYS), 1)
COURSE = Profile(means=(2.0, -1.0, 0.5, 0.0, -3.0, 1.0, 0.5))
CYCLE = Climate(mean=(12.0, 3.0, -1.0, 0.5, 0.0, 0.0, 0.2), log_scale=(0.4, 0.1, 0.0, -0.1))


@given(st.sampled_from(["identity", "log", "asinh", "rectified"]), st.booleans(), st.booleans(), st.integers(0, 100))
def test_there_and_back(name: str, cycle: bool, course: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    y = rng.lognormal(0, 2, 50)
    if name in ("identity", "asinh"):
        y = y * rng.choice([-1, 1], 50)
    if name == "rectified":
        y[::3] = 0.0
    parts = {"climate": CYCLE if cycle else None, "profile": COURSE if course else None}
    transform = Transform.model_validate({"name": name, "unit": 2.0, "zero": -0.7, **parts})
    there = transform.forward(y, WHEN[:50])
    np.testing.assert_allclose(transform.inverse(there, WHEN[:50]), y, rtol=1e-9, atol=1e-12)
    ordered = np.sort(y)
    assert (np.diff(transform.forward(ordered, np.zeros((50, 2)))) >= 0).all()  # at one time of the year


@pytest.mark.parametrize("dry", [0.1, 0.5, 0.9])
def test_a_normal_law_of_the_latent_values_is_dry_as_often_as_the_data_and_as_wet(dry: float) -> None:
    rng = np.random.default_rng(0)
    y = np.where(rng.uniform(size=20_000) < dry, 0.0, rng.gamma(0.8, 3.0, 20_000))
    (transform,) = candidates(y, np.zeros((len(y), 2)), np.inf)
    x = transform.forward(y, np.zeros((len(y), 2)))
    assert transform.name == "rectified"
    law = x.mean() + x.std() / np.sqrt(transform.keep) * ndtri((np.arange(10**5) + 0.5) / 10**5)
    made = transform.inverse(law, np.zeros(2))
    np.testing.assert_allclose((made == 0).mean(), (y == 0).mean(), atol=0.01)
    np.testing.assert_allclose([made.mean(), made.std()], [y.mean(), y.std()], rtol=0.04)


def test_rectified_finds_the_power_and_unit_of_a_rectified_normal_law() -> None:
    z = ndtri((np.arange(10**5) + 0.5) / 10**5)
    (transform,) = candidates(2.0 * np.maximum(z + 0.3, 0.0) ** 1.7, np.zeros((len(z), 2)), np.inf)
    np.testing.assert_allclose([transform.unit, transform.power], [2.0, 1.7], rtol=2e-3)


def test_a_cycle_without_noise_is_found_exactly() -> None:
    mean, _ = CYCLE.moments(PHASE)
    found = fit_climate(mean, PHASE, 365.0)
    assert found is not None
    np.testing.assert_allclose(found.mean, CYCLE.mean, atol=1e-10)


def test_what_varies_more_in_a_season_is_scaled_down_there() -> None:
    mean, scale = CYCLE.moments(PHASE)
    x = mean + scale * np.random.default_rng(0).normal(size=len(DAYS))
    found = fit_climate(x, PHASE, 365.0)
    assert found is not None
    np.testing.assert_allclose(found.mean, CYCLE.mean, atol=0.1)
    np.testing.assert_allclose(found.log_scale, CYCLE.log_scale, atol=0.1)


def test_missing_values_are_left_out() -> None:
    mean, _ = CYCLE.moments(PHASE)
    x = np.where(np.random.default_rng(0).uniform(size=len(DAYS)) < 0.5, np.nan, mean)
    found = fit_climate(x, PHASE, 365.0)
    assert found is not None
    np.testing.assert_allclose(found.mean, CYCLE.mean, atol=1e-6)


def test_a_trend_is_no_season_and_is_not_scaled() -> None:
    mean, _ = CYCLE.moments(PHASE)
    found = fit_climate(mean + 0.01 * DAYS + 0.3 * np.random.default_rng(0).normal(size=len(DAYS)), PHASE, 365.0)
    assert found is not None
    np.testing.assert_allclose(found.mean[1:], CYCLE.mean[1:], atol=0.03)
    assert not any(found.log_scale)


def test_random_walks_have_no_year() -> None:
    """A regression would find one in every walk; out of sample few seem to keep it."""
    walks = np.random.default_rng(0).normal(size=(40, len(DAYS))).cumsum(1)
    assert sum(fit_climate(walk, PHASE, 365.0) is not None for walk in walks) <= 4


def test_less_than_three_years_say_nothing() -> None:
    assert fit_climate(CYCLE.moments(PHASE[:1000])[0], PHASE[:1000], 365.0) is None


@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_the_mean_course_of_a_season_is_found_around_a_wandering_level(missing: float) -> None:
    rng = np.random.default_rng(0)
    x = 50 + rng.normal(size=len(DAYS)).cumsum() * 0.1 + COURSE.at(DAYS.astype(float))
    x[rng.uniform(size=len(x)) < missing] = np.nan
    found = fit_profile(x, DAYS.astype(float), (7,), np.inf)
    assert found is not None
    assert sum(found.means) == pytest.approx(0, abs=1e-12)
    np.testing.assert_allclose(found.means, COURSE.means, atol=0.1 + missing)  # means over fewer values lean to the season's own


def test_of_two_seasons_the_one_that_says_more_is_taken() -> None:
    """A day of six hours and a week of four days: where days are alike the day; where one is quiet the week."""
    hours, rng = np.arange(2400), np.random.default_rng(0)
    day = np.sin(2 * np.pi * hours / 6)
    noise = 0.2 * rng.normal(size=len(hours))
    quiet = np.where(hours // 6 % 4 == 0, 0.1, 1.0)
    for x, season in ((day + noise, 6), (day * quiet + noise, 24)):
        found = fit_profile(x, hours.astype(float), (6, 24), np.inf)
        assert found is not None
        assert len(found.means) == season


def test_random_walks_have_no_season() -> None:
    walks = np.random.default_rng(0).normal(size=(40, 500)).cumsum(1)
    assert sum(fit_profile(walk, np.arange(500.0), (5,), np.inf) is not None for walk in walks) <= 3


def test_a_season_that_is_the_year_is_left_to_the_climate() -> None:
    months = np.arange(240.0)
    assert fit_profile(np.cos(2 * np.pi * months / 12), months, (12,), 12.0) is None


def test_short_random_walks_have_no_season_either() -> None:
    """A few seasons agree by chance more often than their spread says."""
    walks = np.random.default_rng(0).normal(size=(200, 160)).cumsum(1)
    assert sum(fit_profile(walk, np.arange(160.0), (24,), np.inf) is not None for walk in walks) == 0
    longer = np.random.default_rng(0).normal(size=(200, 300)).cumsum(1)
    assert sum(fit_profile(walk, np.arange(300.0), (24,), np.inf) is not None for walk in longer) <= 10
