"""Scores, calibration and intervals: hand-computed cases, an independent implementation, closed forms, invariances."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scoringrules
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy.stats import norm

from scidiff_timeseries.metrics import (
    NINE,
    NINETEEN,
    calibration,
    coverage,
    crps,
    crps_sum,
    csdi_crps,
    energy_score,
    evaluate,
    mae,
    mase,
    pit,
    quantiles,
    ratio_interval,
    seasonal_error,
    skill_interval,
    wql,
)
from scidiff_timeseries.metrics.intervals import circular_blocks

Array = NDArray[np.float64]


def numbers(shape: tuple[int, ...]) -> st.SearchStrategy[Array]:
    """Arrays of numbers without underflow, so that scaling by a power of two is exact."""
    return arrays(np.float64, shape, elements=st.integers(-4000, 4000).map(lambda k: k / 8))


def normal(*shape: int, seed: int = 0) -> Array:
    return np.random.Generator(np.random.Philox(seed)).standard_normal(shape)


def literal_wql(paths: Array, truth: Array, levels: tuple[float, ...]) -> float:
    """mean_wQuantileLoss from its definition, one number at a time; paths [window, path, time]."""
    total, size = 0.0, 0.0
    for window in range(len(truth)):
        for time in range(truth.shape[1]):
            y = truth[window, time]
            if math.isnan(y):
                continue
            size += abs(y)
            ordered = sorted(paths[window, :, time])
            for q in levels:
                forecast = ordered[round((len(ordered) - 1) * q)]
                total += 2 * abs((forecast - y) * ((1 if y <= forecast else 0) - q)) / len(levels)
    return total / size


# quantiles


def test_gluonts_quantiles_take_the_sample_at_the_rounded_index_half_to_even() -> None:
    six = np.arange(6.0)[::-1].reshape(6, 1)
    assert quantiles(six, [0.5, 0.3, 0.1])[:, 0].tolist() == [2, 2, 0]  # 2.5 -> 2, 1.5 -> 2, 0.5 -> 0
    hundred = np.arange(100.0).reshape(100, 1)
    assert quantiles(hundred, NINE)[:, 0].tolist() == [10, 20, 30, 40, 50, 59, 69, 79, 89]


def test_linear_and_weibull_quantiles_interpolate_where_they_say() -> None:
    nine = np.arange(9.0).reshape(9, 1)
    assert quantiles(nine, [0.25, 0.5], "linear")[:, 0] == pytest.approx([2, 4])
    assert quantiles(nine, [0.1, 0.25, 0.5, 0.01], "weibull")[:, 0] == pytest.approx([0, 1.5, 4, 0])


@pytest.mark.parametrize("level", [0.0, 1.0, -0.1])
def test_levels_at_the_ends_are_refused(level: float) -> None:
    with pytest.raises(ValueError, match="strictly between 0 and 1"):
        quantiles(np.zeros((3, 1)), [level])


# CRPS of the literature


def test_wql_by_hand() -> None:
    paths = np.arange(11.0).reshape(11, 1)  # quantile q is 10 q; the losses at y = 5 are .8 1.2 1.2 .8 0 .8 1.2 1.2 .8
    assert wql(paths, [5.0]) == pytest.approx(8 / 9 / 5, rel=1e-14)


def test_wql_of_equal_paths_is_the_absolute_error_over_the_size() -> None:
    truth = np.array([[1.0, -2.0, 4.0], [2.0, 2.0, np.nan]])
    point = np.array([[2.0, 0.0, 4.0], [1.0, 4.0, 9.0]])
    paths = np.repeat(point[:, None], 7, axis=1)
    assert wql(paths, truth) == pytest.approx((1 + 2 + 0 + 1 + 2) / 11, rel=1e-14)


def test_windows_are_pooled_not_averaged() -> None:
    paths, truth = np.zeros((2, 3, 1)), np.array([[1.0], [9.0]])
    paths[1] = 9.0
    assert wql(paths, truth) == pytest.approx(0.1)  # (1 + 0) / (1 + 9); an average over windows would be 0.5


@settings(max_examples=30)
@given(paths=numbers((3, 7, 4)), truth=numbers((3, 4)), hidden=arrays(np.bool_, (3, 4)))
def test_wql_equals_a_literal_implementation(paths: Array, truth: Array, hidden: NDArray[np.bool_]) -> None:
    truth = np.where(hidden, np.nan, truth)
    if np.nansum(np.abs(truth)) == 0:
        assert math.isnan(wql(paths, truth))
    else:
        assert wql(paths, truth) == pytest.approx(literal_wql(paths, truth, NINE), rel=1e-12, abs=1e-15)
        assert wql(paths, truth, NINETEEN) == pytest.approx(literal_wql(paths, truth, NINETEEN), rel=1e-12, abs=1e-15)


@given(paths=numbers((2, 6, 3)), truth=numbers((2, 3)), order=st.permutations(range(6)), power=st.integers(-3, 3))
def test_scores_do_not_change_with_the_paths_order_and_scale_with_the_unit(
    paths: Array, truth: Array, order: list[int], power: int
) -> None:
    truth[0, 0] = 1.0  # never all zero
    factor = 2.0**power
    for score in (wql, csdi_crps):
        assert score(paths[:, order], truth) == score(paths, truth)
        assert score(factor * paths, factor * truth) == score(paths, truth)
    for score in (crps, energy_score, mae):
        assert np.allclose(score(paths[:, order], truth), score(paths, truth), rtol=1e-12, atol=1e-9)
        assert np.allclose(score(factor * paths, factor * truth), factor * np.asarray(score(paths, truth)), rtol=1e-9, atol=1e-9)
    for level in (0.5, 0.9):
        assert coverage(factor * paths[:, order], factor * truth, level) == coverage(paths, truth, level)
    assert np.array_equal(pit(factor * paths[:, order], factor * truth), pit(paths, truth))


@given(values=numbers((2, 5, 3)))
def test_what_is_masked_has_no_influence(values: Array) -> None:
    truth = np.array([[1.0, np.nan, 3.0], [np.nan, 2.0, -1.0]])
    other = np.where(np.isnan(truth)[:, None], np.nan, values)
    for score in (wql, csdi_crps, mae, lambda p, y: coverage(p, y, 0.5)):
        assert score(values, truth) == score(other, truth)
    for score in (crps, energy_score, pit):
        assert np.array_equal(score(values, truth), score(other, truth), equal_nan=True)


def test_csdi_interpolates_nineteen_quantiles() -> None:
    paths = np.arange(21.0).reshape(21, 1)  # quantile q is 20 q = 1 ... 19; y = 10 lies on one of them
    losses = [2 * abs((k - 10) * ((k >= 10) - k / 20)) for k in range(1, 20)]
    assert csdi_crps(paths, [10.0]) == pytest.approx(sum(losses) / 19 / 10, rel=1e-13)
    assert csdi_crps(np.array([[0.0], [1.0]]), [1.0]) == pytest.approx(sum(2 * (1 - k / 20) * k / 20 for k in range(1, 20)) / 19)


def test_crps_sum_scores_the_sum_of_joint_paths() -> None:
    z = normal(40, 3)
    paths = np.stack([z, 5 - z], axis=-1)  # the channels' noises cancel: the sum is 5 on every path
    truth = np.tile([2.0, 3.0], (3, 1))
    assert crps_sum(paths, truth) == pytest.approx(0.0, abs=1e-15)
    assert crps_sum(np.stack([z, 5 - z[::-1]], axis=-1), truth) > 0.05  # same margins, not joint
    truth[0, 1] = np.nan
    truth[1] = [2.0, 4.0]
    assert crps_sum(paths, truth) == pytest.approx(1 / (6 + 5))


# CRPS and energy score


def test_crps_and_energy_score_by_hand() -> None:
    assert crps(np.array([[0.0], [2.0]]), [1.0]).tolist() == pytest.approx([0.5])  # 1 - (2 + 2)/4/2
    paths = np.array([[0.0, 0.0], [3.0, 4.0]])
    assert float(energy_score(paths, [0.0, 0.0])) == pytest.approx(2.5 - 1.25)
    assert float(energy_score(paths, [0.0, np.nan])) == pytest.approx(1.5 - 0.75)
    assert math.isnan(float(energy_score(paths, [np.nan, np.nan])))


@pytest.mark.parametrize(("mean", "deviation", "y"), [(0.0, 1.0, 0.3), (2.0, 0.5, 0.0), (-1.0, 3.0, 4.0)])
def test_crps_of_many_gaussian_quantiles_is_the_gaussian_closed_form(mean: float, deviation: float, y: float) -> None:
    count = 4000
    paths = norm.ppf((np.arange(count) + 0.5) / count, loc=mean, scale=deviation).reshape(count, 1)
    exact = float(np.asarray(scoringrules.crps_normal(y, mean, deviation)))
    assert crps(paths, [y])[0] == pytest.approx(exact, abs=2e-4 * deviation)
    fine = tuple((np.arange(200) + 0.5) / 200)  # CRPS is the integral of the quantile loss over all levels
    assert wql(paths - y + 1, [1.0], fine) == pytest.approx(exact, abs=5e-3 * deviation)


def test_the_energy_score_of_one_step_is_crps_and_batches_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    paths, truth = normal(6, 30, 1), normal(6, 1, seed=1)
    assert energy_score(paths, truth) == pytest.approx(crps(paths, truth)[:, 0], rel=1e-12)
    whole = energy_score(normal(2, 3, 20, 5), normal(2, 3, 5, seed=1))
    monkeypatch.setattr("scidiff_timeseries.metrics.scores._BATCH_ENTRIES", 1)
    assert np.array_equal(energy_score(normal(2, 3, 20, 5), normal(2, 3, 5, seed=1)), whole)


def test_the_energy_score_sees_dependence_that_margins_hide() -> None:
    z = normal(100, 1)
    truth = np.repeat(normal(200, 1, seed=1), 8, axis=1)
    joint = np.tile(np.repeat(z, 8, axis=1), (200, 1, 1))
    rng = np.random.Generator(np.random.Philox(2))
    shuffled = np.stack([rng.permutation(z[:, 0]) for _ in range(8)], axis=1)
    assert energy_score(joint, truth).mean() < 0.95 * energy_score(np.tile(shuffled, (200, 1, 1)), truth).mean()


# absolute errors


def test_mae_and_mase_by_hand() -> None:
    paths = np.array([[[1.0, 0.0], [2.0, 5.0], [9.0, 6.0]], [[0.0, 0.0]] * 3, [[1.0, 1.0]] * 3])  # medians (2, 5), (0, 0), (1, 1)
    truth = np.array([[4.0, 4.0], [3.0, np.nan], [2.0, 2.0]])
    assert mae(paths, truth) == pytest.approx((2 + 1 + 3 + 1 + 1) / 5)
    assert mase(paths, truth, [2.0, 6.0, 0.0]) == pytest.approx((1.5 / 2 + 3 / 6) / 2)  # the constant history is left out
    assert mase(8 * paths, 8 * truth, [16.0, 48.0, 0.0]) == mase(paths, truth, [2.0, 6.0, 0.0])
    assert math.isnan(mase(paths, truth, [0.0, np.nan, 0.0]))


def test_seasonal_error_by_hand() -> None:
    assert seasonal_error([1.0, 2.0, 4.0, 7.0], 2) == pytest.approx((3 + 5) / 2)
    assert seasonal_error([1.0, np.nan, 4.0, 7.0, 5.0], 2) == pytest.approx((3 + 1) / 2)
    assert seasonal_error([1.0, 2.0, 4.0], 3) == pytest.approx(1.5)  # not longer than the season: season 1
    assert math.isnan(seasonal_error([1.0], 1))


# coverage and PIT


def test_coverage_is_nominal_on_an_exact_quantile_grid() -> None:
    paths = np.arange(1.0, 100.0).reshape(99, 1)  # 99 paths cut the line into 100 equally likely pieces; one truth in each
    truth = (np.arange(100) + 0.5).reshape(100, 1)
    for level in (0.5, 0.8, 0.9):
        assert coverage(np.tile(paths, (100, 1, 1)), truth, level) == pytest.approx(level)
    assert coverage(np.tile(paths, (100, 1, 1)), truth, 0.9, "linear") == pytest.approx(0.88)
    truth[:50] = np.nan
    assert coverage(np.tile(paths, (100, 1, 1)), truth, 0.9) == pytest.approx(0.9)


def test_the_ends_of_an_interval_belong_to_it() -> None:
    assert coverage(np.ones((5, 2)), [1.0, 1.0 + 1e-9], 0.5) == 0.5


def test_pit_places_every_truth_in_its_own_cell() -> None:
    paths = np.tile(np.arange(1.0, 10.0).reshape(9, 1), (10, 1, 1))
    cells = pit(paths, (np.arange(10) + 0.5).reshape(10, 1))[:, 0]
    assert np.floor(cells * 10).tolist() == list(range(10))
    assert calibration(cells.reshape(1, -1)).deciles == pytest.approx(tuple(k / 10 for k in range(1, 10)))


def test_pit_is_uniform_with_ties_too() -> None:
    values = pit(np.zeros((2000, 4, 1)), np.zeros((2000, 1)))  # all tied: only the random tie breaking is left
    assert np.abs(np.sort(values[:, 0]) - (np.arange(2000) + 0.5) / 2000).max() < 1.63 / math.sqrt(2000)  # Kolmogorov, 1 %
    assert np.array_equal(values, pit(np.zeros((2000, 4, 1)), np.zeros((2000, 1))))
    assert not np.array_equal(values, pit(np.zeros((2000, 4, 1)), np.zeros((2000, 1)), seed=1))


def test_calibration_by_hand() -> None:
    uniform = np.tile((np.arange(10) + 0.5) / 10, (6, 1))
    found = calibration(uniform)
    assert (found.error, found.distance, found.p_value) == (pytest.approx(0), pytest.approx(0), 1.0)
    middle = calibration(np.full((6, 4), 0.45))  # far too wide a law
    assert middle.deciles == (0, 0, 0, 0, 1, 1, 1, 1, 1)
    assert (middle.error, middle.distance) == (pytest.approx(2.5 / 9), pytest.approx(0.5))
    assert middle.p_value == pytest.approx(1 / 2001)
    assert math.isnan(calibration(uniform[:1]).p_value)


def test_the_calibration_test_keeps_its_level_when_entries_of_a_window_depend_on_each_other() -> None:
    windows, repeats = 40, 60
    draws = np.random.Generator(np.random.Philox(5)).random((repeats, windows, 1))
    rejected = sum(calibration(np.repeat(u, 30, axis=1), block=1).p_value < 0.05 for u in draws)
    assert rejected <= 9  # 3 expected; a test for 1,800 independent entries would reject nearly always
    shifted = sum(calibration(np.repeat(u**2, 30, axis=1), block=1).p_value < 0.05 for u in draws)
    assert shifted >= 40


def test_calibration_refuses_nonsense() -> None:
    with pytest.raises(ValueError, match="observed nowhere"):
        calibration(np.full((2, 3), np.nan))
    with pytest.raises(ValueError, match="between 0 and 1"):
        calibration([[0.2, 1.4]])


# intervals


def test_blocks_are_runs_on_a_circle_and_draw_every_window_equally_often() -> None:
    picks = circular_blocks(7, 3, 4000, seed=0)
    assert picks.shape == (4000, 7)
    for column in (1, 2, 4, 5):
        assert ((picks[:, column] - picks[:, column - 1]) % 7 == 1).all()
    counts = np.bincount(picks.ravel(), minlength=7)
    assert np.abs(counts - 4000).max() < 5 * math.sqrt(4000 * 3)  # blocks: variance at most 3 times that of single draws
    with pytest.raises(ValueError, match="1 to 7 windows"):
        circular_blocks(7, 8, 10, seed=0)


def test_an_interval_by_hand() -> None:
    interval = ratio_interval([0.0, 1.0], [1.0, 1.0], block=1)  # means 0, .5, 1 with chances 1/4, 1/2, 1/4
    assert interval is not None
    assert (interval.low, interval.high) == (0, 1)
    assert ratio_interval([1.0], [1.0]) is None
    assert ratio_interval([1.0, 1.0], [1.0, 0.0], block=1) is None
    whole = ratio_interval([0.0, 5.0, 1.0], [1.0, 2.0, 5.0], block=3)  # one block of everything: nothing varies
    assert whole is not None
    assert (whole.low, whole.high) == (0.75, 0.75)


def test_intervals_have_the_width_that_the_windows_dependence_gives() -> None:
    values, ones = normal(400), np.ones(400)
    single = ratio_interval(values, ones, block=1)
    assert single is not None
    width = 2 * 1.96 * values.std() / 20
    assert single.high - single.low == pytest.approx(width, rel=0.08)
    assert single.low < values.mean() < single.high
    # every value twice in a row: the correlation of neighbours is 1/2, so blocks of two see 1 + 1/2 times the variance
    twins = ratio_interval(np.repeat(values[:200], 2), ones, block=2)
    alone = ratio_interval(np.repeat(values[:200], 2), ones, block=1)
    assert twins is not None
    assert alone is not None
    assert (twins.high - twins.low) / (alone.high - alone.low) == pytest.approx(math.sqrt(1.5), rel=0.06)


def test_skill_compares_on_the_same_resamples() -> None:
    losses = np.abs(normal(30, 4)) + 0.1
    for factor in (1.0, 0.5, 2.0):
        interval = skill_interval(factor * losses, losses)
        assert interval is not None
        assert (interval.low, interval.high) == (pytest.approx(1 - factor), pytest.approx(1 - factor))
    assert skill_interval(losses[:1], losses[:1]) is None


# everything at once


def test_evaluate_gives_each_figure_of_its_own_function() -> None:
    paths, truth = normal(6, 3, 50, 4) + 2, normal(6, 3, 4, seed=1) + 2
    truth[0, 0, 1] = np.nan
    errors = np.ones((6, 3))
    found = evaluate(paths, truth, seasonal_errors=errors, joint=True)
    assert found["crps"] == pytest.approx(wql(paths, truth))
    assert found["crps_sum"] == pytest.approx(crps_sum(np.moveaxis(paths, 1, -1), np.moveaxis(truth, 1, -1)))
    assert found["coverage_90"] == coverage(paths, truth, 0.9)
    assert found["coverage_50"] == coverage(paths, truth, 0.5)
    assert found["mase"] == mase(paths, truth, errors)
    assert found["energy"] == pytest.approx(energy_score(paths, truth).sum() / np.sqrt(np.nansum(truth**2, axis=-1)).sum())
    assert found["nd"] == pytest.approx(np.nansum(np.abs(np.median(paths, axis=2) - truth)) / np.nansum(np.abs(truth)))
    assert found.calibration == calibration(pit(paths, truth))
    interval = found.figures["crps"].interval
    assert interval is not None
    assert interval.low < found["crps"] < interval.high
    assert "6 origins" in interval.method


def test_channels_of_a_system_are_scored_like_joint_series() -> None:
    paths, truth = normal(6, 3, 20, 4) + 2, normal(6, 3, 4, seed=1) + 2
    series = evaluate(paths, truth, joint=True)
    system = evaluate(np.moveaxis(paths, 1, -1)[:, None], np.moveaxis(truth, 1, -1)[:, None])
    for key in ("crps", "crps_sum", "coverage_50", "coverage_90", "nd"):
        assert system[key] == pytest.approx(series[key])
    flat = np.moveaxis(paths, 1, -1).reshape(6, 20, 12)
    assert system["energy"] * np.linalg.norm(truth.reshape(6, 12), axis=1).sum() == pytest.approx(
        energy_score(flat, np.moveaxis(truth, 1, -1).reshape(6, 12)).sum()
    )


def test_few_origins_resample_series() -> None:
    found = evaluate(normal(1, 12, 20, 4), normal(1, 12, 4, seed=1))
    interval = found.figures["crps"].interval
    assert interval is not None
    assert "12 series, blocks of 1" in interval.method
    assert found.losses.shape == (12, 1)


@pytest.mark.parametrize(
    ("paths", "truth", "message"),
    [
        (np.zeros((2, 5, 3)), np.zeros((2, 4)), "do not fit"),
        (np.zeros((5, 3)), np.zeros((2, 3)), "do not fit"),
        (np.zeros((0, 3)), np.zeros(3), "no path"),
        (np.zeros((5, 1)), np.array([np.inf]), "infinite"),
        (np.array([[0.0, np.nan]]), np.array([1.0, 1.0]), "1 values of the paths are NaN"),
    ],
)
def test_what_cannot_be_scored_is_refused(paths: Array, truth: Array, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        wql(paths, truth)
