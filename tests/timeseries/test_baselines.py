"""The baselines' laws, exactly or within stated Monte-Carlo error at fixed seeds."""

from __future__ import annotations

import itertools
import math
import warnings

import numpy as np
import pytest
from numpy.typing import NDArray

from scidiff.errors import UserError
from scidiff_timeseries.baselines import BASELINES, ETS, GarchT, RandomWalk, SeasonalBootstrap, SeasonalNaive, baseline, naive

Array = NDArray[np.float64]
MANY = 20_000
NAN = math.nan


def normal(*shape: int, seed: int = 0) -> Array:
    return np.random.Generator(np.random.Philox(seed)).standard_normal(shape)


def deviation_fits(sample: Array, expected: Array, axis: int = 0) -> None:
    """A Gaussian sample's standard deviation is within five of its own standard errors, sigma / sqrt(2 n)."""
    assert np.std(sample, axis=axis) == pytest.approx(expected, rel=5 / math.sqrt(2 * sample.shape[axis]))


# random walks


def test_volatility_by_hand() -> None:
    history = np.exp([0.0, 1.0, 3.0])  # steps 1 and 2
    assert RandomWalk(decay=0.5).volatility(history) ** 2 == pytest.approx((0.5 * 1 + 1 * 4) / 1.5)
    assert RandomWalk().volatility(history) ** 2 == pytest.approx(2.5)
    assert naive().volatility(np.array([0.0, NAN, 2.0])) ** 2 == pytest.approx(2.0)  # 2 in two steps of time
    gap = RandomWalk(decay=0.5, log=False).volatility(np.array([0.0, 1.0, NAN, 3.0]))
    assert gap**2 == pytest.approx((0.25 * 1 + 1 * 2) / 1.25)


def test_the_variance_of_a_random_walk_grows_linearly_from_the_last_value() -> None:
    history = np.exp(0.02 * np.cumsum(normal(300)))
    for law in (RandomWalk(decay=0.95), RandomWalk()):
        steps = np.log(law([history], 12, MANY, 0)[0] / history[-1])
        sigma = law.volatility(history)
        deviation_fits(steps, sigma * np.sqrt(np.arange(1, 13)))
        assert np.abs(steps.mean(axis=0)).max() < 5 * sigma * math.sqrt(12 / MANY)
        increments = np.diff(steps, axis=1, prepend=0.0) / sigma
        correlation = np.corrcoef(increments.T) - np.eye(12)
        assert np.abs(correlation).max() < 5 / math.sqrt(MANY)


def test_the_naive_law_walks_in_the_unit_of_the_data() -> None:
    history = np.array([3.0, -1.0, 1.0])  # squared steps 16 and 4
    paths = naive()([history], 4, MANY, 0)[0]
    deviation_fits(paths - 1.0, math.sqrt(10) * np.sqrt(np.arange(1, 5)))


def test_a_walk_starts_at_the_last_observed_value() -> None:
    history = np.array([0.0, 1.0, 0.0, 1.0, NAN, NAN])
    paths = naive()([history], 3, MANY, 0)[0]
    deviation_fits(paths - 1.0, np.sqrt([3.0, 4.0, 5.0]))


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_volatility_survives_extreme_units(scale: float) -> None:
    history = np.array([0.0, 1.0, -1.0])
    assert naive().volatility(scale * history) == pytest.approx(scale * math.sqrt(2.5))


def test_logarithms_need_positive_values() -> None:
    with pytest.raises(UserError, match="positive values"):
        RandomWalk(log=True)([[1.0, 0.0]], 2, 3, 0)
    assert (RandomWalk()([[1.0, 2.0, 1.0]], 50, 200, 0) > 0).all()
    assert (RandomWalk()([[1.0, 0.0, 1.0]], 50, 200, 0) < 0).any()
    with pytest.raises(ValueError, match=r"\(0, 1\]"):
        RandomWalk(decay=1.5)


# seasons


def test_seasonal_naive_repeats_the_last_season_on_every_path() -> None:
    paths = SeasonalNaive(3)([[9.0, 1.0, 2.0, 3.0]], 7, 2, 0)
    assert paths.tolist() == [[[1, 2, 3, 1, 2, 3, 1]] * 2]
    assert SeasonalNaive()([[5.0, 7.0]], 3, 1, 0).tolist() == [[[7, 7, 7]]]


def test_a_missing_phase_comes_from_the_season_before_or_the_mean() -> None:
    history = [8.0, 1.0, NAN, 5.0, NAN, NAN, 2.0]  # phases from the end: (1, -, 5), (-, -, 2)
    assert SeasonalNaive(3)([history], 3, 1, 0).tolist() == [[[1, 4, 2]]]
    assert SeasonalNaive(9)([[1.0, 3.0]], 2, 1, 0).tolist() == [[[2, 2]]]


