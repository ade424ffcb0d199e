"""Choosing base laws: against the exact law, by what simulations do in the long run, and invariance to units."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray

from scidiff_timeseries.candidates import stationary_laws, walking_laws
from scidiff_timeseries.forecaster import Forecaster
from scidiff_timeseries.law import BaseLaw, SystemLaw, condition
from scidiff_timeseries.selection import Given, Rolls, channel_fit, forecasts, innovations, select
from scidiff_timeseries.transforms import Transform

Array = NDArray[np.float64]
ROLLS = Rolls(horizon=10, count=40, context=60)


def autoregression(memory: float, steps: int, seed: int) -> Array:
    """AR(1) with mean 50 and variance 4."""
    noise, x = np.random.default_rng(seed).normal(size=steps), np.zeros(steps)
    for t in range(1, steps):
        x[t] = memory * x[t - 1] + np.sqrt(1 - memory**2) * noise[t]
    return 50 + 2 * x


def given(values: Array) -> Given:
    return Given(values, np.stack((np.zeros(len(values)), np.arange(len(values))), 1), np.inf)


@pytest.mark.parametrize("seed", range(4))
def test_what_returns_gets_a_stationary_law_and_what_walks_does_not(seed: int) -> None:
    weather, price = autoregression(0.7, 2000, seed), 50 + np.random.default_rng(seed).normal(size=2000).cumsum()
    assert [fit.law.stationary for fit in select([given(weather), given(price)], (), ROLLS)] == [True, False]
    assert select([given(price)], (), ROLLS)[0].law.parts == walking_laws(())[0].parts


def test_simulations_of_what_returns_never_leave() -> None:
    data = autoregression(0.7, 2000, 0)
    frame = pd.DataFrame({"ds": pd.date_range("2015-01-01", periods=len(data)), "y": data})
    far = Forecaster(horizon=10, steps=0).fit(frame).simulate(40, 2000).to_array()[0, :, 1000:, 0]
    assert far.mean() == pytest.approx(data.mean(), abs=0.1)
    assert far.std() == pytest.approx(data.std(), rel=0.05)
    assert far[:, -1000:].mean(1).std() < 2 * 2.0 * np.sqrt((1 + 0.7) / (1 - 0.7) / 1000)  # twice that of means of 1,000 steps


@pytest.mark.parametrize("law", stationary_laws(), ids=lambda law: law.name)
def test_a_stationary_law_has_the_variance_of_the_data(law: BaseLaw) -> None:
    data = autoregression(0.7, 500, 1)
    fit = channel_fit(Transform(), law, given(data), 60)
    assert fit is not None
    found = fit.volatility**2 * law.covariance(20).diagonal().numpy()
    np.testing.assert_allclose(found, data.var(), rtol=1e-9)
    assert fit.centre == pytest.approx(data.mean())


def test_units_do_not_matter() -> None:
    panel = [autoregression(0.9, 400, seed) for seed in range(3)]
    one, other = (select([given(unit * each) for each in panel], (7,), ROLLS) for unit in (1.0, 1000.0))
    assert [fit.law for fit in one] == [fit.law for fit in other]
    np.testing.assert_allclose([fit.volatility for fit in other], [1000 * fit.volatility for fit in one])


@pytest.mark.parametrize("law", [*walking_laws((5,))[::3], *stationary_laws()[::3]], ids=lambda law: law.name)
def test_candidates_forecast_as_the_base_law_that_is_fitted_would(law: BaseLaw) -> None:
    rng, horizon = np.random.default_rng(0), 4
    x = np.where(rng.uniform(size=(5, 30)) < 0.2, np.nan, rng.normal(size=(5, 30)))
    mean, deviation = forecasts(law, x, horizon)
    z, usable = innovations(law, x)
    for row in range(len(x)):
        values = torch.from_numpy(np.append(x[row], np.full(horizon, np.nan)))[:, None]
        free = torch.arange(len(values))[:, None] >= len(x[row])
        volatility = np.sqrt((z[row] ** 2 * usable[row]).sum() / usable[row].sum())
        unit = torch.tensor([volatility], dtype=torch.float64)
        exact = condition(SystemLaw((law,), ((1.0,),)), values, torch.isfinite(values), free, torch.zeros(1).double(), unit)
        np.testing.assert_allclose(mean[row], exact.mean, rtol=1e-7, atol=1e-9)
        np.testing.assert_allclose(deviation[row], exact.covariance.diagonal().sqrt(), rtol=1e-7)
