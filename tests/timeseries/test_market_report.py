"""Stylised facts against laws that are known exactly, and planted faults that the report must find."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.special import ndtri
from scipy.stats import chi2
from scipy.stats import t as student
from support.pages import Page, references

from scidiff.errors import UserError
from scidiff.report import write_page
from scidiff_timeseries.panel import read_frame
from scidiff_timeseries.paths import SamplePaths
from scidiff_timeseries.simulation import MarketReport, block_bootstrap, garch_t, market_report, moments, risk
from scidiff_timeseries.simulation.frames import read_paths
from scidiff_timeseries.simulation.market_facts import drawdowns, market_facts, portfolio
from scidiff_timeseries.simulation.memorisation import Memory
from scidiff_timeseries.simulation.resample import Units, resolved, weighted_quantiles

NAMES = ["aa", "bb", "cc"]


def units_of(values: np.ndarray, resamples: int = 0) -> Units:
    """Every path is a unit."""
    number = np.repeat(np.arange(len(values)), values.shape[1]).reshape(values.shape[:2])
    return Units.numbered(number, "paths", resamples, 0)


def grid(n: int) -> np.ndarray:
    return (np.arange(n) + 0.5) / n


def market(n: int, steps: int, seed: int) -> np.ndarray:
    """Returns [path, time, asset] with clusters of unrest (a log-normal AR(1) volatility, raised by losses), heavy tails, a common part."""
    rng = np.random.default_rng(seed)
    logs, made = np.zeros((n, 1)), []
    for _ in range(steps + 100):
        common, own = rng.standard_t(5, (n, 1)) / np.sqrt(5 / 3), rng.standard_normal((n, 3))
        made.append(0.01 * np.exp(logs) * (0.7 * common + 0.7 * own))
        logs = 0.95 * logs + 0.12 * rng.standard_normal((n, 1)) - 0.08 * common
    return np.stack(made[100:], 1)


def frame(values: np.ndarray) -> pd.DataFrame:
    """A wide frame of paths."""
    made = pd.DataFrame(values.reshape(-1, values.shape[2]), columns=NAMES[: values.shape[2]])
    return made.assign(path=np.repeat(np.arange(len(values)), values.shape[1]))


def report(values: np.ndarray, data: np.ndarray, **options: object) -> MarketReport:
    return market_report(frame(values), frame(data).drop(columns="path"), **({"kind": "return", "methods": {}, "resamples": 200} | options))


# -- statistics of laws that are known ------------------------------------------------------------------------------------


@pytest.mark.parametrize("index", [1.5, 3.0, 6.0])
def test_hill_of_exact_pareto_quantiles(index: float) -> None:
    x = ((1 - grid(40_000)) ** (-1 / index)).reshape(8, -1, 1)
    assert moments.hill(units_of(x), x, 0.05)[0, 0] == pytest.approx(index, rel=2e-3)
    assert moments.hill(units_of(x), 7 * x, 0.05)[0, 0] == pytest.approx(index, rel=2e-3)  # no unit


def test_hill_by_hand() -> None:
    x = np.array([1.0, 8.0, 2.0, 4.0]).reshape(1, 4, 1)  # k = 2: the values 8 and 4 over 2
    assert moments.hill(units_of(x), x, 0.5)[0, 0] == pytest.approx(2 / (math.log(8 / 2) + math.log(4 / 2)), rel=1e-12)
    assert np.isnan(moments.hill(units_of(x), -x, 0.5)[0, 0])  # a tail has positive values


@pytest.mark.parametrize(
    ("values", "exact", "tolerance"),
    [
        (np.array([-1.0, 1.0]), -2.0, 1e-12),
        (np.arange(100.0), -1.2 * (100**2 + 1) / (100**2 - 1), 1e-10),
        (ndtri(grid(400_000)), 0.0, 2e-3),
        (student.ppf(grid(400_000), 12), 6 / (12 - 4), 8e-3),
    ],
)
def test_kurtosis_of_known_laws(values: np.ndarray, exact: float, tolerance: float) -> None:
    x = 3.0 + 5.0 * values.reshape(1, -1, 1)
    assert moments.kurtosis(units_of(x), x)[0, 0] == pytest.approx(exact, abs=tolerance)


def test_kurtosis_of_sums_of_independent_signs_falls_as_their_number() -> None:
    x = np.array(list(itertools.product([-1.0, 1.0], repeat=6)))[..., None]  # every path of six signs once
    for steps in (1, 2, 3, 6):
        assert moments.kurtosis(units_of(x), moments.aggregated(x, steps))[0, 0] == pytest.approx(-2 / steps, abs=1e-12)


def test_autocorrelation_of_an_ar1_with_exact_moments() -> None:
    phi, times = 0.7, 9
    covariance = phi ** np.abs(np.subtract.outer(np.arange(times), np.arange(times)))
    signs = np.array(list(itertools.product([-1.0, 1.0], repeat=times)))  # mean 0 and covariance 1 exactly
    x = (signs @ np.linalg.cholesky(covariance).T)[..., None]
    for lag in range(times):
        assert moments.lagged_correlation(units_of(x), x, x, lag)[0, 0] == pytest.approx(phi**lag, abs=1e-12)


def test_lagged_correlations_are_pearsons_of_the_pairs_that_are_known() -> None:
    x = market(1, 200, 0)
    size = np.abs(x)
    assert moments.lagged_correlation(units_of(x), x, size, 3)[0, 1] == pytest.approx(np.corrcoef(x[0, :-3, 1], size[0, 3:, 1])[0, 1])
    x[0, 50, 1] = np.nan
    known = np.isfinite(x[0, :-3, 1]) & np.isfinite(x[0, 3:, 1])
    expected = np.corrcoef(x[0, :-3, 1][known], x[0, 3:, 1][known])[0, 1]
    assert moments.lagged_correlation(units_of(x), x, x, 3)[0, 1] == pytest.approx(expected)


def test_joint_exceedance_of_equal_and_of_independent_columns() -> None:
    a, b = (one.ravel() for one in np.meshgrid(np.arange(100.0), np.arange(100.0)))
    for columns, exact in (([a, b], 0.05), ([a, 2 * a], 1.0), ([a, -a], 0.0), ([a, b, a], (0.05 + 1 + 0.05) / 3)):
        x = np.stack(columns, 1)[None]
        assert moments.co_exceedance(units_of(x), x, 0.05)[0] == pytest.approx(exact, abs=1e-12)


def test_drawdowns_by_hand() -> None:
    prices = np.array([100.0, 120.0, 90.0, 130.0, 65.0])
    returns = np.diff(np.log(prices))[None]
    falls, _ = drawdowns(returns, units_of(returns[..., None]), 4)
    assert falls == pytest.approx([0.5])
    falls, _ = drawdowns(returns[:, :3], units_of(returns[:, :3, None]), 3)
    assert falls == pytest.approx([0.25])
    falls, _ = drawdowns(np.full((1, 4), -0.1), units_of(np.zeros((1, 4, 1))), 4)  # falls from the first price on
    assert falls == pytest.approx([1 - math.exp(-0.4)])


def test_the_portfolio_holds_equal_weights_of_prices() -> None:
    returns = np.log(np.array([[[1.2, 0.9], [1.0, 1.5]]]))
    np.testing.assert_allclose(np.exp(portfolio(returns)), [[1.05, 1.25]])
    returns[0, 1, 1] = np.nan
    np.testing.assert_allclose(np.exp(portfolio(returns)), [[1.05, 1.0]])


def test_a_resample_is_the_statistic_of_the_paths_that_it_drew() -> None:
    values = market(8, 60, 1)
    units = units_of(values, 3)
    whole = market_facts(values, units, range(1, 6), 20)
    for row in (1, 2, 3):
        drawn = np.repeat(np.arange(8), units.weights[row].astype(int))
        alone = market_facts(values[drawn], units_of(values[drawn]), range(1, 6), 20)
        for key, draws in whole.facts.items():
            assert draws[row] == pytest.approx(alone.facts[key][0], rel=1e-9, abs=1e-12), key


def test_blocks_keep_the_true_successors() -> None:
    x = np.arange(12.0).reshape(1, 12, 1)
    units = Units.of((1, 12), block=4, resamples=5, seed=0)
    products = units.each(x[:, :-1] * x[:, 1:])[:, 0]  # the pair (3, 4) belongs to the first block, (11, 12) to none
    assert products.tolist() == [0 * 1 + 1 * 2 + 2 * 3 + 3 * 4, 4 * 5 + 5 * 6 + 6 * 7 + 7 * 8, 8 * 9 + 9 * 10 + 10 * 11]
    assert units.weights[0].tolist() == [1, 1, 1]
    assert (units.weights.sum(1) == 3).all()


def test_weighted_quantiles_are_those_of_repeated_values() -> None:
    values, number = np.array([5.0, 1.0, 3.0]), np.array([0, 1, 2])
    units = Units(np.zeros((1, 1), dtype=np.intp), np.array([[1.0, 1, 1], [0, 3, 1], [0, 0, 0]]), "")
    found = weighted_quantiles(values, number, units, (0.5, 0.75, 1.0))
    np.testing.assert_array_equal(found, [[3, 5, 5], [1, 1, 3], [np.nan] * 3])


@pytest.mark.parametrize(
    ("shape", "size", "what"),
    [
        ((1, 1000), None, "25 of 25 blocks of 40 steps"),
        ((50, 250), 1000, "4 of 50 paths"),
        ((50, 1000), 250, "1 of 200 pieces of 250 steps"),
        ((50, 260), 250, "1 of 50 paths"),
        ((2, 400), 1000, "25 of 20 blocks of 40 steps"),
    ],
)
def test_samples_are_as_large_as_the_data(shape: tuple[int, int], size: int | None, what: str) -> None:
    units = Units.of(shape, block=40, resamples=3, seed=0, size=size)
    assert units.what == what
    drawn = units.sums(np.ones((*shape, 1)))[1:, 0]
    np.testing.assert_allclose(drawn, size or 1000, rtol=0.05)


def test_an_interval_holds_the_middle_of_the_resamples() -> None:
    assert resolved(np.concatenate([[7.0], np.arange(201.0), [np.nan]])) == pytest.approx((7.0, 5.0, 195.0))


# -- value at risk ----------------------------------------------------------------------------------------------------------


def test_kupiec_by_hand() -> None:
    test = risk.kupiec(6, 250, 0.01)  # 2 [6 ln 2.4 + 244 ln (.976 / .99)]
    assert test.statistic == pytest.approx(3.5553542, abs=1e-6)
    assert test.p_value == pytest.approx(chi2.sf(3.5553542, 1), abs=1e-7)
    assert risk.kupiec(5, 100, 0.05).statistic == pytest.approx(0, abs=1e-12)
    assert risk.kupiec(0, 250, 0.01).statistic == pytest.approx(-2 * 250 * math.log(0.99))  # none at all


def test_christoffersen_by_hand() -> None:
    hits = np.array([0, 0, 1, 1, 0, 0, 0, 1, 0, 0], dtype=bool)  # transitions 00: 4, 01: 2, 10: 2, 11: 1
    chain = 4 * math.log(4 / 6) + 2 * math.log(2 / 6) + 2 * math.log(2 / 3) + math.log(1 / 3)
    independent = 6 * math.log(6 / 9) + 3 * math.log(3 / 9)
    assert risk.christoffersen(hits).statistic == pytest.approx(2 * (chain - independent))
    assert risk.christoffersen(np.zeros(10, dtype=bool)).p_value == 1
    clustered = np.repeat([False, True, False], [100, 10, 100])
    assert risk.christoffersen(clustered).p_value < 1e-6 < 0.5 < risk.christoffersen(np.tile([True] + [False] * 19, 10)).p_value + 0.5


def test_value_at_risk_and_shortfall_of_a_hundred_returns() -> None:
    law = np.arange(-50.0, 50.0)
    assert risk.value_at_risk(law, 0.05) == (46.0, 48.0)  # the fifth smallest, and the mean of -50 ... -46
    assert risk.value_at_risk(law, 0.01) == (50.0, 50.0)


def test_the_shortfall_statistic_is_zero_where_losses_are_as_said_and_below_where_they_are_worse() -> None:
    law = np.repeat([-2.0, 0.0, 1.0], [5, 50, 45])
    level, (var, shortfall) = 0.05, risk.value_at_risk(law, 0.05)
    assert (var, shortfall) == (2.0, 2.0)
    just = np.array([-2.0 - 1e-12] + [0.5] * 19)
    assert risk.acerbi_szekely(just, var, shortfall, level, law).statistic == pytest.approx(0)
    worse = risk.acerbi_szekely(np.array([-6.0, -6.0] + [0.5] * 18), var, shortfall, level, ndtri(grid(1000)))
    assert worse.statistic == pytest.approx(1 - 12 / (20 * 0.05 * 2))
    assert worse.p_value < 0.01


def test_a_backtest_counts_violations() -> None:
    law = ndtri(grid(10_000))
    found = risk.backtest(np.array([-3.0, -1.7, 0.0, 1.0, np.nan] * 10), law, 0.05)
    assert (found.days, found.violations) == (40, 20)  # -1.7 is below the quantile -1.645
    assert found.joint.statistic == pytest.approx(found.kupiec.statistic + found.independence.statistic)
    assert found.kupiec.p_value < 1e-6


# -- memorisation -----------------------------------------------------------------------------------------------------------


def test_copied_windows_have_distance_zero_and_new_ones_have_not() -> None:
    data = market(1, 400, 3)
    memory = Memory.of(data[0], 10)
    assert memory is not None
    copied, _, _ = memory.ratios(np.stack([data[0, 17:77], data[0, 201:261]]))
    assert (copied == 0).all()
    new, _, _ = memory.ratios(market(2, 60, 4))
    assert (new > 0.5).all()
    own, _ = memory.left_out()
    assert 0.8 < np.median(own) < 1.5
    assert own.min() > 0.5


def test_a_copied_window_has_its_only_copy_as_its_neighbour() -> None:
    rng = np.random.default_rng(0)
    data = rng.standard_normal((100, 2))
    data[70:80] = data[20:30]
    memory = Memory.of(data, 10)
    assert memory is not None
    own, starts = memory.left_out()
    assert own[starts == 20] == own[starts == 70] == 0
    assert Memory.of(data[:15], 10) is None  # all windows overlap


# -- the report -------------------------------------------------------------------------------------------------------------


def test_a_simulator_with_the_law_of_the_data_agrees_and_planted_faults_are_found() -> None:
    data, good = market(1, 1500, 20), market(40, 200, 11)
    rng = np.random.default_rng(0)
    shuffled = rng.permuted(good.reshape(-1, 3), axis=0).reshape(good.shape)  # each asset by itself: neither clusters nor correlation
    in_time = good.reshape(-1, 3)[rng.permutation(40 * 200)].reshape(good.shape)
    gaussian = rng.multivariate_normal(data[0].mean(0), np.cov(data[0].T), size=(40, 200))
    faults = {"shuffled": shuffled, "in_time": in_time, "gaussian": gaussian, "doubled": 2 * good, "reversed": good[:, ::-1]}
    found = report(good, data, methods={name: frame(values) for name, values in faults.items()}, name="good", lags=10, resamples=100)
    table = found.table()
    assert table["good agrees"].dropna().mean() > 0.9
    for method, keys in {
        "shuffled": ("acf_abs", "acf_abs_1", "leverage", "volatility_spread", "correlation", "correlation_distance", "tail_lower"),
        "in_time": ("acf_abs", "acf_abs_1", "leverage", "volatility_spread"),
        "gaussian": ("kurtosis_1", "hill_left", "hill_right", "acf_abs", "correlation_abs", "tail_lower"),
        "doubled": ("volatility", "volatility_distance", "drawdown_50"),
        "reversed": ("leverage",),
    }.items():
        assert not [key for key in keys if found.sheet.agrees(method, key)], method
    for method, keys in {"in_time": ("kurtosis_1", "correlation", "hill_left"), "gaussian": ("correlation", "volatility")}.items():
        assert all(found.sheet.agrees(method, key) for key in keys)
    assert "clustering" in report(in_time, data, name="mixed", resamples=50).verdict()


def test_the_table_holds_the_statistics_themselves() -> None:
    data, made = market(1, 300, 0), market(10, 100, 1)
    found = report(made, data, lags=5, resamples=50)
    table, metrics = found.table(), found.to_metrics()
    assert table.loc["volatility", "observed"] == pytest.approx(np.median(data.std((0, 1))))
    assert table.loc["volatility", "ours pooled"] == pytest.approx(np.median(made.std((0, 1))))
    assert table.loc["volatility", "ours"] == metrics["ours/volatility"]
    correlations, seen = (np.corrcoef(values.reshape(-1, 3).T)[np.triu_indices(3, 1)] for values in (made, data))
    assert table.loc["correlation", "ours pooled"] == pytest.approx(correlations.mean())
    assert table.loc["correlation_distance", "ours"] == pytest.approx(np.sqrt(((correlations - seen) ** 2).mean()))
    assert table.loc["acf_abs", "observed"] == pytest.approx(
        np.mean([np.corrcoef(np.abs(data[0, :-k, a]), np.abs(data[0, k:, a]))[0, 1] for k in range(1, 6) for a in range(3)])
    )
    inside = (table["ours low"] <= table["observed"]) & (table["observed"] <= table["ours high"])
    distances = table["observed"].isna()
    assert distances.sum() == 2
    assert (inside == table["ours agrees"])[~distances].all()
    assert metrics["ours/agreeing"] == table["ours agrees"].dropna().astype(bool).mean()


def test_prices_their_logarithms_and_returns_give_one_report() -> None:
    data, made = market(1, 200, 0), market(9, 60, 1)
    logs = [np.concatenate([np.zeros((len(v), 1, 3)), np.cumsum(v, axis=1)], axis=1) for v in (made, data)]
    by_return = report(made, data, resamples=20).table()
    for kind, (paths, observed) in {"log_price": logs, "price": [np.exp(v) for v in logs]}.items():
        again = report(paths, observed, kind=kind, resamples=20).table()
        pd.testing.assert_frame_equal(again, by_return, rtol=1e-6, atol=1e-9)


def test_every_layout_reads_as_the_same_paths() -> None:
    values = market(4, 40, 0)
    wide, stamps = frame(values), pd.bdate_range("2020-01-01", periods=40)
    wide["ds"] = np.tile(stamps, 4)
    long = wide.melt(id_vars=["path", "ds"], var_name="unique_id", value_name="y").sample(frac=1, random_state=0)
    order = pd.Categorical(long["unique_id"], NAMES)
    panel = read_frame(pd.DataFrame(values[0], index=stamps, columns=NAMES), layout="wide", multivariate=True, freq="B")
    sampled = SamplePaths.from_array(values[None], panel, begin=[0])
    for one in (wide, long.assign(unique_id=order).sort_values("unique_id", kind="stable"), sampled):
        found = read_paths(one)
        np.testing.assert_array_equal(found.values, values)
        assert found.columns == tuple(NAMES)
    single = read_paths(wide[wide["path"] == 2].drop(columns="path").set_index("ds"))
    np.testing.assert_array_equal(single.values, values[2:3])
    ragged = read_paths(long[~((long["unique_id"] == "bb") & (long["ds"] < stamps[5]))])
    assert np.isnan(ragged.values).sum() == 5 * 4


def test_backtests_see_the_held_out_days() -> None:
    data, made = market(1, 300, 0), market(20, 100, 1)
    later = market(1, 250, 2)
    later[0, :30] = -0.2
    found = report(made, data, held_out=frame(later).drop(columns="path"), resamples=20)
    for test in found.backtests["ours"]:
        assert test.days == 250
        assert test.violations == int((portfolio(later) < -test.value_at_risk).sum()) >= 30
    assert found.rejected["ours"] == (1.0, 1.0)
    assert "is rejected" in found.verdict()
    assert found.risk_table().set_index("level").loc[0.01, "violations"] == found.to_metrics()["ours/var_1/violations"]


def test_an_absurd_simulator_gets_its_report() -> None:
    data = market(1, 200, 0)
    found = report(np.sinh(1e4 * market(10, 60, 1).clip(-0.06, 0.06)), data, resamples=20)
    assert found.sheet.agrees("ours", "volatility") is False
    assert found.table().loc["volatility", "ours pooled"] > 40
    found.figure().canvas.draw()


def test_one_asset_and_short_paths_have_the_facts_that_they_can_have() -> None:
    data, made = market(1, 200, 0)[..., :1], market(9, 35, 1)[..., :1]
    table = report(made, data, resamples=20).table()
    assert "correlation" not in table.index
    assert {"kurtosis_1", "acf_abs", "drawdown_50", "nearest"} <= set(table.index)


def test_the_page_shows_verdict_tables_and_picture_and_loads_nothing(tmp_path: Path) -> None:
    found = market_report(frame(market(10, 80, 1)), frame(market(1, 250, 0)).drop(columns="path"), kind="return", resamples=20)
    assert list(found.sheet.methods) == ["ours", "garch_t", "block_bootstrap"]
    text = write_page(tmp_path / "page.html", title="Market", sections=[found.section("Market")]).read_text()
    page = Page(text)
    shown = " ".join(page.text)
    assert found.verdict() in shown
    assert "GARCH-t" in shown
    assert all(fact.definition in shown for fact in found.sheet.facts)
    assert references(text) == []
    assert found.sheet.markdown().count("\n") == len(found.sheet.facts) + 1


# -- references -------------------------------------------------------------------------------------------------------------


def test_a_block_bootstrap_has_whole_rows_in_blocks_of_the_mean_length() -> None:
    data = pd.DataFrame({"a": np.arange(500.0), "b": np.arange(500.0) + 0.5})
    made = block_bootstrap(data, 200, 100, block=10, seed=1)
    assert (made["b"] - made["a"] == 0.5).all()  # assets keep their common days
    steps = np.diff(made["a"].to_numpy().reshape(200, 100), axis=1)
    assert (np.isin(steps, [1.0, -499.0])).mean() == pytest.approx(0.9, abs=0.01)
    assert np.unique(made["a"]).size == 500


def test_garch_t_has_the_volatility_the_tails_and_the_clusters_that_it_was_fitted_to() -> None:
    rng, omega, alpha, beta = np.random.default_rng(0), 1e-5, 0.1, 0.8
    variance, returns = omega / (1 - alpha - beta), np.empty(6000)
    for t in range(len(returns)):
        returns[t] = np.sqrt(variance) * rng.standard_t(6) * np.sqrt(4 / 6)
        variance = omega + alpha * returns[t] ** 2 + beta * variance
    data = pd.DataFrame({"a": returns, "b": 0.6 * returns + 0.8 * rng.permutation(returns)})
    made = garch_t(data, 200, 250, seed=1)
    assert made["a"].std() == pytest.approx(0.01, rel=0.1)
    assert made[["a", "b"]].corr().iloc[0, 1] == pytest.approx(0.6, abs=0.08)
    x = np.abs(made["a"].to_numpy().reshape(200, 250, 1))
    real = np.abs(returns.reshape(1, -1, 1))
    assert moments.lagged_correlation(units_of(x), x, x, 1)[0, 0] == pytest.approx(
        moments.lagged_correlation(units_of(real), real, real, 1)[0, 0], abs=0.04
    )


# -- errors -----------------------------------------------------------------------------------------------------------------


def test_errors_name_the_place_and_the_remedy() -> None:
    data, made = market(1, 200, 0), market(9, 60, 1)
    wide = frame(data).drop(columns="path")
    with pytest.raises(UserError, match="no column 'bb', which was observed"):
        market_report(frame(made).drop(columns="bb"), wide, kind="return", methods={})
    with pytest.raises(UserError, match=r"prices? .* \(path 0, step \d+, '..'; \d+ such values\) has no logarithm; is kind= right"):
        market_report(frame(made), wide, kind="price", methods={})
    with pytest.raises(UserError, match=r"unknown reference 'garch'.*did you mean"):
        market_report(frame(made), wide, kind="return", methods=["garch"])
    with pytest.raises(UserError, match="two methods are called 'ours'"):
        market_report(frame(made), wide, kind="return", methods={"ours": frame(made)})
    with pytest.raises(UserError, match="paths or data of 10 returns"):
        market_report(frame(made[:, :10]), wide, kind="return", methods={})
    with pytest.raises(UserError, match="hold 9 paths; one is needed"):
        market_report(frame(made), frame(made), kind="return", methods={})
    with pytest.raises(UserError, match="column 'aa': a value is infinite"):
        market_report(frame(np.where(made > 0.02, np.inf, made)), wide, kind="return", methods={})
    stamped = frame(made).assign(ds=1)
    with pytest.raises(UserError, match="have a time twice in one path"):
        market_report(stamped, wide, kind="return", methods={})
    with pytest.raises(UserError, match="the paths are empty"):
        market_report(wide.iloc[:0], wide, kind="return", methods={})