def test_the_seasonal_bootstrap_adds_whole_windows_of_past_errors() -> None:
    history = np.array([0.0, 10.0, 1.0, 13.0, 5.0, 11.0, 7.0])
    law = SeasonalBootstrap((2,))
    paths = law([history], 3, 300, 0)[0]
    last = np.array([11.0, 7.0, 11.0])
    windows = {tuple(history[o : o + 3] - history[[o - 2, o - 1, o - 2]]) for o in (2, 3, 4)}
    assert {tuple(path - last) for path in paths} == windows
    counts = [sum(tuple(path - last) == window for path in paths) for window in windows]
    assert max(abs(count - 100) for count in counts) < 5 * math.sqrt(300 * 2 / 9)


def test_a_periodic_series_is_forecast_without_error() -> None:
    history = np.tile([1.0, 5.0, 2.0, 8.0], 12)
    truth = np.resize(history, len(history) + 10)[-10:]
    for law in (SeasonalBootstrap((4, 8)), SeasonalBootstrap((4, 8), centred=True), SeasonalNaive(4)):
        assert (law([history], 10, 9, 0) == truth).all()


def test_seasons_share_the_paths_equally_and_the_order_is_mixed() -> None:
    history = np.arange(30.0)  # errors of season m are m throughout: the paths tell their season
    paths = SeasonalBootstrap((2, 5, 7))([history], 2, 100, 0)[0]
    assert (np.diff(paths, axis=1) == 1).all()  # 30, 31 for all seasons: a straight line is continued
    history = np.tile([0.0, 0.0, 0.0, 0.0, 0.0, 1.0], 20)
    centre = SeasonalBootstrap((6, 1))([history], 6, 101, 0)[0]
    exact = (centre == [0, 0, 0, 0, 0, 1]).all(axis=1)
    assert exact.sum() >= 51  # season 6 gets 51 paths, all exact
    assert 0 < exact[:51].sum() < 51


def test_centred_errors_have_mean_zero_over_all_origins() -> None:
    history = normal(60) + 0.3 * np.arange(60)
    paths = SeasonalBootstrap((5,), centred=True)([history], 4, MANY, 0)[0]
    last = history[[-5, -4, -3, -2]]
    spread = paths.std(axis=0)
    assert (np.abs(paths.mean(axis=0) - last) < 5 * spread / math.sqrt(MANY)).all()
    raw = SeasonalBootstrap((5,))([history], 4, MANY, 0)[0]
    assert raw.std(axis=0) == pytest.approx(spread, rel=0.03)
    assert (raw.mean(axis=0) - last > 1).all()


def test_windows_with_missing_values_are_not_drawn() -> None:
    history = np.tile([1.0, 5.0], 10)
    history[7] = NAN
    assert (SeasonalBootstrap((2,))([history], 3, 200, 0)[0] == [1, 5, 1]).all()
    alternating = np.where(np.arange(20) % 4 == 0, 3.0, NAN)  # no complete window at all: the naive law
    assert np.array_equal(SeasonalBootstrap((2,))([alternating], 3, 5, 0), naive()([alternating], 3, 5, 0))


# fitted laws


