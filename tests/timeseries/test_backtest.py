"""Backtests: exact windows, figures by hand, nothing learned from the windows, honest sentences, failures named."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from scidiff.errors import UserError
from scidiff.tracking import OFF, Tracker
from scidiff.train.weights import load_weights
from scidiff_timeseries import baselines
from scidiff_timeseries.backtest import COLUMNS, Backtest, backtest, section
from scidiff_timeseries.backtest.methods import ours, simple
from scidiff_timeseries.backtest.windows import read_windows
from scidiff_timeseries.baselines.base import Baseline
from scidiff_timeseries.forecaster import Forecaster
from scidiff_timeseries.literature import Benchmark
from scidiff_timeseries.metrics import Terms, evaluate, evaluate_terms, ratio_interval, window_terms
from scidiff_timeseries.recipe import Recipe, WindowConfig

Array = np.ndarray[Any, np.dtype[np.float64]]
LENGTHS = {"b": 110, "a": 96, "c": 90}
HORIZON, ROLLS = 7, 3
TINY = {"width": 8, "blocks": 1, "heads": 1}
FAST = ("ours", "naive", "seasonal_naive", "random_walk_ewma")


def long(values: dict[str, Array], start: str = "2024-01-01") -> pd.DataFrame:
    each = [pd.DataFrame({"unique_id": k, "ds": pd.date_range(start, periods=len(y), freq="D"), "y": y}) for k, y in values.items()]
    return pd.concat(each, ignore_index=True)


def walks() -> dict[str, Array]:
    rng = np.random.Generator(np.random.Philox(0))
    return {name: 20.0 + np.cumsum(rng.normal(size=n)) for name, n in LENGTHS.items()}


def small(**training: Any) -> Recipe:
    base = Recipe(windows=WindowConfig(horizon=HORIZON, context=30, rolls=2, selection_rolls=3))
    quick = {"steps": 3, "batch_size": 8, "validate_every": 10**6, "save_every": 10**6, **training}
    small = base.backbone.model_copy(update=TINY)
    return base.model_copy(update={"train": base.train.model_copy(update=quick), "backbone": small})


def run(df: pd.DataFrame, **options: Any) -> Backtest:
    given = {"methods": FAST, "steps": 0, "n_paths": 20, "recipe": small(), **options}
    return backtest(df, HORIZON, ROLLS, **given)


@pytest.fixture(scope="module")
def result() -> Backtest:
    return run(long(walks()))


def ignoring_time(table: pd.DataFrame) -> pd.DataFrame:
    return table.drop(columns=["fit_seconds", "forecast_seconds"])


# windows


@pytest.mark.parametrize("multivariate", [False, True])
def test_windows_are_those_of_the_literature(multivariate: bool) -> None:
    values = walks()
    df = long(values).assign(**({"z": np.arange(sum(LENGTHS.values())) ** 0.5} if multivariate else {}))
    windows = read_windows(df, HORIZON, ROLLS, {"freq": "D"})
    names = sorted(values)
    each = tuple(df.loc[df["unique_id"] == name, [c for c in ("y", "z") if c in df]].to_numpy().squeeze() for name in names)
    exact = Benchmark("b", tuple(names), each, None, "D", HORIZON, ROLLS, (7,), aligned=False)
    for roll, window in enumerate(exact.windows()):
        mine = windows.window(roll)
        assert [history.tolist() for history in mine.histories] == [history.tolist() for history in window.histories]
        assert mine.truth.tolist() == window.truth.tolist()
        assert [len(one) for one in windows.before(roll)] == [len(history) for history in window.histories]
    assert [series.tolist() for series in exact.train()] == [history.tolist() for history in windows.window(0).histories]
    assert windows.origins(ROLLS - 1)[0] == (pd.Timestamp("2024-03-30"), pd.Timestamp("2024-04-05"))  # 96 days end on 5 April


def test_the_past_of_a_panel_without_covariates_holds_no_later_row(result: Backtest) -> None:
    before = result.windows.before(0)
    assert len(before.to_frame()) == sum(LENGTHS.values()) - ROLLS * HORIZON * len(LENGTHS)


# figures


def test_figures_by_hand() -> None:
    """Windows (6, 8) after 4 and (7, 3) after 8: the last value errs by 2, 4 and 1, 5."""
    df = long({"a": np.array([1.0, 2, 4, 6, 8, 7, 3])})
    found = backtest(df, 2, 2, methods=("seasonal_naive",), n_paths=3, seasons=(1,), freq="D")
    row = found.table.loc["seasonal_naive"]
    assert row["crps"] == pytest.approx(12 / 24)
    assert row["mae"] == pytest.approx(12 / 4)
    assert row["mase"] == pytest.approx((3 / 1.5 + 3 / 1.75) / 2)
    assert row["energy"] == pytest.approx((math.hypot(2, 4) + math.hypot(1, 5)) / (math.hypot(6, 8) + math.hypot(7, 3)))
    assert (row["coverage_50"], row["coverage_90"], row["relative_crps"]) == (0, 0, 1)
    assert math.isnan(row["crps_sum"])
    assert (row["crps_low"], row["crps_high"]) == pytest.approx((12 / 24, 12 / 24))  # the one block of two origins, on a circle, is both


def test_a_constant_series_is_forecast_without_error() -> None:
    df = long({"a": np.full(60, 3.0)})
    found = run(df, methods=("naive", "seasonal_naive"))
    assert found.table["crps"].tolist() == [0, 0]
    assert found.table.loc["naive", "coverage_90"] == 1
    assert found.table["relative_crps"].tolist() == [1, 1]


def test_pooled_crps_weighs_series_by_their_size(result: Backtest) -> None:
    sizes = np.array([np.abs(result.windows.window(r).truth).sum(axis=1) for r in range(ROLLS)]).sum(axis=0)
    for method in FAST:
        pooled = (result.by_series[method] * sizes).sum() / sizes.sum()
        assert result.table.loc[method, "crps"] == pytest.approx(pooled)


def test_relative_crps_is_paired(result: Backtest) -> None:
    table, best = result.table, result.best_simple
    assert best == table.loc[["naive", "seasonal_naive", "random_walk_ewma"], "crps"].idxmin()
    assert table["relative_crps"].tolist() == pytest.approx((table["crps"] / table.loc[best, "crps"]).tolist())
    score = result.scores["ours"]
    value, interval = score.relative(score, 0)
    assert interval is not None
    assert (value, interval.low, interval.high) == (1, 1, 1)


def test_the_energy_score_knows_no_units_of_channels() -> None:
    values = walks()
    df = long({"a": values["a"]}).assign(z=np.cumsum(np.cos(np.arange(96.0))))
    tables = [
        run(df.assign(z=df["z"] * scale), methods=("naive", "random_walk"), targets=["y", "z"]).table["energy"] for scale in (1.0, 1024.0)
    ]
    assert tables[0].tolist() == pytest.approx(tables[1].tolist())


def test_a_system_has_the_crps_of_its_sum() -> None:
    df = long({"a": walks()["a"]}).assign(z=lambda d: 100 - d["y"])  # the sum is 100 throughout
    found = run(df, methods=("seasonal_naive",), seasons=(1,))
    assert found.table.loc["seasonal_naive", "crps"] > 0.01
    assert found.table.loc["seasonal_naive", "crps_sum"] < 1e-15


def test_missing_truth_is_not_scored() -> None:
    df = long({"a": np.array([1.0, 2, 4, 6, math.nan, 7, 3])})
    found = backtest(df, 2, 2, methods=("seasonal_naive",), n_paths=3, seasons=(1,), freq="D")
    assert found.table.loc["seasonal_naive", "mae"] == pytest.approx((2 + 1 + 3) / 3)  # 6 after 4, 7 and 3 after 6
    assert any(note.startswith("1 of 7 values are missing") for note in found.notes)


def test_origins_scored_one_by_one_give_the_figures_of_all_at_once() -> None:
    rng = np.random.Generator(np.random.Philox(0))
    paths, truth, units = rng.normal(size=(6, 2, 15, 4, 3)), rng.normal(size=(6, 2, 4, 3)), rng.uniform(1, 2, size=(2, 3))
    errors = rng.uniform(1, 2, size=(6, 2, 3))
    whole = evaluate(paths, truth, seasonal_errors=errors, units=units)
    parts = [window_terms(paths[[r]], truth[[r]], seasonal_errors=errors[[r]], units=units) for r in range(6)]
    joined = evaluate_terms(Terms.join(parts))
    for key, figure in whole.figures.items():
        if key != "pit_error":  # whose ties are broken origin by origin
            assert joined.figures[key] == figure


def test_block_intervals_cover() -> None:
    """Losses of 240 windows in each of 50 histories, the true mean is 1: independent ones, and ones with correlation 0.6."""
    z = np.random.Generator(np.random.Philox(0)).standard_normal((50, 340))
    dependent = z.copy()
    for t in range(1, 340):
        dependent[:, t] = 0.6 * dependent[:, t - 1] + 0.8 * z[:, t]

    def covered(normal: Array, block: int | None) -> float:
        losses = np.exp(0.5 * normal[:, 100:] - 0.125)
        found = [ratio_interval(one, np.ones(240), block=block) for one in losses]
        return float(np.mean([interval is not None and interval.low <= 1 <= interval.high for interval in found]))

    assert 0.9 <= covered(z, None) <= 0.98
    assert covered(dependent, 1) < 0.65  # as if they were independent
    assert covered(dependent, None) > 0.8


# what does not matter


def test_the_order_of_the_series_changes_nothing(result: Backtest) -> None:
    values = walks()
    for order in (["c", "b", "a"], ["a", "c", "b"]):
        again = run(long({name: values[name] for name in order}))
        pd.testing.assert_frame_equal(ignoring_time(again.table), ignoring_time(result.table))
        pd.testing.assert_frame_equal(again.by_series, result.by_series)
    shuffled = long(values).sample(frac=1.0, random_state=1)
    again = run(shuffled, repair=True)
    pd.testing.assert_frame_equal(ignoring_time(again.table), ignoring_time(result.table))


@pytest.mark.parametrize("named", [False, True])
def test_the_order_of_a_wide_frames_columns_changes_nothing(named: bool) -> None:
    stamps = pd.date_range("2024-01-01", periods=90, freq="D")
    wide = pd.DataFrame({name: y[:90] for name, y in walks().items()} | {"ds": stamps})
    tables = [
        ignoring_time(run(wide[["ds", *order]], layout="wide", **({"targets": order} if named else {})).table)
        for order in (["a", "b", "c"], ["c", "a", "b"])
    ]
    pd.testing.assert_frame_equal(*tables)


# nothing is learned from the windows


def test_altering_the_test_windows_changes_no_fitted_byte(tmp_path: Path) -> None:
    df = long(walks())
    altered = df.copy()
    last = altered.groupby("unique_id")["ds"].transform("max") - altered["ds"] < pd.Timedelta(days=ROLLS * HORIZON)
    altered.loc[last, "y"] = np.geomspace(1e-6, 1e6, int(last.sum()))
    files: list[tuple[dict[str, bytes], dict[str, Any]]] = []
    for number, frame in enumerate((df, altered)):
        found = run(frame, methods=("ours",), steps=None)
        assert found.forecaster is not None
        found.forecaster.save(tmp_path / f"{number}.safetensors")
        tensors, metadata = load_weights(tmp_path / f"{number}.safetensors")
        metadata.pop("seconds")
        files.append(({name: tensor.numpy().tobytes() for name, tensor in tensors.items()}, metadata))
    assert files[0] == files[1]
    assert files[0][1]["step"] == 3
    assert len(files[0][0]) > 10


@pytest.mark.parametrize("roll", range(ROLLS))
def test_what_comes_after_an_origin_changes_no_forecast_from_it(result: Backtest, roll: int) -> None:
    df = long(walks())
    later = df.groupby("unique_id")["ds"].transform("max") - df["ds"] < pd.Timedelta(days=(ROLLS - roll) * HORIZON)
    altered = df.assign(y=df["y"].where(~later, 10.0**6))
    assert result.forecaster is not None
    for name in ("ours", "naive", "seasonal_bootstrap", "ets"):
        drawn: list[Array] = []
        for frame in (df, altered):
            windows = read_windows(frame, HORIZON, ROLLS, {"freq": "D"})
            contender = ours(windows, result.forecaster, 5, 0, None, None) if name == "ours" else simple(windows, name, (7,), 5, 0)
            drawn.append(contender.forecast(roll, lambda: None))
        assert np.array_equal(*drawn), name


def test_known_future_covariates_stay_known_and_steps_stay_in_place() -> None:
    """Nothing is known of the last three steps before an origin: the forecast still lies on the window's own steps."""
    days = np.arange(100)
    y = np.where(days % 7 == 3, 10.0, 1.0)
    y[[76, 77, 78, 83, 84, 85]] = np.nan
    df = long({"a": y}).assign(x=np.sin(days))
    found = run(df, methods=("ours",), steps=0, future=["x"])
    truth = found.windows.window(0).truth[0]
    assert np.isnan(found.windows.window(0).histories[0][-3:]).all()
    assert found.forecaster is not None
    median = np.median(ours(found.windows, found.forecaster, 50, 0, None, None).forecast(0, lambda: None)[0], axis=0)
    assert np.nanmax(np.abs(median - truth)) < 3


