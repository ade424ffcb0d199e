"""Base laws: conditioning against the textbook formula, volatilities against their recursions, parts against simulation by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from scidiff_timeseries.law import BaseLaw, Part, SystemLaw, condition

WALK = BaseLaw(name="walk", parts=(Part(kind="level", weight=1.0),), decay=0.95, prior=0.0)
STRUCTURAL = BaseLaw(
    name="structural",
    parts=(
        Part(kind="level", weight=0.2),
        Part(kind="season", weight=0.5, period=4),
        Part(kind="wander", weight=1.0, memory=0.8),
        Part(kind="noise", weight=0.3),
    ),
)
ONE = ((1.0,),)


def f64(values: object) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_a_walk_forecasts_its_last_value_with_variance_that_grows_linearly() -> None:
    x = f64([3.0, 3.1, 2.9, 3.2])[:, None]
    values = torch.cat((x, torch.full((3, 1), torch.nan)))
    free = torch.arange(7)[:, None] >= 4
    found = condition(SystemLaw((WALK,), ONE), values, ~free, free, f64([3.0]), f64([0.1]))
    # RiskMetrics by hand: the first value is the walk's start, the three steps have weights .95^3, .95^2, .95.
    steps, weights = np.array([0.1, -0.2, 0.3]), 0.95 ** np.array([3, 2, 1])
    scale = np.sqrt((weights * steps**2).sum() / weights.sum())
    assert float(found.scale) == pytest.approx(scale, rel=1e-5)
    assert found.mean.tolist() == pytest.approx([3.2] * 3, abs=1e-5)
    right = scale**2 * np.minimum.outer([1, 2, 3], [1, 2, 3])
    torch.testing.assert_close(found.covariance, torch.from_numpy(right), rtol=1e-5, atol=0)
    assert found.innovations[:, 0].tolist() == pytest.approx([0, *(steps / scale), 0, 0, 0], abs=1e-5)


def test_a_gap_in_a_walk_is_a_bridge() -> None:
    values = f64([1.0, 2.0, np.nan, np.nan, np.nan, 4.0])[:, None]
    free = torch.isnan(values)
    found = condition(SystemLaw((WALK,), ONE), values, ~free, free, f64([1.0]), f64([1.0]))
    assert found.mean.tolist() == pytest.approx([2.5, 3.0, 3.5], abs=1e-5)
    # A Brownian bridge over four steps: Cov = i (4 - j) / 4.
    right = np.array([[3, 2, 1], [2, 4, 2], [1, 2, 3]]) / 4
    torch.testing.assert_close(found.covariance / found.scale**2, torch.from_numpy(right), rtol=1e-5, atol=0)


def test_a_seasonal_walk_repeats_its_season() -> None:
    law = BaseLaw(name="season", parts=(Part(kind="season", weight=1.0, period=3),))
    values = torch.cat((f64([1.0, 5.0, 2.0, 1.5, 5.5, 2.5])[:, None], torch.full((4, 1), torch.nan)))
    free = torch.isnan(values)
    found = condition(SystemLaw((law,), ONE), values, ~free, free, f64([3.0]), f64([1.0]))
    assert found.mean.tolist() == pytest.approx([1.5, 5.5, 2.5, 1.5], abs=1e-3)
    variance = (found.covariance.diagonal() / found.scale**2).tolist()
    assert variance == pytest.approx([1, 1, 1, 2], rel=1e-3)


@given(st.lists(st.sampled_from(["known", "free", "missing"]), min_size=8, max_size=8), st.integers(0, 99))
def test_conditioning_is_the_textbook_formula(kinds: list[str], seed: int) -> None:
    """Two correlated channels of different laws, any pattern of known, free and missing entries."""
    system = SystemLaw((WALK, STRUCTURAL), ((1.0, 0.6), (0.6, 1.0)))
    rng = np.random.default_rng(seed)
    pattern = np.array(kinds).repeat(2).reshape(8, 2)
    pattern[rng.random((8, 2)) < 0.3] = "missing"
    known, free = (torch.from_numpy(pattern == kind) for kind in ("known", "free"))
    values = torch.from_numpy(np.where(pattern == "known", rng.normal(size=(8, 2)) + [5, -2], np.nan))
    centre = f64([5.0, -2.0])
    found = condition(system, values, known, free, centre, f64([1.0, 2.0]))
    unit = found.scale.repeat(8)
    k = system.covariance(8) * unit[:, None] * unit
    at_k, at_f = (m.flatten().nonzero()[:, 0] for m in (known, free))
    assert torch.equal(found.free, at_f)
    inverse = torch.linalg.inv(k[at_k][:, at_k]) if len(at_k) else torch.zeros(0, 0).double()
    gain = k[at_f][:, at_k] @ inverse
    mean = centre.repeat(8)[at_f] + gain @ (values.flatten()[at_k] - centre.repeat(8)[at_k])
    torch.testing.assert_close(found.mean, mean, rtol=1e-4, atol=1e-4)
    covariance = k[at_f][:, at_f] - gain @ k[at_k][:, at_f]
    scale = float(covariance.diagonal().max()) if len(at_f) else 1.0
    torch.testing.assert_close(found.covariance / scale, covariance / scale, rtol=0, atol=1e-4)


def test_the_wander_part_is_an_ar_1() -> None:
    law = BaseLaw(name="wander", parts=(Part(kind="wander", weight=2.0, memory=0.5),))
    values = torch.cat((f64([3.0])[:, None], torch.full((2, 1), torch.nan)))
    free = torch.isnan(values)
    found = condition(SystemLaw((law,), ONE), values, ~free, free, f64([1.0]), f64([1.0]))
    assert found.mean.tolist() == pytest.approx([2.0, 1.5], abs=1e-8)
    assert (found.covariance.diagonal() / found.scale**2).tolist() == pytest.approx([2 * 0.75, 2 * (1 - 0.0625)], abs=1e-8)


def test_a_correlated_channel_informs_the_other() -> None:
    """Two walks whose steps correlate by .8: what one did over the gap of the other moves its forecast by .8 of it."""
    system = SystemLaw((WALK, WALK), ((1.0, 0.8), (0.8, 1.0)))
    values = f64([[0.0, 0.0], [1.0, 1.0], [0.5, 0.5], [np.nan, 1.5]])
    free = torch.isnan(values)
    found = condition(system, values, ~free, free, f64([0.0, 0.0]), f64([1.0, 1.0]))
    ratio = float(found.scale[0] / found.scale[1])
    assert float(found.mean) == pytest.approx(0.5 + 0.8 * ratio * 1.0, abs=1e-4)
    assert float(found.covariance) == pytest.approx(float(found.scale[0]) ** 2 * (1 - 0.64), rel=1e-4)


def test_nothing_known_is_the_prior() -> None:
    values = torch.full((3, 1), torch.nan, dtype=torch.float64)
    everything = torch.ones(3, 1, dtype=torch.bool)
    found = condition(SystemLaw((STRUCTURAL,), ONE), values, ~everything, everything, f64([7.0]), f64([0.5]))
    assert found.mean.tolist() == [7.0] * 3
    torch.testing.assert_close(found.covariance, 0.25 * STRUCTURAL.covariance(3))


def test_an_innovation_is_diffuse_by_the_share_that_the_starts_have_in_its_variance() -> None:
    """The share is d log variance / d log start, here by a difference quotient; light parts' first innovations are diffuse as well."""
    parts = (Part(kind="level", weight=0.01), Part(kind="season", weight=0.1, period=4), Part(kind="noise", weight=1.0))
    law, step = BaseLaw(name="light", parts=parts), 1e-5
    places = torch.tensor([0, 1, 2, 3, 4, 5, 7, 8, 9, 10, 11, 14])
    roots = [
        torch.linalg.cholesky(law.model_copy(update={"start": law.start * f}).covariance(16)[places][:, places]) for f in (1.0, 1 + step)
    ]
    share = 2 * (roots[1].diagonal() / roots[0].diagonal()).log() / step
    assert law.diffuse(roots[0], places).tolist() == (share > 0.5).tolist()
    assert law.diffuse(roots[0], places).tolist()[:4] == [True] * 4  # one a phase, and the level is known with the second