def test_ets_has_the_variance_of_simple_smoothing() -> None:
    from statsmodels.tsa.exponential_smoothing.ets import ETSModel

    noise = normal(400)
    history = np.cumsum(noise) + 2 * normal(400, seed=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit = ETSModel(history, error="add").fit(disp=False, maxiter=200)
    alpha = fit.smoothing_level
    expected = np.sqrt(fit.scale * (1 + alpha**2 * np.arange(8)))  # Hyndman et al. 2008, class 1
    paths = ETS()([history], 8, MANY, 0)[0]
    assert paths.std(axis=0) == pytest.approx(expected, rel=0.03)
    assert paths.mean(axis=0) == pytest.approx(np.asarray(fit.forecast(8)), abs=0.15)


def test_ets_finds_the_season_and_the_scale_of_the_errors() -> None:
    season = np.array([10.0, 14.0, 8.0, 20.0])
    level = np.tile(season, 30) + 0.2 * normal(120)
    paths = ETS(season=4)([level], 8, 2000, 0)[0]
    assert paths.mean(axis=0) == pytest.approx(np.tile(season, 2), abs=0.4)
    assert paths.std(axis=0) == pytest.approx(0.2, rel=0.4)
    product = np.tile(season, 30) * np.exp(0.02 * np.arange(120) + 0.05 * normal(120))
    growing = ETS(season=4, log=None)([product], 4, 2000, 0)[0]
    assert growing.std(axis=0) / growing.mean(axis=0) == pytest.approx(0.05, rel=0.5)
    assert growing.mean(axis=0) / np.exp(0.02 * np.arange(120, 124)) == pytest.approx(season, rel=0.1)


def test_ets_skips_the_gap_at_the_end() -> None:
    trend = 5 * np.arange(60.0) + 0.01 * normal(60)
    straight = ETS()([trend], 6, 500, 0)[0].mean(axis=0)
    after = ETS()([np.r_[trend, NAN, NAN]], 4, 500, 0)[0].mean(axis=0)
    assert after == pytest.approx(straight[2:], abs=0.5)


def garch_history(count: int) -> Array:
    z, steps, variance = normal(count), np.zeros(count), 1e-4
    for t in range(count):
        steps[t] = math.sqrt(variance) * z[t]
        variance = 5e-6 + 0.1 * steps[t] ** 2 + 0.85 * variance
    return np.exp(np.cumsum(steps))


def test_garch_paths_have_the_analytic_forecast_variance() -> None:
    from arch import arch_model

    history = garch_history(1500)
    steps = np.diff(np.log(history))
    fit = arch_model(steps / steps.std(), mean="Zero", dist="t", rescale=False).fit(disp="off")
    expected = fit.forecast(horizon=10).variance.to_numpy()[-1] * steps.var()
    drawn = np.diff(np.log(GarchT()([history], 10, MANY, 0)[0]), axis=1, prepend=math.log(history[-1]))
    assert drawn.var(axis=0) == pytest.approx(expected, rel=0.08)
    assert np.abs(drawn.mean(axis=0)).max() < 5 * math.sqrt(expected.max() / MANY)


def test_garch_falls_back_to_the_ewma_walk_on_little_data() -> None:
    history = np.exp(0.01 * np.cumsum(normal(80)))
    assert np.array_equal(GarchT()([history], 5, 7, 3), RandomWalk(decay=0.95)([history], 5, 7, 3))
    assert np.array_equal(ETS()([history[:10]], 5, 7, 3), naive()([history[:10]], 5, 7, 3))


# all of them


@pytest.mark.parametrize("name", BASELINES)
def test_a_series_does_not_depend_on_the_others_and_seeds_repeat(name: str) -> None:
    law = baseline(name, (4, 8))
    histories = [np.exp(0.1 * np.cumsum(normal(150, seed=k))) for k in range(3)]
    together = law(histories, 5, 6, 11)
    assert np.array_equal(law(histories, 5, 6, 11), together)
    assert np.array_equal(law([histories[2], histories[1]], 5, 6, 11)[1], together[1])
    if name != "seasonal_naive":
        assert not np.array_equal(law(histories, 5, 6, 12), together)
        assert not np.array_equal(law([histories[0]] * 2, 5, 6, 11)[0], law([histories[0]] * 2, 5, 6, 11)[1])
    channels = law([np.stack(histories[:2], axis=1)], 5, 6, 11)
    assert channels.shape == (1, 6, 5, 2)
    assert np.array_equal(channels[0, :, :, 0], together[0])


@pytest.mark.parametrize("name", BASELINES)
@pytest.mark.parametrize("history", [[3.0], [2.0] * 300, [NAN, 4.0, NAN], [0.0] * 40, [-1e12, 1e-12] * 100, [1.0, 2.0]])
def test_hostile_histories_give_finite_paths(name: str, history: list[float]) -> None:
    paths = baseline(name, (24, 168))([np.array(history)], 30, 4, 0)
    assert paths.shape == (1, 4, 30)
    assert np.isfinite(paths).all()
    known = {value for value in history if not math.isnan(value)}
    if len(known) == 1:
        np.testing.assert_allclose(paths, known.pop(), rtol=1e-12)


@pytest.mark.parametrize(
    ("histories", "horizon", "n_paths", "message"),
    [
        ([], 1, 1, "no series"),
        ([[1.0], [NAN, NAN]], 1, 1, "series 1 has no observed value"),
        ([[]], 1, 1, "series 0 has no observed value"),
        ([[1.0, math.inf]], 1, 1, "series 0 holds an infinite value at row 1"),
        ([[1.0]], 0, 1, "horizon >= 1"),
        ([[1.0]], 1, -1, "n_paths >= 1"),
        ([[1.0], [[1.0, 2.0]]], 1, 1, "same shape"),
    ],
)
def test_what_cannot_be_forecast_is_refused(histories: list[list[float]], horizon: int, n_paths: int, message: str) -> None:
    with pytest.raises(UserError, match=message):
        RandomWalk()(histories, horizon, n_paths, 0)


def test_every_series_is_counted() -> None:
    seen = itertools.count()
    naive()([[1.0, 2.0]] * 4, 2, 2, 0, advance=lambda: next(seen))
    assert next(seen) == 4


def test_unknown_names_and_seasons_are_refused() -> None:
    with pytest.raises(UserError, match="did you mean 'naive'"):
        baseline("naiv")
    with pytest.raises(UserError, match="seasons are counted in steps"):
        baseline("naive", ())
    assert baseline("seasonal_naive", (168, 24)) == SeasonalNaive(24)
    assert len({baseline(name, (24, 168)).name for name in BASELINES}) == len(BASELINES)