# a forecaster that was fitted before


def test_a_given_forecaster_says_what_it_may_have_seen() -> None:
    df = long(walks())
    cut = df[df["ds"] < "2024-03-01"]  # 60 days; the first window of c begins on day 69
    early, late = (Forecaster(recipe=small(), steps=0).fit(frame) for frame in (cut, df))
    assert "ended before the first window" in run(df, forecaster=early).fitted
    assert "reach into the windows of 3 of 3 series ('a', 'b', 'c')" in run(df, forecaster=late).fitted
    new = long({**walks(), "d": walks()["a"]})
    assert "1 series were not in its training: 'd'" in run(new, forecaster=early).fitted


def test_a_given_forecaster_is_scored_as_it_is(result: Backtest) -> None:
    again = run(long(walks()), forecaster=result.forecaster)
    pd.testing.assert_frame_equal(ignoring_time(again.table), ignoring_time(result.table))
    with pytest.raises(UserError, match="the forecaster reads frames with time='ds', but time='day' was given"):
        run(long(walks()).rename(columns={"ds": "day"}), forecaster=result.forecaster, time="day")


# sentences


def test_ours_says_when_it_loses() -> None:
    rng = np.random.Generator(np.random.Philox(3))
    y = np.tile([1.0, 5.0, 2.0, 9.0, 3.0, 8.0, 4.0], 20)
    perfect = run(long({"a": y}), methods=("ours", "seasonal_naive")).verdict
    assert perfect[0].startswith("Ours loses to 1 of 1 baselines: its CRPS is above that of seasonal naive (7), which made no error")
    noisy = run(long({"a": 50 * y + rng.normal(size=140)}), methods=("ours", "naive")).verdict
    assert noisy[0].startswith("Ours beats every baseline: its CRPS is 9")
    assert "lower than that of naive (paired 95 % interval" in noisy[0]


