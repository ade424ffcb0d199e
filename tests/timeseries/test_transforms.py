"""Transforms of values and the year's cycle."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import ndtr

from scidiff_timeseries.climate import Climate, fit_climate
from scidiff_timeseries.transforms import Transform, candidates

DAYS = np.arange(10 * 365)
PHASE = (DAYS % 365) / 365
CYCLE = Climate(mean=(3.0, -1.0, 0.5, 0.0, 0.0, 0.2), log_scale=(0.4, 0.1, 0.0, -0.1))


@given(st.sampled_from(["identity", "log", "asinh", "rectified"]), st.booleans(), st.integers(0, 100))
def test_there_and_back(name: str, cycle: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    y = rng.lognormal(0, 2, 50)
    if name in ("identity", "asinh"):
        y = y * rng.choice([-1, 1], 50)
    if name == "rectified":
        y[::3] = 0.0
    transform = Transform.model_validate({"name": name, "unit": 2.0, "zero": -0.7, "climate": CYCLE if cycle else None})
    there = transform.forward(y, PHASE[:50])
    np.testing.assert_allclose(transform.inverse(there, PHASE[:50]), y, rtol=1e-9, atol=1e-12)
    ordered = np.sort(y)
    assert (np.diff(transform.forward(ordered, np.zeros(50))) >= 0).all()  # at one time of the year


@pytest.mark.parametrize("dry", [0.1, 0.5, 0.9])
def test_a_normal_law_of_the_latent_values_is_dry_as_often_as_the_data(dry: float) -> None:
    rng = np.random.default_rng(0)
    y = np.where(rng.uniform(size=4000) < dry, 0.0, rng.gamma(0.8, 3.0, 4000))
    (transform,) = candidates(y, np.zeros(4000), np.inf)
    x = transform.forward(y, np.zeros(4000))
    assert transform.name == "rectified"
    np.testing.assert_allclose(ndtr(-x.mean() / x.std()), (y == 0).mean(), atol=1e-9)


def test_a_cycle_without_noise_is_found_exactly() -> None:
    mean, _ = CYCLE.moments(PHASE)
    found = fit_climate(20.0 + mean, PHASE, 365.0)
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
    np.testing.assert_allclose(found.mean, CYCLE.mean, atol=1e-9)


def test_random_walks_have_no_year() -> None:
    """A regression would find one in every walk; out of sample few seem to keep it."""
    walks = np.random.default_rng(0).normal(size=(40, len(DAYS))).cumsum(1)
    assert sum(fit_climate(walk, PHASE, 365.0) is not None for walk in walks) <= 4


def test_less_than_three_years_say_nothing() -> None:
    assert fit_climate(CYCLE.moments(PHASE[:1000])[0], PHASE[:1000], 365.0) is None
