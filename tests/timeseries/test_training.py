"""``scidiff train`` on series: its recipe, what it leaves behind, that it is what Forecaster.fit makes, and that a break changes no bit."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from support.pages import Page, references
from torch import Tensor
from typer.testing import CliRunner

from scidiff.cli import app
from scidiff.config import load_config
from scidiff.domain import load_domain
from scidiff.errors import UserError
from scidiff.train.loop import NoLog, fit
from scidiff.train.task import Batch
from scidiff.train.weights import load_weights
from scidiff_timeseries import literature
from scidiff_timeseries.charts import spread
from scidiff_timeseries.data import BenchmarkData, Training, read, task_of
from scidiff_timeseries.forecaster import Forecaster
from scidiff_timeseries.literature import Benchmark
from scidiff_timeseries.metrics import wql
from scidiff_timeseries.model import TimeSeriesDenoiser
from scidiff_timeseries.panel import read_frame
from scidiff_timeseries.preview import preview

CONFIGS = Path(__file__).parents[2] / "configs" / "timeseries"
STEPS = 4
RECIPE = f"""
domain: timeseries
name: tiny
data:
  source: csv
  path: data.csv
  time: day
  freq: D
windows: {{horizon: 4, rolls: 2, selection_rolls: 2}}
backbone: {{width: 8, blocks: 1}}
train: {{steps: {STEPS}, batch_size: 4, log_every: 1, save_every: 2, validate_every: 2, preview_every: 4, warmup: 1}}
"""


class Log(NoLog):
    """Keeps what is logged."""

    def __init__(self) -> None:
        self.metrics: dict[str, float] = {}
        self.artifacts: list[Path] = []

    def log_metrics(self, metrics: Any, step: int) -> None:
        self.metrics |= metrics

    def log_artifact(self, path: Path, artifact_path: str = "") -> None:
        self.artifacts.append(path)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder one is in, with a recipe and its data: two series of 70 and 60 days, a fifth missing."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("scidiff_timeseries.calibration._PATHS", 4)  # cut short
    monkeypatch.setattr("scidiff_timeseries.calibration.TEMPERATURES", (1.0, 1.2))
    frame().to_csv("data.csv", index=False)
    Path("tiny.yaml").write_text(RECIPE)
    return tmp_path


def frame() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    parts = [
        pd.DataFrame({"unique_id": name, "day": pd.date_range("2024-01-01", periods=n), "y": 10 + np.cumsum(rng.normal(size=n))})
        for name, n in (("a", 70), ("b", 60))
    ]
    made = pd.concat(parts, ignore_index=True)
    made.loc[rng.random(len(made)) < 0.2, "y"] = np.nan
    return made


def recipe() -> Training:
    return load_config(Training, "tiny.yaml")


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def train(*more: str) -> Any:
    return CliRunner().invoke(app, ["train", "tiny.yaml", "--tracking-uri", "off", "--device", "cpu", *more])


# ---- what it makes ----


def test_train_makes_what_fit_makes_calibrated_and_loadable(folder: Path) -> None:
    done = train()
    assert done.exit_code == 0, done.output
    tensors, about = load_weights(folder / "runs" / "tiny" / "weights.safetensors")
    made = Forecaster.load("runs/tiny")
    panel = read_frame(frame(), time="day", freq="D")
    twin = Forecaster(recipe=recipe(), time="day", freq="D").fit(panel)
    assert same(tensors, dict(twin.denoiser.state_dict()))
    assert about["calibration"] == twin.metadata["calibration"]
    assert about["fit"] == twin.metadata["fit"]  # the strengths of the series are in it
    assert float(made.denoiser.log_temperature) == pytest.approx(np.log(about["calibration"]["temperature"]))
    np.testing.assert_array_equal(made.predict(3, 5, df=frame())["y"], twin.predict(3, 5)["y"])
    spool = (folder / "runs" / "tiny" / "tracking" / "spool.jsonl").read_text()
    for word in ('"final/calibration.crps"', '"sample/crps"', '"sample/coverage_90"', "step-0000004.png"):
        assert word in spool
    assert about["frame"] == {"time": "day", "freq": "D"}
    text = json.dumps(about)
    assert "data.csv" in text
    assert str(folder) not in text
    assert not any(str(value) in text for value in frame()["y"].dropna().head(20))  # a model holds no data


def test_an_interrupted_training_ends_with_the_same_bits(folder: Path) -> None:
    whole, broken = task_of(recipe()), task_of(recipe())
    first = fit(whole, recipe().train, folder / "whole", Log(), device="cpu")
    answered: list[int] = []
    ask = broken.batch

    def batch(examples: Tensor) -> Batch:
        if len(answered) == 3:
            raise KeyboardInterrupt
        answered.append(1)
        return ask(examples)

    broken.batch = batch  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        fit(broken, recipe().train, folder / "broken", Log(), device="cpu")
    log = Log()
    second = fit(task_of(recipe()), recipe().train, folder / "broken", log, device="cpu")
    (a, about_a), (b, about_b) = load_weights(first), load_weights(second)
    assert same(a, b)
    assert about_a | {"seconds": 0} == about_b | {"seconds": 0}
    assert log.metrics["final/calibration.temperature"] == about_b["calibration"]["temperature"]


def test_what_is_held_out_changes_no_bit(folder: Path) -> None:
    Path("tiny.yaml").write_text(RECIPE.replace("freq: D", "freq: D\n  hold_out: 5"))
    altered = frame()
    for name in ("a", "b"):
        altered.loc[altered.index[altered["unique_id"] == name][-5:], "y"] = 1e6
    before = task_of(recipe())
    altered.to_csv("data.csv", index=False)
    after = task_of(recipe())
    assert before.metadata() == after.metadata()
    examples = torch.arange(8)
    assert torch.equal(before.batch(examples).state["values"], after.batch(examples).state["values"])


def test_a_preview_scores_the_forecasts_that_the_model_would_give(folder: Path) -> None:
    Path("tiny.yaml").write_text(RECIPE.replace("rolls: 2, sel", "rolls: 1, sel"))
    known = frame()
    known["y"] = known["y"].fillna(3.0)  # an entry that is missing is asked for by a forecast, and not by a validation
    known.to_csv("data.csv", index=False)
    task = task_of(recipe())
    denoiser = task.denoiser
    assert isinstance(denoiser, TimeSeriesDenoiser)
    denoiser.eval().strength.zero_()
    shown = preview(task, denoiser, folder / "previews", 7)
    made = Forecaster(recipe=task.recipe, steps=0, time="day", freq="D").fit(task.panel)
    paths = np.moveaxis(made.predict(4, 100, df=task.panel.until(4).to_frame()).to_array(), 3, 1)
    truth = np.stack([series.values[-4:].T for series in task.panel])
    assert shown.metrics["crps"] == pytest.approx(wql(paths, truth), rel=1e-9)
    picture, page = shown.files
    assert picture.name == "step-0000007.png"
    with Image.open(picture) as image:
        assert image.size[1] > 2 * 300  # one chart below the other
    assert page.name == "step-0000007.html"
    assert references(page.read_text()) == []
    assert '<img src="data:image/svg+xml;base64,' in page.read_text()
    texts = " ".join(Page(page.read_text()).text)
    assert f"{shown.metrics['crps']:,.4g}" in texts
    assert f"{100 * shown.metrics['coverage_90']:.1f} %" in texts
    preview(task, denoiser, folder / "again", 7)
    assert (folder / "again" / page.name).read_bytes() == page.read_bytes()


# ---- recipes ----


@pytest.mark.parametrize("name", ["exchange", "m4_hourly", "treasury", "stations"])
def test_the_shipped_recipes_are_read(name: str) -> None:
    made = load_config(load_domain("timeseries").recipe(), CONFIGS / f"{name}.yaml")
    assert isinstance(made, Training)
    assert made.name == name
    assert made.train.preview_every <= made.train.steps


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("source: csv", "source: cvs", "line 5: data.source: unknown component 'cvs'; did you mean 'csv'? (known: csv, sample, benchmark)"),
        ("time: day", "tmie: day", "line 7: data.tmie: unknown key, with the value 'day'; did you mean 'time'?"),
        ("data:\n  source: csv\n  path: data.csv\n  time: day\n  freq: D\n", "", "data: required, and missing"),
        ("horizon: 4", "horizon: 0", "windows.horizon: input should be greater than or equal to 1, got 0"),
        ("  source: csv\n  path: data.csv\n  time: day\n  freq: D\n", "  source: sample\n  name: tresury\n",
         "line 6: data.name: no such sample; did you mean 'treasury'? (known: treasury, stations, co2), got 'tresury'"),
        ("freq: D", "freq: X", "frequency 'X' is unknown"),
        ("path: data.csv", "path: dta.csv", "dta.csv: no such file"),
        ("horizon: 4", "horizon: 40", "data.csv: no series is longer than 120 steps, the 2 windows of 40 that validate and one to learn"),
    ],
)  # fmt: skip
def test_a_wrong_recipe_is_told_with_its_line_and_nothing_is_trained(folder: Path, old: str, new: str, message: str) -> None:
    assert old in RECIPE
    Path("tiny.yaml").write_text(RECIPE.replace(old, new))
    done = train()
    assert done.exit_code == 2, done.output
    assert message in done.stderr
    assert not list(folder.glob("runs/**/*.safetensors"))


def test_a_benchmark_is_read_before_its_test_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    series = (np.arange(30.0), np.arange(20.0))
    known = Benchmark("m4_hourly", ("H1", "H2"), series, None, "h", 4, 2, (24,), aligned=False)
    monkeypatch.setattr(literature, "m4_hourly", lambda root: known)
    source = read(BenchmarkData(source="benchmark", name="m4_hourly"))
    panel = source.panel()
    assert [len(one) for one in panel] == [22, 12]
    np.testing.assert_array_equal(panel.series[1].values[:, 0], np.arange(12.0))
    monkeypatch.delenv("SCIDIFF_DATA", raising=False)
    with pytest.raises(UserError, match="SCIDIFF_DATA"):
        read(BenchmarkData(source="benchmark", name="exchange_rate"))


@given(st.lists(st.integers(), unique=True, min_size=1), st.integers(1, 9))
def test_a_spread_keeps_the_order_and_both_ends(items: list[int], most: int) -> None:
    shown = spread(items, most)
    assert len(shown) == min(most, len(items))
    assert [item for item in items if item in shown] == shown
    assert shown[0] == items[0]
    assert most == 1 or shown[-1] == items[-1]


def test_the_domain_lists_what_ships(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, make: Callable[[], Forecaster]) -> None:
    domain = load_domain("timeseries")
    monkeypatch.setattr("scidiff_timeseries.registry.MODELS", tmp_path)
    assert domain.models() == []
    with pytest.raises(UserError, match=r"no model 'treasury': give a shipped name \(none\)"):
        Forecaster.load("treasury")
    make().save(tmp_path / "mine.safetensors")
    (model,) = domain.models()
    assert (model.name, model.path) == ("mine", tmp_path / "mine.safetensors")
    assert model.description == "2 series, 1 channels, daily (D), as given, horizon 4, 0 steps"
    assert Forecaster.load("mine").channels == ("y",)


@pytest.fixture
def make() -> Callable[[], Forecaster]:
    return lambda: Forecaster(4, steps=0, time="day", freq="D").fit(frame())