def test_the_verdict_names_every_baseline_that_is_better(result: Backtest) -> None:
    others = result.table.drop(index="ours")
    better = others[others["crps"] < result.table.loc["ours", "crps"]]["title"]
    text = " ".join(result.verdict)
    assert ("loses to" in text) == bool(len(better))
    assert all(title in text for title in better)


def test_intervals_that_are_too_narrow_are_called_so(result: Backtest) -> None:
    score = result.scores["ours"]
    figures = score.evaluation.figures
    narrow = replace(figures["coverage_90"], value=0.6, interval=None)
    scores = {**result.scores, "ours": replace(score, evaluation=replace(score.evaluation, figures={**figures, "coverage_90": narrow}))}
    assert "Its 90 % intervals hold 60 % of the values: they are too narrow." in replace(result, scores=scores).verdict


def test_a_random_walk_in_another_laws_place_is_said() -> None:
    found = run(long({"a": walks()["a"][:40]}), methods=("naive", "garch_t"))
    assert any(note.startswith("GARCH(1,1)-t: no usable fit in 3 of 3 forecasts") for note in found.notes)


# failures


class Broken(Baseline):
    name = "broken"

    def paths(self, history: Array, horizon: int, n_paths: int, rng: np.random.Generator) -> Array:
        if len(history) > 70:
            raise ZeroDivisionError("seventy")
        return np.full((n_paths, horizon), np.nan)


