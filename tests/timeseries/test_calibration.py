"""Strengths and temperature: what helps is kept, what harms is left out, and losses are those of the laws that are sampled."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from scidiff_timeseries.calibration import STRENGTHS, calibrate, descend, steady
from scidiff_timeseries.model import SCALED, TimeSeriesDenoiser
from scidiff_timeseries.panel import read_frame
from scidiff_timeseries.recipe import Recipe, SamplerConfig, WindowConfig
from scidiff_timeseries.task import TimeSeriesTask
from scidiff_timeseries.training import make_task

CALLS = SamplerConfig(calls=1)


def task(volatility_later: float = 1.0, missing: float = 0.0) -> TimeSeriesTask:
    """Six walks; in the last steps, all of them validation, steps may be larger than before. ``missing``: share of missing values."""
    rng, length, rolls, horizon = np.random.default_rng(0), 160, 1, 20
    steps = rng.normal(size=(6, length))
    steps[:, -rolls * horizon :] *= volatility_later
    days = pd.date_range("2024-01-01", periods=length, freq="h")
    df = pd.concat(pd.DataFrame({"unique_id": f"s{k}", "ds": days, "y": 50 + y}) for k, y in enumerate(steps.cumsum(1)))
    df.loc[rng.random(len(df)) < missing, "y"] = np.nan
    windows = WindowConfig(horizon=horizon, context=40, rolls=rolls, selection_rolls=2)
    return make_task(Recipe(windows=windows), read_frame(df))


def corrected(made: TimeSeriesTask, log_scale: float) -> TimeSeriesDenoiser:
    """A network that says of every entry that its innovation is e^log_scale times as large as the base law thinks."""
    denoiser = made.denoiser.eval()
    assert isinstance(denoiser, TimeSeriesDenoiser)
    with torch.no_grad():
        denoiser.backbone.get_parameter("head.bias").copy_(torch.tensor([0.0, log_scale]))
    return denoiser


def test_a_network_that_learned_nothing_is_left_out() -> None:
    made = task()
    found = calibrate(corrected(made, 0.0), made, CALLS)
    assert found["strength"] == 0.0
    assert found["crps"] == pytest.approx(found["crps_of_the_base_law"], rel=0.02)
    assert {fit.strength for fit in made.fit.series} == {made.fit.strength} == {0.0}


@pytest.mark.parametrize("harm", [-1.5, 1.5])
def test_a_network_that_harms_is_left_out(harm: float) -> None:
    """Of the panel; a series with few windows may by chance think otherwise."""
    made = task()
    assert calibrate(corrected(made, harm), made, CALLS)["strength"] < 0.25
    assert made.fit.strength == 0.0


@pytest.mark.parametrize("missing", [0.0, 0.1])
def test_the_temperature_makes_intervals_cover_what_they_should(missing: float) -> None:
    """Windows in which steps are larger than the context says need wider intervals; quiet ones narrower."""
    made = (task(1.8, missing), task(0.5, missing))
    wide, narrow = (calibrate(corrected(one, 0.0), one, CALLS)["temperature"] for one in made)
    assert narrow < 1 < wide


def test_a_valley_is_descended_to_its_bottom_with_each_loss_computed_once() -> None:
    values = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0)
    for bottom in values:
        asked: list[float] = []

        def loss(value: float, bottom: float = bottom, asked: list[float] = asked) -> float:
            asked.append(value)
            return (value - bottom) ** 2

        assert descend(values, 3.0, loss) == bottom
        assert len(asked) == len(set(asked))


def test_strengths_are_of_those_that_were_tried_and_kept_with_the_fit() -> None:
    made = task(3.0)
    found = calibrate(corrected(made, 0.4), made, CALLS)
    kept = [fit.strength for fit in made.fit.series]
    assert set(kept) <= set(STRENGTHS)
    assert found["strength"] == pytest.approx(np.mean(kept))
    assert [one.fit.strength for one in made.prepared] == kept


@pytest.mark.parametrize("log_scale", [-0.5, 0.4])
def test_what_continues_draws_is_as_volatile_as_the_base_law(log_scale: float) -> None:
    made = task(missing=0.1)
    denoiser = corrected(made, log_scale)
    steady(denoiser, made, CALLS)
    assert float(denoiser.log_steady) == pytest.approx(-SCALED * np.tanh(log_scale / SCALED), abs=1e-3)
    made.strengthen([0.0] * 6, 0.0)  # no series is corrected
    steady(denoiser, made, CALLS)
    assert not bool(denoiser.log_steady)
