"""``scidiff timeseries``: a file nobody prepared, one model for three questions, and what is refused, where, with which remedy."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner

from scidiff.cli import app
from scidiff_timeseries.cli import options
from scidiff_timeseries.forecaster import MAX_PATHS, MAX_STEPS, Forecaster
from scidiff_timeseries.samples import SAMPLES, load_sample

DAILY = "".join(f"2024-01-{day:02d},1\n" for day in range(1, 32))
Run, Result = Callable[..., Any], Any  # typer has a copy of click of its own
MESSY = ["--sep", ";", "--decimal", ",", "--time", "Zeit", "--id", "Station", "--target", "Verbrauch kWh"]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run ``scidiff timeseries`` in an empty folder; what is drawn to calibrate a fit is cut short."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("scidiff_timeseries.calibration._PATHS", 4)
    monkeypatch.setattr("scidiff_timeseries.calibration.TEMPERATURES", (1.0, 1.2))
    return lambda *arguments: CliRunner().invoke(app, ["timeseries", *map(str, arguments)], prog_name="scidiff")


def messy() -> str:
    """Semicolons, decimal commas, German stamps of local time over the change of the clocks, rows missing, cells empty, a remark."""
    rng, stamps = np.random.default_rng(0), pd.date_range("2024-03-24", "2024-04-04", freq="h", tz="Europe/Paris", inclusive="left")
    frames: list[pd.DataFrame] = []
    for name in ("Gare du Nord", "=SUM(A1)"):
        hour = stamps.hour.to_numpy()
        y = 100 + 30 * np.sin(2 * np.pi * (hour - 8) / 24) + rng.normal(size=len(stamps)) * 3
        wall = stamps.tz_localize(None).strftime("%d.%m.%Y %H:%M")
        frames.append(pd.DataFrame({"Zeit": wall, "Station": name, "Verbrauch kWh": y.round(2), "Kommentar": "ok"}))
        frames[-1] = frames[-1][rng.random(len(stamps)) > 0.03]
        frames[-1].iloc[[30, 31, 32, 80], 2] = np.nan
    text = pd.concat(frames).to_csv(index=False, sep=";", decimal=",")
    assert isinstance(text, str)
    return text


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """The folder of a model fitted to the messy file, and what the command said."""
    folder = tmp_path_factory.mktemp("messy")
    (folder / "messy.csv").write_text(messy())
    arguments = ["fit", folder / "messy.csv", *MESSY, "--time-zone", "Europe/Paris", "--base-law", "--horizon", "24"]
    places = ["--out", folder / "model.safetensors", "--plot", folder / "fan.png", "--runs", folder / "runs", "--tracking-uri", "off"]
    return folder, CliRunner().invoke(app, ["timeseries", *map(str, [*arguments, *places])], prog_name="scidiff")


# ---- a file nobody prepared ----


def test_each_message_leads_to_the_next_option(run: Run, tmp_path: Path) -> None:
    (tmp_path / "messy.csv").write_text(messy())
    for count, message in (
        (0, "name what separates the cells with --sep"),
        (2, "no time column 'ds'; its columns are 'Zeit', 'Station', 'Verbrauch kWh', 'Kommentar'; name it with --time"),
        (6, "column 'Station' is not numeric"),
        (8, "column 'Kommentar' is not numeric (its dtype is "),  # str, or in pandas before 3 object
        (8, "for example 'ok'); mend its cells, drop it, or name the columns"),
        (10, "2024-03-31 02:00:00, is missing, the one that clocks skip in Europe/Paris"),
        (10, "say so with --time-zone Europe/Paris"),
    ):
        done = run("fit", "messy.csv", *MESSY[:count], "--tracking-uri", "off", "--base-law")
        assert done.exit_code == 2
        assert message in done.stderr
        assert done.stderr.startswith("error: messy.csv: ")
    assert [path.name for path in tmp_path.iterdir()] == ["messy.csv"]


def test_a_messy_file_becomes_a_fan_chart_and_a_model_that_knows_how_to_read_it(fitted: tuple[Path, Result]) -> None:
    folder, done = fitted
    assert done.exit_code == 0, done.output
    for text in ("2 series of 263 steps, 1 channel", "hourly (h), inferred", "missing    ", "base law   ", "the base laws alone"):
        assert text in done.stdout
    with Image.open(folder / "fan.png") as image:
        picture = np.asarray(image.convert("RGB")).astype(int)
    assert (np.abs(picture - (0x17, 0x43, 0x6F)).sum(-1) < 30).sum() > 500  # the medians' blue
    (record,) = (folder / "runs").glob("model-*/tracking/spool.jsonl")
    lines = [json.loads(line) for line in record.read_text().splitlines()]
    sent = {line["file"].rpartition("/")[2] for line in lines if line["kind"] == "artifact"}
    assert sent == {"environment.json", "forecast.png", "model.card.md", "model.safetensors"}
    about = Forecaster.load(folder / "model.safetensors").metadata
    assert about["csv"] == {"sep": ";", "decimal": ",", "time_zone": "Europe/Paris"}
    assert about["frame"] == {"time": "Zeit", "id": "Station", "targets": ["Verbrauch kWh"]}
    assert str(folder) not in json.dumps(about)  # no path of the machine's


def test_one_model_forecasts_fills_and_simulates(fitted: tuple[Path, Result], run: Run) -> None:
    folder, _ = fitted
    model = ["--model", folder / "model.safetensors", "-n", 5]
    done = run("forecast", folder / "messy.csv", *model, "--horizon", 30, "--out", "paths.parquet", "--plot", "f.svg")
    assert done.exit_code == 0, done.output
    paths = pd.read_parquet("paths.parquet")
    assert list(paths.columns) == ["Station", "Zeit", "path", "Verbrauch kWh"]
    assert paths["Zeit"].min() == pd.Timestamp("2024-04-04", tz="Europe/Paris")  # an hour after the file's end, read as it was fitted
    assert paths.groupby(["Station", "path"]).size().tolist() == [30] * 10

    assert run("impute", folder / "messy.csv", *model, "--out", "filled.csv").exit_code == 0
    filled = pd.read_csv("filled.csv")
    given = pd.read_csv(folder / "messy.csv", sep=";", decimal=",")
    assert "'=SUM(A1)" in set(filled["Station"])  # what a spreadsheet would run is made harmless
    assert not filled["Verbrauch kWh"].isna().any()
    wall = pd.to_datetime(filled["Zeit"], utc=True).dt.tz_convert("Europe/Paris").dt.tz_localize(None)
    keys = pd.MultiIndex.from_arrays([filled["Station"].str.lstrip("'"), wall.dt.strftime("%d.%m.%Y %H:%M")])
    known = given.dropna().set_index(["Station", "Zeit"])["Verbrauch kWh"]
    spread = filled.groupby([keys.get_level_values(0), keys.get_level_values(1)])["Verbrauch kWh"].agg(["min", "max"])
    there = spread.index.isin(known.index)
    np.testing.assert_array_equal(spread[there]["min"], known.reindex(spread[there].index))
    np.testing.assert_array_equal(spread[there]["max"], spread[there]["min"])
    assert (spread[~there]["max"] > spread[~there]["min"]).all()

    done = run("simulate", *model, "--length", 40, "--start", "2030-01-01", "--id", "Gare du Nord", "--out", "s.csv", "--quantiles")
    assert done.exit_code == 0, done.output
    invented = pd.read_csv("s.csv")
    assert len(invented) == 40
    assert list(invented.columns[:3]) == ["Station", "Zeit", "Verbrauch kWh-q-0.1"]
    assert invented["Zeit"].iloc[0].startswith("2030-01-01")


def test_the_command_gives_what_the_library_gives(run: Run, tmp_path: Path) -> None:
    df = load_sample("co2").tail(150).reset_index(drop=True)
    Forecaster(8, steps=0, **SAMPLES["co2"].frame).fit(df).save("m.safetensors")
    df.to_csv("co2.csv", index=False)
    assert run("forecast", "co2.csv", "--model", "m.safetensors", "-n", 7, "--seed", 3, "--out", "p.parquet").exit_code == 0
    expected = Forecaster.load("m.safetensors").predict(n_paths=7, seed=3, df=df)
    np.testing.assert_array_equal(pd.read_parquet("p.parquet")["y"], expected["y"])
    done = run("forecast", "sample:co2", "--model", "m.safetensors", "-n", 2, "--out", "q.csv")
    assert done.exit_code == 0, done.output
    assert pd.read_csv("q.csv")["ds"].tolist()[:2] == ["2002-01-05", "2002-01-12"]
    assert "no sample 'co3'; did you mean 'co2'?" in run("forecast", "sample:co3", "--model", "m.safetensors").stderr
    assert "--sep are for CSV files" in run("forecast", "sample:co2", "--model", "m.safetensors", "--sep", ";").stderr
    refused = run("forecast", "co2.csv", "--model", "m.safetensors", "--freq", "D").stderr
    assert "--freq D: the model's step is W-SAT; fit another model for that" in refused


def test_the_same_fit_again_continues_its_run_and_another_is_another(run: Run, tmp_path: Path) -> None:
    def fit() -> bytes:
        done = run("fit", "d.csv", "--horizon", 4, "--steps", 1, "--tracking-uri", "off", "--out", "m.safetensors")
        assert done.exit_code == 0, done.output
        return (tmp_path / "m.safetensors").read_bytes()

    rng, days = np.random.default_rng(0), pd.date_range("2024-01-01", periods=80, freq="D")
    df = pd.DataFrame({"ds": days, "y": np.cumsum(rng.normal(size=80))})
    df.to_csv("d.csv", index=False)
    first = fit()
    assert fit() == first
    assert len(list(tmp_path.glob("runs/m-*"))) == 1
    (checkpoint,) = tmp_path.glob("runs/m-*/checkpoints")
    df.assign(y=df["y"] + 1).to_csv("d.csv", index=False)
    assert fit() != first
    assert len(list(tmp_path.glob("runs/m-*"))) == 2
    assert checkpoint.is_dir()


# ---- what is refused ----


@pytest.mark.parametrize(
    ("rows", "message"),
    [  # hostile row 14
        ("2024-01-01,1\n2024-01-02,2\n2024-01-02,3\n", "line 4 (2024-01-02 00:00:00): the same time as line 3"),
        ("2024-01-01,1\n2024-01-03,2\n2024-01-02,3\n", "line 4 (2024-01-02 00:00:00): earlier than the row before it"),
        ("2024-01-01,1\n2024-01-02,2\n2024-01-03 00:07,3\n2024-01-04,1\n2024-01-05,1\n", "line 4 (2024-01-03 00:07:00): 0 days 00:07"),
        (DAILY + "".join(f"2024-{month:02d}-01,1\n" for month in range(3, 13)), "two frequencies"),
        # hostile row 15
        ("2024-01-01,1\n2024-01-02,inf\n2024-01-03,3\n", "line 3 (2024-01-02 00:00:00), column 'y': the value is infinite"),
        ("2024-01-01,\n2024-01-02,\n2024-01-03,\n", "no series has a value; a forecaster needs data to learn from"),
        ("2024-01-01,1\n", "no series has two rows, so no frequency can be inferred; give it, for example --freq D or --freq h"),
        ("", "no"),
    ],
)  # fmt: skip
def test_data_that_cannot_be_trusted_are_named_and_nothing_is_left(run: Run, tmp_path: Path, rows: str, message: str) -> None:
    (tmp_path / "d.csv").write_text("ds,y\n" + rows)
    done = run("fit", "d.csv", "--base-law", "--horizon", 2, "--tracking-uri", "off")
    assert done.exit_code == 2, done.output
    assert message in done.stderr
    assert done.stderr.startswith("error: d.csv: ")
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.glob("*.safetensors"))


def test_repair_mends_only_when_asked_and_says_what(run: Run, tmp_path: Path) -> None:
    days = pd.date_range("2024-01-01", periods=40)
    (tmp_path / "d.csv").write_text("ds,y\n2024-01-01,9\n" + "".join(f"{day:%Y-%m-%d},{day.day}\n" for day in days))
    done = run("fit", "d.csv", "--base-law", "--horizon", 2, "--tracking-uri", "off", "--repair")
    assert done.exit_code == 0, done.output
    assert "rows with a repeated stamp dropped, the last kept: 1" in " ".join(done.stdout.split())


@pytest.mark.parametrize(("value", "length"), [("5", 40), ("7", 2)])
def test_constant_and_tiny_series_have_a_defined_forecast(run: Run, tmp_path: Path, value: str, length: int) -> None:
    days = pd.date_range("2024-01-01", periods=length)
    (tmp_path / "d.csv").write_text("ds,y\n" + "".join(f"{day:%Y-%m-%d},{value}\n" for day in days))
    done = run("fit", "d.csv", "--base-law", "--horizon", 3, "--tracking-uri", "off", "--freq", "D")
    assert done.exit_code == 0, done.output
    assert run("forecast", "d.csv", "--model", "model.safetensors", "-n", 4, "--out", "p.csv").exit_code == 0
    made = pd.read_csv(tmp_path / "p.csv")["y"]
    np.testing.assert_allclose(made, float(value), atol=1e-3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [  # hostile row 16: refused before the file is looked for
        (["forecast", "absent.csv", "--model", "m", "-n", "1000000000"], "'-n' / '--number'.*100000"),
        (["forecast", "absent.csv", "--model", "m", "-n", "-1"], "'-n' / '--number'.*1"),
        (["forecast", "absent.csv", "--model", "m", "--calls", "0"], "'--calls'.*1"),
        (["forecast", "absent.csv", "--model", "m", "--horizon", "1000000000"], "'--horizon'.*20000"),
        (["simulate", "--model", "m", "--length", "0"], "'--length'.*1"),
        (["impute", "absent.csv", "--model", "m", "-n", "0"], "'-n' / '--number'.*1"),
        (["fit", "absent.csv", "--steps", "0"], "'--steps'.*1"),
        (["fit", "absent.csv", "--horizon", "-3"], "'--horizon'.*1"),
        (["backtest", "absent.csv", "--rolls", "0"], "'--rolls'.*1"),
        (["fit", "absent.csv", "--out", "model.pt"], "--out model.pt: the name must end in .safetensors"),
        (["fit", "absent.csv", "--out", "away/m.safetensors"], "--out away/m.safetensors: the folder away does not exist; make it first"),
        (["fit", "absent.csv", "--plot", "fan.exe"], "--plot fan.exe: the name must end in .png or .svg or .pdf"),
        (["forecast", "absent.csv", "--model", "m", "--out", "p.xlsx"], "--out p.xlsx: the name must end in .csv or .parquet"),
        (["forecast", "absent.csv", "--model", "nosuch"], "no model 'nosuch'"),
        (["fit", "absent.csv"], "absent.csv: no such file"),
        (["fit", "data.pkl.gz"], "data.pkl.gz: no such file"),
    ],
)  # fmt: skip
def test_refusals_come_at_once_with_their_limit(run: Run, tmp_path: Path, arguments: list[str], message: str) -> None:
    done = run(*arguments)
    assert done.exit_code == 2
    assert re.search(message, " ".join(done.stderr.replace("│", " ").split()))
    assert list(tmp_path.iterdir()) == []


def test_a_product_over_the_limit_is_refused_and_leaves_nothing(fitted: tuple[Path, Result], run: Run, tmp_path: Path) -> None:
    done = run("forecast", fitted[0] / "messy.csv", "--model", fitted[0] / "model.safetensors", "-n", 100_000, "--horizon", 20_000)
    assert done.exit_code == 2
    assert "4,000,000,000 values; the limit of one answer is 200,000,000: ask for less at a time" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_limits_are_the_librarys() -> None:
    assert (options.PATHS, options.STEPS) == (MAX_PATHS, MAX_STEPS)


def test_a_backtest_is_a_table_a_picture_and_a_page(run: Run, tmp_path: Path) -> None:
    rng, days = np.random.default_rng(0), pd.date_range("2024-01-01", periods=90, freq="D")
    names = np.repeat(["<script>alert(1)</script>", "b"], 90)
    frame: dict[str, Any] = {"unique_id": names, "ds": [*days, *days], "y": 50 + np.cumsum(rng.normal(size=180))}
    pd.DataFrame(frame).to_csv("d.csv", index=False)
    judge = ["backtest", "d.csv", "--horizon", 5, "--rolls", 2, "--base-law", "-n", 20, "--method", "ours", "--method", "naive"]
    done = run(*judge, "--out", "b", "--tracking-uri", "off")
    assert done.exit_code == 0, done.output
    table = pd.read_csv(tmp_path / "b" / "backtest.csv").set_index("method")
    assert list(table.index) == ["ours", "naive"]
    assert "<script>alert(1)" not in (tmp_path / "b" / "backtest.html").read_text()
    assert '"backtest/ours/crps": ' in (tmp_path / "b" / "tracking" / "spool.jsonl").read_text()
    assert "unknown method 'narve'; did you mean 'naive'?" in run(*judge[:-1], "narve").stderr
