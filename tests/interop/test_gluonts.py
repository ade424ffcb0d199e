"""The predictor for GluonTS, judged by GluonTS' own evaluation. Runs where GluonTS is installed: ``make gluonts``."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from scidiff.errors import UserError
from scidiff_timeseries.forecaster import Forecaster
from scidiff_timeseries.metrics import crps_sum, evaluate, wql
from scidiff_timeseries.panel import Panel, read_frame
from scidiff_timeseries.paths import SamplePaths
from scidiff_timeseries.samples import SAMPLES, load_sample

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it would like a faster parser of JSON
    pytest.importorskip("gluonts", reason="GluonTS needs pandas before 3, so an environment of its own: make gluonts")
    from gluonts.dataset.pandas import PandasDataset
    from gluonts.dataset.split import split
    from gluonts.evaluation import Evaluator, MultivariateEvaluator, backtest_metrics, make_evaluation_predictions
    from gluonts.model.predictor import Predictor

    from scidiff_timeseries.gluonts import ForecasterPredictor

pytestmark = pytest.mark.filterwarnings("ignore:Period with BDay freq:FutureWarning", r"ignore:PeriodDtype\[B\]:FutureWarning")
HORIZON = 14


def weather() -> pd.DataFrame:
    """Daily maxima of four stations, of which one begins later and one has missing days, in the test window as well."""
    df = load_sample("stations")[["unique_id", "ds", "tx"]]
    df = df[(df["ds"] >= "2020-06-01") & ((df["unique_id"] != "rennes") | (df["ds"] >= "2021-03-01"))].reset_index(drop=True)
    df.loc[(df["unique_id"] == "dinard") & df["ds"].dt.day.isin([3, 20]), "tx"] = np.nan
    return df


def history(df: pd.DataFrame, steps: int = HORIZON) -> pd.DataFrame:
    return df[df["ds"] <= df["ds"].max() - pd.Timedelta(days=steps)]


def entries(df: pd.DataFrame, value: str = "tx", freq: str = "D") -> list[dict[str, Any]]:
    return [
        {"item_id": name, "start": pd.Period(one["ds"].iloc[0], freq), "target": one[value].to_numpy()}
        for name, one in df.groupby("unique_id")
    ]


@cache
def of_weather() -> Forecaster:
    return Forecaster(horizon=HORIZON, steps=0).fit(history(weather()))


def samples(predictor: ForecasterPredictor, dataset: Sequence[dict[str, Any]], n: int = 5) -> list[np.ndarray]:
    return [forecast.samples for forecast in predictor.predict(dataset, num_samples=n)]


def test_gluonts_evaluation_gives_our_scores() -> None:
    dataset = entries(weather())
    forecasts, truths = map(list, make_evaluation_predictions(dataset, ForecasterPredictor(of_weather()), num_samples=101))
    paths = np.stack([forecast.samples for forecast in forecasts])
    truth = np.stack([entry["target"][-HORIZON:] for entry in dataset])
    assert paths.shape == (4, 101, HORIZON)
    assert np.isnan(truth).sum() == 1
    theirs, _ = Evaluator(num_workers=0)(iter(truths), iter(forecasts))
    assert wql(paths, truth) == pytest.approx(theirs["mean_wQuantileLoss"], rel=1e-12)
    assert evaluate(paths[None], truth[None])["nd"] == pytest.approx(theirs["ND"], rel=1e-12)  # of 101 paths both take the 51st as median


def test_backtest_metrics_of_a_data_set_made_from_the_frame() -> None:
    dataset = PandasDataset.from_long_dataframe(weather(), item_id="unique_id", timestamp="ds", target="tx", freq="D")
    theirs, each = backtest_metrics(dataset, ForecasterPredictor(of_weather()), Evaluator(num_workers=0), num_samples=20)
    assert each["item_id"].tolist() == ["dinard", "la_noe_blanche", "louvigne_du_desert", "rennes"]
    assert 0 < theirs["mean_wQuantileLoss"] < 1


@pytest.mark.filterwarnings("ignore:The provided callable:FutureWarning")  # GluonTS hands numpy's sum to pandas
def test_a_system_of_channels_is_forecast_and_scored_jointly() -> None:
    df = load_sample("treasury")[-300:]
    days = pd.bdate_range(df["ds"].iloc[0], df["ds"].iloc[-1])
    target = df.set_index("ds").reindex(days).to_numpy().T
    forecaster = Forecaster(horizon=10, steps=0, **SAMPLES["treasury"].frame).fit(df[df["ds"] <= days[-11]])
    dataset = [{"start": pd.Period(days[0], "B"), "target": target}]
    forecasts, truths = map(list, make_evaluation_predictions(dataset, ForecasterPredictor(forecaster), num_samples=50))
    paths, truth = forecasts[0].samples[None], target.T[None, -10:]
    assert paths.shape == (1, 50, 10, 8)
    evaluator = MultivariateEvaluator(num_workers=0, target_agg_funcs={"sum": np.sum})
    theirs, _ = evaluator(iter(truths), iter(forecasts))
    assert crps_sum(paths, truth) == pytest.approx(theirs["m_sum_mean_wQuantileLoss"], rel=1e-12)
    for channel in range(8):
        assert wql(paths[..., channel], truth[..., channel]) == pytest.approx(theirs[f"{channel}_mean_wQuantileLoss"], rel=1e-12)


@pytest.mark.parametrize(
    ("freq", "period"),
    [
        ("15min", "15min"), ("2h", "2h"), ("3D", "3D"), ("B", "B"), ("W-SAT", "W-SAT"), ("W-WED", "W-SUN"), ("MS", "M"), ("BME", "M"),
        ("QE-DEC", "Q-DEC"), ("QS-OCT", "Q-DEC"), ("YS-JAN", "Y-DEC"), ("YE-MAR", "Y-MAR"),
    ],
)  # fmt: skip
def test_periods_are_the_stamps_that_lie_in_them(freq: str, period: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stamps = pd.date_range("2015-03-03 06:00" if "h" in freq else "2015-03-03", periods=43, freq=freq)
    df = pd.DataFrame({"ds": stamps, "y": np.random.Generator(np.random.Philox(1)).normal(size=43)})
    forecaster = Forecaster(horizon=3, steps=0, freq=freq).fit(df[:40])
    predict, asked = forecaster.predict, []

    def recorded(*args: Any, **options: Any) -> SamplePaths:
        asked.append((options["df"], predict(*args, **options)))
        return asked[-1][1]

    monkeypatch.setattr(forecaster, "predict", recorded)
    entry = {"start": pd.Period(stamps[0], period), "target": df["y"].to_numpy()[:40]}
    (forecast,) = ForecasterPredictor(forecaster).predict([entry], num_samples=2)
    (panel, paths) = asked[0]
    expected = read_frame(df[:40], freq=freq)
    assert panel.series[0].start == expected.series[0].start
    np.testing.assert_array_equal(panel.series[0].values, expected.series[0].values)
    assert paths["ds"][:3].tolist() == stamps[40:].tolist()
    assert [at.start_time <= stamp <= at.end_time for at, stamp in zip(forecast.index, stamps[40:], strict=True)] == [True] * 3


def test_rolling_windows_of_one_series_have_noise_of_their_own() -> None:
    dataset = entries(weather())[1:2]
    _, template = split(dataset, offset=-3 * HORIZON)
    windows = list(template.generate_instances(HORIZON, windows=3).input)
    forecasts = list(ForecasterPredictor(of_weather()).predict(windows, num_samples=3))
    ends = [window["start"] + len(window["target"]) for window in windows]
    assert [forecast.start_date for forecast in forecasts] == ends
    steps = [np.diff(forecast.samples, axis=1)[:, -1] for forecast in forecasts]
    assert len(np.unique(np.concatenate(steps))) == 9


def test_a_forecast_depends_on_its_entry_and_the_seed_alone() -> None:
    first, second, *_ = dataset = entries(history(weather()))
    predictor = ForecasterPredictor(of_weather())
    whole = samples(predictor, dataset)
    np.testing.assert_array_equal(samples(predictor, [second, first])[0], whole[1])
    np.testing.assert_array_equal(samples(predictor, [second]), whole[1:2])
    other = samples(ForecasterPredictor(of_weather(), seed=1), [first])[0]
    assert np.all(other != whole[0])


def test_an_entry_is_what_the_frame_is() -> None:
    """The law of an entry's forecast is that of the frame's: the same quantiles, from other noise."""
    df = history(weather())
    forecaster = of_weather()
    ours = np.quantile(forecaster.predict(HORIZON, 600, df=df).to_array()[..., 0], [0.25, 0.5, 0.75], axis=1)
    theirs = np.quantile(np.stack(samples(ForecasterPredictor(forecaster), entries(df), 600)), [0.25, 0.5, 0.75], axis=1)
    spread = ours[2] - ours[0]  # of which the difference of two quantiles of 600 normal paths is 5 % on average
    assert np.max(np.abs(ours - theirs) / spread) < 0.3


@pytest.mark.parametrize("target", [[], [np.nan] * 5, [3.0], [np.nan, 3.0, np.nan]])
@pytest.mark.parametrize("name", ["rennes", "elsewhere"])
def test_hostile_histories_are_forecast_from_what_is_known(name: str, target: list[float]) -> None:
    entry = {"item_id": name, "start": pd.Period("2024-12-18", "D"), "target": np.array(target)}
    (forecast,) = ForecasterPredictor(of_weather()).predict([entry], num_samples=3)
    assert forecast.start_date == entry["start"] + len(target)
    assert np.isfinite(forecast.samples).all()


def test_a_lead_time_leaves_out_the_first_steps() -> None:
    dataset = entries(history(weather()))[:1]
    (whole,) = ForecasterPredictor(of_weather(), 5).predict(dataset, num_samples=4)
    (late,) = ForecasterPredictor(of_weather(), 3, lead_time=2).predict(dataset, num_samples=4)
    assert late.start_date == whole.start_date + 2
    np.testing.assert_array_equal(late.samples, whole.samples[:, 2:])


def test_a_predictor_comes_back_from_its_folder(tmp_path: Path) -> None:
    predictor = ForecasterPredictor(of_weather(), 6, 1, num_samples=7, seed=3, calls=2)
    predictor.serialize(tmp_path)
    again = Predictor.deserialize(tmp_path)
    assert isinstance(again, ForecasterPredictor)
    dataset = entries(history(weather()))
    for one, other in zip(predictor.predict(dataset), again.predict(dataset), strict=True):
        assert one.samples.shape == (7, 6)
        np.testing.assert_array_equal(one.samples, other.samples)


@cache
def with_covariates() -> tuple[Forecaster, dict[str, Any]]:
    """A forecaster with a known-future, a past and a static covariate, and the entry of its one series."""
    rng = np.random.Generator(np.random.Philox(4))
    known, past = rng.normal(size=134), rng.normal(size=130)
    df = pd.DataFrame({"unique_id": "a", "ds": pd.date_range("2024-01-01", periods=134, freq="D"), "known": known, "kind": 2.0})
    df["y"] = np.concatenate((np.cumsum(rng.normal(size=130)) + known[:130], np.full(4, np.nan)))
    df["past"] = np.concatenate((past, np.full(4, np.nan)))
    forecaster = Forecaster(horizon=4, steps=0, future=["known"], past=["past"], static=["kind"]).fit(df)
    entry = {
        "item_id": "a", "start": pd.Period("2024-01-01", "D"), "target": df["y"].to_numpy()[:130], "feat_dynamic_real": known[None],
        "past_feat_dynamic_real": past[None], "feat_static_real": np.array([2.0]),
    }  # fmt: skip
    return forecaster, entry


def test_covariates_reach_the_forecaster(monkeypatch: pytest.MonkeyPatch) -> None:
    forecaster, entry = with_covariates()
    predict, asked = forecaster.predict, list[Panel]()
    monkeypatch.setattr(forecaster, "predict", lambda *args, **options: asked.append(options["df"]) or predict(*args, **options))
    longer = np.concatenate((entry["feat_dynamic_real"], np.full((1, 9), 7.0)), axis=1)
    target = np.concatenate((entry["target"][:-2], [np.nan, np.nan]))  # missing at the end: still four steps ahead of the 130
    forecasts = ForecasterPredictor(forecaster).predict([entry, entry | {"feat_dynamic_real": longer, "target": target}], num_samples=3)
    assert [str(forecast.start_date) for forecast in forecasts] == ["2024-05-10"] * 2
    for panel in asked:
        (series,) = panel
        np.testing.assert_array_equal(series.future, entry["feat_dynamic_real"].T)
        np.testing.assert_array_equal(series.past, entry["past_feat_dynamic_real"].T)
        assert series.static.tolist() == [2.0]
        assert series.values.shape == (130, 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"feat_dynamic_real": np.zeros((1, 133))}, r"entry 0 \(a\): feat_dynamic_real has shape \(1, 133\); .* \[1, 134 or more"),
        ({"feat_dynamic_real": np.zeros((2, 134))}, r"1 future covariates and needs \[1, 134"),
        ({"past_feat_dynamic_real": np.zeros((1, 129))}, r"1 past covariates and needs \[1, 130"),
        ({"feat_static_real": np.zeros(3)}, r"feat_static_real has shape \(3,\); .* needs \[1\]"),
        ({"feat_dynamic_real": None}, r"feat_dynamic_real has shape \(0, 0\); the forecaster has 1 future covariates and needs \[1, 134"),
        ({"target": np.zeros((2, 130))}, r"target has shape \(2, 130\); the forecaster needs \[time\]"),
        ({"target": np.full(130, np.inf)}, "infinite value; write NaN"),
        ({"start": pd.Period("2024-01-01", "h")}, "its start 2024-01-01 00:00 has the frequency h, the forecaster D; convert"),
    ],
)
def test_entries_that_do_not_fit_are_named(change: dict[str, Any], message: str) -> None:
    forecaster, entry = with_covariates()
    changed = {key: value for key, value in (entry | change).items() if value is not None}
    with pytest.raises(UserError, match=message):
        list(ForecasterPredictor(forecaster).predict([changed], num_samples=2))


def test_a_forecaster_that_is_not_fitted_is_refused() -> None:
    with pytest.raises(UserError, match="not fitted yet; call fit"):
        ForecasterPredictor(Forecaster(horizon=3))


def test_the_example_of_the_docs_runs(capsys: pytest.CaptureFixture[str]) -> None:
    page = Path(__file__).parents[2] / "docs" / "gluonts.md"
    (block,) = re.findall(r"```py\n(.*?)```", page.read_text(), flags=re.DOTALL)
    exec(compile(block, str(page), "exec"), {})
    assert 0.1 < float(capsys.readouterr().out) < 0.5
