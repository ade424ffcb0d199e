"""The baseline ARIMA and the climatology: closed forms, orders that are found, missing values, the fallback that is said."""

from __future__ import annotations

import logging
import math

import numpy as np
import pytest
from numpy.typing import NDArray

from scidiff_timeseries.baselines import ARIMA, Climatology, SeasonalNaive, naive
from scidiff_timeseries.baselines import arima as module
from scidiff_timeseries.baselines.base import _log_stand_in, standing_in
from scidiff_timeseries.baselines.fitted import quiet

Array = NDArray[np.float64]
MANY = 4000


def normal(*shape: int, seed: int = 0) -> Array:
    return np.random.Generator(np.random.Philox(seed)).standard_normal(shape)


def autoregression(count: int, phi: float, mean: float = 0.0) -> Array:
    z, x = normal(count), np.zeros(count)
    for t in range(1, count):
        x[t] = phi * x[t - 1] + z[t]
    return mean + x


def test_paths_of_an_autoregression_have_its_mean_and_variance() -> None:
    history = autoregression(500, 0.8, mean=50.0)
    with quiet():
        found = module._fit((history - history.mean()) / history.std(), 0)
    assert found is not None
    order, _, fit = found
    assert (order.p, order.d, order.q, order.constant) == (1, 0, 0, True)
    constant, phi, variance = fit.params
    assert phi == pytest.approx(0.8, abs=0.08)
    steps = np.arange(1, 13)
    paths = ARIMA()([history], 12, MANY, 0)[0]
    mean = history.mean() + history.std() * constant / (1 - phi)
    assert paths.mean(axis=0) == pytest.approx(mean + phi**steps * (history[-1] - mean), abs=0.12)
    deviation = history.std() * np.sqrt(variance * (1 - phi ** (2 * steps)) / (1 - phi**2))
    assert paths.std(axis=0) == pytest.approx(deviation, rel=0.06)


def test_a_random_walk_is_differenced() -> None:
    history = np.cumsum(normal(500, seed=1))
    with quiet():
        found = module._fit((history - history.mean()) / history.std(), 0)
    assert found is not None
    assert (found[0].p, found[0].d, found[0].q) == (0, 1, 0)
    paths = ARIMA()([history], 20, MANY, 0)[0]
    assert np.var(paths - history[-1], axis=0) == pytest.approx(np.arange(1, 21), rel=0.2)


def test_the_criterion_compares_differenced_candidates_with_the_others() -> None:
    """The same law written twice, as a random walk and as an autoregression at its edge, has the same likelihood."""
    x = np.cumsum(normal(300))
    walk, edge = module._Order(0, 1, 0), module._Order(1, 0, 0)
    with quiet():
        first, second = walk.model(x, 1).loglike(np.array([1.0])), edge.model(x, 1).loglike(np.array([1 - 1e-9, 1.0]))
    assert first == pytest.approx(second, rel=1e-4)


@pytest.mark.parametrize("season", [4, 7, 24])
def test_a_season_is_continued_in_phase(season: int) -> None:
    pattern = 10 * np.sin(2 * np.pi * np.arange(season) / season)
    history = np.tile(pattern, 300 // season) + 0.2 * normal(season * (300 // season))
    paths = ARIMA(season)([history], 2 * season, 500, 0)[0]
    assert paths.mean(axis=0) == pytest.approx(np.tile(pattern, 2), abs=0.4)
    assert paths.std(axis=0) == pytest.approx(0.2, rel=0.6)


def test_a_season_that_drifts_is_differenced() -> None:
    pattern = np.tile([0.0, 30.0, -20.0, 5.0], 60) * np.repeat(np.linspace(1, 3, 60), 4)  # its size grows threefold
    history = pattern + 0.3 * normal(240)
    with quiet():
        found = module._fit((history - history.mean()) / history.std(), 4)
    assert found is not None
    assert found[0].period == 4
    paths = ARIMA(4)([history], 4, 500, 0)[0]
    assert paths.mean(axis=0) == pytest.approx([0.0, 90.0, -60.0, 15.0], abs=3)


def test_missing_values_are_left_out_and_a_gap_at_the_end_is_walked_through() -> None:
    history = 3 * np.tile([1.0, 5.0, 2.0, 9.0, 3.0, 8.0, 4.0], 40) + 0.1 * normal(280)
    history[[50, 51, 170, 278, 279]] = math.nan
    with standing_in() as counts:
        paths = ARIMA(7)([history], 7, 200, 0)[0]
    assert not counts
    assert paths.mean(axis=0) == pytest.approx(3 * np.array([1.0, 5.0, 2.0, 9.0, 3.0, 8.0, 4.0]), abs=0.5)


def test_harmonics_are_those_of_the_period_and_none_twice() -> None:
    for period, columns in ((2, 1), (4, 3), (5, 4), (7, 6), (10, 9), (24, 10)):
        table = module._waves(period, 3 * period)
        assert np.linalg.matrix_rank(table) == table.shape[1] == columns
        assert table[period:] == pytest.approx(table[:-period], abs=1e-9)


def test_the_longest_run_without_a_gap() -> None:
    z = np.array([1.0, 2, math.nan, 3, 4, 5, math.nan, 6, 7, 8, math.nan])
    assert module._longest_run(z).tolist() == [6, 7, 8]
    assert module._longest_run(np.array([math.nan])).size == 0
    assert module._longest_run(np.array([1.0, 2])).tolist() == [1, 2]


def test_the_fallback_is_counted_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    _log_stand_in.cache_clear()
    short = normal(12)
    with caplog.at_level(logging.WARNING), standing_in() as counts:
        paths = ARIMA()([short, short], 3, 5, 0)
    assert counts == {"ARIMA": 2}
    assert [record.message for record in caplog.records if record.name == "scidiff.timeseries"] == [
        "ARIMA: no usable fit for a series, so the paths of a random walk take its place (said once)"
    ]
    assert np.array_equal(paths, naive()([short, short], 3, 5, 0))


def test_a_fit_that_fails_falls_back(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(x: Array, season: int) -> None:
        raise np.linalg.LinAlgError("singular")

    monkeypatch.setattr(module, "_fit", fail)
    history = normal(100)
    assert np.array_equal(ARIMA()([history], 3, 5, 0), naive()([history], 3, 5, 0))


# climatology


def test_climatology_draws_whole_windows_of_the_same_time_of_earlier_seasons() -> None:
    history = np.arange(103.0)
    paths = Climatology(10, width=1)([history], 3, 500, 0)[0]
    assert (np.diff(paths, axis=1) == 1).all()
    begins = set(paths[:, 0].astype(int).tolist())
    assert begins == {b for k in range(1, 11) for b in (103 - 10 * k - 1, 103 - 10 * k, 103 - 10 * k + 1) if b >= 0}


def test_climatology_leaves_out_windows_with_missing_values() -> None:
    history = np.tile([1.0, 2.0, 3.0, 4.0], 5)
    history[5] = math.nan
    assert (Climatology(4)([history], 4, 50, 0)[0] == [1, 2, 3, 4]).all()
    assert Climatology(365).width is None
    assert np.array_equal(Climatology(50)([history], 4, 5, 0), naive()([history], 4, 5, 0))
    assert np.array_equal(Climatology(4)([[1.0, 2, 3, 4]], 4, 1, 0), SeasonalNaive(4)([[1.0, 2, 3, 4]], 4, 1, 0))