def test_a_baseline_that_fails_is_named_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(baselines.BASELINES, "broken", lambda seasons: Broken())
    found = run(long(walks()), methods=("naive", "broken"))
    assert found.failures == {"broken": "ZeroDivisionError: seventy"}
    assert found.table.loc["broken", "failure"] == "ZeroDivisionError: seventy"
    assert math.isnan(found.table.loc["broken", "crps"])
    assert "broken failed: ZeroDivisionError: seventy" in str(found)
    with pytest.raises(UserError, match="every method failed: broken: series 'c': paths of window 0 are not finite"):
        run(long({"c": walks()["c"]}), methods=("broken",))


def test_ours_failing_is_said_first(result: Backtest) -> None:
    found = run(long(walks()).assign(z=1.0), forecaster=result.forecaster, methods=("ours", "naive"))
    assert found.verdict == [f"Ours failed: {found.failures['ours']}."]
    assert "channels" in found.failures["ours"]
    assert list(found.scores) == ["naive"]


def test_series_without_a_value_before_the_windows_are_left_out_by_name() -> None:
    values = {**walks(), "short": np.arange(20.0), "empty": np.r_[np.full(90, np.nan), np.arange(20.0)]}
    found = run(long(values), methods=("naive",))
    assert found.windows.names == ["a", "b", "c"]
    assert any("2 series had no value" in note and "'empty', 'short'" in note for note in found.notes)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"methods": ("ours", "naiv")}, "unknown method 'naiv'; did you mean 'naive'"),
        ({"methods": ()}, "no method was named"),
        ({"n_paths": 0}, "n_paths = 0"),
        ({"n_paths": 10**9}, "the limit is"),
        ({"rolls": 0}, "rolls = 0"),
        ({"rolls": 40}, "no series has a value in every channel before 40 windows of 7 steps"),
        ({"time": "day"}, "no time column 'day'"),
    ],
)
def test_what_cannot_be_asked_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        backtest(long(walks()), HORIZON, **{"rolls": ROLLS, "methods": ("naive",), **options})


# what is written


def test_files_hold_the_table_and_no_formula(tmp_path: Path) -> None:
    values = walks()
    found = run(long({"=HYPERLINK(1)": values["a"], "<script>": values["b"]}))
    files = {path.name: path for path in found.save(tmp_path)}
    assert set(files) == {"backtest.csv", "backtest_by_series.csv", "backtest.json", "backtest.png", "backtest.html"}
    content = json.loads(files["backtest.json"].read_text())
    assert [row["crps"] for row in content["table"]] == found.table["crps"].tolist()
    assert content["table"][0]["crps_sum"] is None
    assert content["verdict"] == found.verdict
    assert set(content["definitions"]) == set(COLUMNS)
    read = pd.read_csv(files["backtest.csv"], index_col="method")
    assert read["crps"].tolist() == pytest.approx(found.table["crps"].tolist(), rel=1e-12)
    assert "'=HYPERLINK(1)" in files["backtest_by_series.csv"].read_text()
    page = files["backtest.html"].read_text()
    assert "&lt;script&gt;" in page
    assert found.verdict[0].split(":")[0] in page


def test_the_run_is_logged(result: Backtest, tmp_path: Path) -> None:
    with Tracker.start("backtest", tmp_path / "run", tracking_uri=OFF) as tracker:
        result.log(tracker)
    lines = [json.loads(line) for line in (tmp_path / "run" / "tracking" / "spool.jsonl").read_text().splitlines()]
    metrics = {name: value for line in lines if line["kind"] == "metrics" for name, value in line["values"].items()}
    for method in FAST:
        assert metrics[f"backtest/{method}/crps"] == result.table.loc[method, "crps"]
        assert metrics[f"backtest/{method}/coverage_90"] == result.table.loc[method, "coverage_90"]
    logged = [line["file"] for line in lines if line["kind"] == "artifact"]
    assert {Path(file).name for file in logged} >= {"backtest.csv", "backtest.json", "backtest.png", "backtest.html"}
    params = {name: value for line in lines if line["kind"] == "params" for name, value in line["values"].items()}
    assert params["backtest.rolls"] == str(ROLLS)


def test_the_section_holds_every_method_and_what_ours_was_fitted_on(result: Backtest) -> None:
    made = section(result)
    grid = next(part for part in made.parts if getattr(part, "title", "") == "Methods")
    assert [row[0] for row in grid.rows] == result.table["title"].tolist()
    assert grid.strong == [0]
    assert result.fitted in made.notes
    assert made.facts["first window"] == result.settings["first_window"]


def test_the_picture_shows_the_figures(result: Backtest) -> None:
    axes = result.figure().axes
    bars, covered, pit = axes[-3:]
    assert len(axes) == 6
    order = result.table.sort_values("crps")
    assert [text.get_text() for text in bars.get_yticklabels()] == order["title"].tolist()
    assert [patch.get_width() for patch in bars.patches] == pytest.approx(order["crps"].tolist())
    assert sum(patch.get_height() for patch in pit.patches[:10]) == pytest.approx(1)
    marks = {float(line.get_xdata()[0]) for line in covered.lines if line.get_marker() == "D" and len(line.get_xdata()) == 1}
    assert marks == set(order["coverage_90"])


def test_the_last_windows_paths_are_joint_paths_of_its_steps(result: Backtest) -> None:
    paths = result.paths("naive")
    windows = result.windows
    law = simple(windows, "naive", (7,), 20, 0)
    assert np.array_equal(paths.to_array()[..., 0], law.forecast(ROLLS - 1, lambda: None))
    assert paths.select("b")["ds"].max() == windows.origins(ROLLS - 1)[1][1]
    with pytest.raises(UserError, match="no paths of 'ets'"):
        result.paths("ets")
