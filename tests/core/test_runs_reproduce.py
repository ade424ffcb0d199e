"""Runs made again from what MLflow holds of them alone, and planted differences that must be found."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from support.stores import client
from typer.testing import CliRunner

from scidiff.cli import app
from scidiff.runs import read_run
from scidiff.train.weights import load_weights, weights_sha256

DOTS = '''
from __future__ import annotations
import hashlib
from pathlib import Path
import torch
import typer
from pydantic import Field
from scidiff.config import Config
from scidiff.errors import UserError
from scidiff.tracking import DataInfo
from scidiff.train.config import TrainConfig
from support.toy import ToyTask

class Data(Config):
    path: Path

class Recipe(Config):
    domain: str = "dots"
    data: Data
    train: TrainConfig = TrainConfig()

class Task(ToyTask):
    def __init__(self, recipe):
        super().__init__()
        if not recipe.data.path.is_file():
            raise UserError(f"{recipe.data.path}: no such file")
        self.content = recipe.data.path.read_bytes()
        self.points = self.points * len(self.content)

    def data(self):
        return DataInfo("dots", hashlib.sha256(self.content).hexdigest(), "a file", 40)

class Dots:
    name = "dots"
    description = "Points in the plane."

    def commands(self):
        return typer.Typer()

    def recipe(self):
        return Recipe

    def task(self, recipe):
        return Task(recipe)

    def demo(self, folder, tracker):
        return []

    def models(self):
        return []

DOMAIN = Dots()
'''
TRAIN = {
    "seed": 3, "steps": 10, "batch_size": 4, "learning_rate": 1e-2, "warmup": 2, "self_conditioning": 0.0,
    "log_every": 1, "save_every": 3, "validate_every": 5, "preview_every": 1000,
}  # fmt: skip
MOLECULES: dict[str, Any] = {
    "domain": "molecules", "name": "tiny", "data": {"source": "sample", "limit": 60, "valid": 8},
    "backbone": {"width": 16, "pair_width": 8, "blocks": 1, "heads": 8, "radial": 8, "irreps": "8x1o", "self_conditioning": False},
    "preview": {"molecules": 2, "steps": 2},
    "train": {**TRAIN, "steps": 4, "batch_size": 16, "clip_norm": 10, "preview_every": 4, "validate_every": 4},
}  # fmt: skip
SERIES: dict[str, Any] = {
    "domain": "timeseries", "data": {"source": "csv", "path": "shop.csv"},
    "windows": {"horizon": 3, "context": 20, "rolls": 2, "selection_rolls": 5},
    "train": {"seed": 3, "steps": 4, "batch_size": 4, "warmup": 2, "log_every": 1, "save_every": 3, "validate_every": 2},
}  # fmt: skip


def scidiff(*arguments: object) -> Any:
    return CliRunner().invoke(app, [str(one) for one in arguments], prog_name="scidiff")


@pytest.fixture
def place(tmp_path: Path, uri: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, with a store."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "false")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def dots(place: Path, install: Any) -> Any:
    """Train a toy as a tracked run and delete its folder; its id."""
    install(name="dots", source=DOTS, package="dots-domain", extra="dots")
    (place / "points.txt").write_text("12")

    def train(*overrides: str, **changes: Any) -> str:
        return run_id({"domain": "dots", "data": {"path": "points.txt"}, "train": {**TRAIN, **changes}}, *overrides)

    return train


def run_id(recipe: dict[str, Any], *arguments: str, keep: bool = False) -> str:
    """Train, check what the run says of its end, and leave what MLflow holds alone."""
    Path("first.yaml").write_text(yaml.safe_dump(recipe))
    done = scidiff("train", "first.yaml", *arguments, "--device", "cpu")
    assert done.exit_code == 0, done.stderr
    folder = Path("runs/first")
    record = read_run(folder)
    assert record.tags["scidiff.weights.sha256"] == weights_sha256(load_weights(folder / "weights.safetensors")[0])
    assert "first" in (folder / "weights.card.md").read_text()
    assert {"recipe.yaml", "weights.safetensors", "weights.card.md"} <= set(record.artifacts.names())
    if not keep:
        shutil.rmtree(folder)
        Path("first.yaml").unlink()
    return record.run_id


def stored(place: Path, run: str, name: str) -> Path:
    """An artifact where the store keeps it, to be tampered with."""
    return place / "mlartifacts" / run / "artifacts" / name


@pytest.mark.parametrize("domain", ["molecules", "timeseries"])
def test_a_run_is_made_again_to_the_bit_from_its_record_in_mlflow_alone(domain: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if domain == "timeseries":
        monkeypatch.setattr("scidiff_timeseries.calibration._PATHS", 4)
        _shop(place / "shop.csv")
    run = run_id(MOLECULES if domain == "molecules" else SERIES)
    done = scidiff("reproduce", run)
    assert done.exit_code == 0, done.stdout + done.stderr
    again = place / "runs" / f"first-again-{run[:8]}"
    record = read_run(again)
    told = json.loads((again / "reproduction.json").read_text())
    assert (record.status, record.tags["scidiff.reproduces"], told["equal"], told["differences"]) == ("FINISHED", run, True, [])
    assert told["values"] >= 12
    assert f"equal to the bit: weights, {told['values']} values of {told['metrics']} metrics" in done.stdout
    assert told["not_compared"] == ["train/seconds"]
    conditions = {one["name"]: one["state"] for one in told["conditions"]}
    assert conditions.items() >= {"recipe": "same", "versions": "same", "machine": "same", "threads": "same", "data": "same"}.items()
    assert client(read_run(run).source).get_run(record.run_id).data.tags["scidiff.reproduces"] == run
    shown = scidiff("compare", run, again)
    assert "valid/" not in shown.stdout
    assert "final/" not in shown.stdout


@pytest.mark.filterwarnings("ignore:init =")  # some atoms of the sample are in no molecule that the start has seen
def test_what_started_from_a_model_needs_those_very_weights(place: Path) -> None:
    from scidiff.train.weights import save_weights

    run_id(MOLECULES, keep=True)
    start = place / "start.safetensors"
    start.write_bytes((place / "runs/first/weights.safetensors").read_bytes())
    shutil.rmtree(place / "runs/first")
    run = run_id(MOLECULES, "init=start.safetensors", "train.seed=4")
    tensors, metadata = load_weights(start)
    start.rename(place / "moved.safetensors")
    save_weights(start, {name: 2 * tensor for name, tensor in tensors.items()}, metadata)
    refused = scidiff("reproduce", run)
    assert refused.exit_code == 2
    assert "the weights to start from are not those of the run first" in refused.stderr
    assert "nothing was trained" in refused.stderr
    done = scidiff("reproduce", run, "init=moved.safetensors")
    assert done.exit_code == 0, done.stdout + done.stderr
    assert "  start     same" in done.stdout
    assert "equal to the bit: weights, " in done.stdout


def _shop(path: Path, change: float = 0.0) -> None:
    import numpy as np
    import pandas as pd

    y = 20 + np.random.default_rng(0).normal(size=60).cumsum().round(3)
    y[30] += change
    pd.DataFrame({"ds": pd.date_range("2024-01-01", periods=60), "y": y}).to_csv(path, index=False)


def test_a_fit_is_made_again_and_its_data_are_checked_before_anything_is_trained(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scidiff_timeseries.calibration._PATHS", 4)
    _shop(place / "shop.csv")
    options = ("--horizon", 3, "--steps", 3, "--out", "model.safetensors")
    done = scidiff("timeseries", "fit", "shop.csv", *options)
    assert done.exit_code == 0, done.stderr
    (folder,) = (place / "runs").iterdir()
    run, card = read_run(folder).run_id, (place / "model.card.md").read_text()
    assert "## Measured by its run" in card
    assert "`shop.csv`" in card
    for path in (folder, place / "model.safetensors", place / "model.card.md"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    (place / "shop.csv").rename(place / "elsewhere.csv")
    gone = scidiff("reproduce", run)
    assert gone.exit_code == 2
    assert "shop.csv: no such file" in gone.stderr
    assert "say where: data.path=…" in gone.stderr
    _shop(place / "shop.csv", change=0.001)
    other = scidiff("reproduce", run)
    assert other.exit_code == 2
    assert "the data are not those of the run" in other.stderr
    assert "nothing was trained" in other.stderr
    assert not any((place / "runs").iterdir())
    again = scidiff("reproduce", run, "data.path=elsewhere.csv", "--out", "again")
    assert again.exit_code == 0, again.stdout + again.stderr
    assert "equal to the bit: weights, " in again.stdout


def test_a_fit_of_base_laws_alone_says_why_it_cannot_be_made_again(place: Path) -> None:
    _shop(place / "shop.csv")
    assert scidiff("timeseries", "fit", "shop.csv", "--horizon", 3, "--base-law").exit_code == 0
    (folder,) = (place / "runs").iterdir()
    done = scidiff("reproduce", folder)
    assert done.exit_code == 2
    assert "holds no recipe.yaml: base laws alone were fitted (--base-law)" in done.stderr
    assert "Its command was: " in done.stderr


def test_another_seed_in_a_tampered_recipe_is_named_before_and_after(dots: Any, place: Path) -> None:
    run = dots()
    path = stored(place, run, "recipe.yaml")
    path.write_text(path.read_text().replace("seed: 3", "seed: 4"))
    done = scidiff("reproduce", run)
    assert done.exit_code == 1
    assert "train.seed is 3 among its parameters and 4 in its recipe: the record contradicts itself" in done.stdout
    row = next(line.split() for line in done.stdout.splitlines() if line.startswith(" train/loss "))
    assert row[:5] == ["train/loss", "1", "10", "of", "10"]
    assert "not equal: weights different; " in done.stdout
    told = json.loads((place / "runs" / f"first-again-{run[:8]}" / "reproduction.json").read_text())
    rates = [one for one in told["differences"] if one["name"] == "train/learning_rate"]
    assert (told["equal"], rates) == (False, [])
    assert "train/learning_rate" in scidiff("compare", run, "runs/" + f"first-again-{run[:8]}", "--all").stdout


def test_a_planted_bit_in_one_logged_value_is_found(dots: Any, place: Path, uri: str) -> None:
    import math
    import sqlite3

    run = dots()
    with sqlite3.connect(place / "mlruns.db") as database:
        where = "run_uuid = ? and key = 'train/loss' and step = 7"
        (value,) = database.execute(f"select value from metrics where {where}", (run,)).fetchone()
        database.execute(f"update metrics set value = ? where {where}", (math.nextafter(value, math.inf), run))
    database.close()
    done = scidiff("reproduce", run)
    assert done.exit_code == 1
    row = next(line.split() for line in done.stdout.splitlines() if line.startswith(" train/loss "))
    assert (row[1:5], row[6]) == (["7", "1", "of", "10"], "1")
    assert "not equal: weights equal; 1 of " in done.stdout


def test_data_that_changed_are_refused_unless_forced(dots: Any, place: Path) -> None:
    run = dots()
    (place / "points.txt").write_text("1234")
    refused = scidiff("reproduce", run)
    assert refused.exit_code == 2
    assert "the data are not those of the run first" in refused.stderr
    assert not (place / "runs" / f"first-again-{run[:8]}").exists()
    forced = scidiff("reproduce", run, "--force")
    assert forced.exit_code == 1
    assert "  data      differs" in forced.stdout
    assert "not equal: weights different" in forced.stdout


def test_a_run_that_its_clock_ended_is_repeated_to_the_same_step(dots: Any, place: Path) -> None:
    run = dots(steps=1_000_000, max_seconds=0.5, log_every=3, validate_every=1_000_000, save_every=1_000_000)
    step = int(read_run(run).tags["scidiff.steps"])
    assert step < 1_000_000
    done = scidiff("reproduce", run, "--out", "again")
    assert done.exit_code == 0, done.stdout + done.stderr
    assert read_run("again").tags["scidiff.steps"] == str(step)
    assert f"training again to step {step:,}" in done.stdout
    assert "equal to the bit: weights, " in done.stdout


def test_a_run_that_stopped_early_with_its_best_weights_is_repeated(dots: Any) -> None:
    run = dots(patience=1, steps=400, validate_every=2, weights="best", learning_rate=0.05)
    record = read_run(run)
    assert int(record.tags["scidiff.steps"]) < 400
    done = scidiff("reproduce", run, "--out", "again")
    assert done.exit_code == 0, done.stdout + done.stderr
    assert "equal to the bit: weights, " in done.stdout


def test_a_run_that_was_killed_is_repeated_as_far_as_it_went(dots: Any, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import support.toy

    batch = support.toy.ToyTask.batch
    calls: list[int] = []

    def interrupted(self: Any, examples: Any) -> Any:
        calls.append(1)
        if len(calls) == 9:
            raise KeyboardInterrupt
        return batch(self, examples)

    recipe = {"domain": "dots", "data": {"path": "points.txt"}, "train": TRAIN}
    Path("first.yaml").write_text(yaml.safe_dump(recipe))
    with monkeypatch.context() as patched:
        patched.setattr(support.toy.ToyTask, "batch", interrupted)
        assert scidiff("train", "first.yaml", "--device", "cpu").exit_code == 130
    done = scidiff("reproduce", "runs/first", "--out", "again", "--tracking-uri", "off")
    assert done.exit_code == 0, done.stdout + done.stderr
    assert "KILLED: it is repeated to step 8, the last it logged" in done.stdout
    assert "(the run recorded no final weights)" in done.stdout


def test_the_runs_number_of_threads_is_used_and_put_back(dots: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    run = dots()
    before, used = torch.get_num_threads(), []
    from scidiff.runs import reproduce

    real = reproduce.run_recipe
    monkeypatch.setattr(reproduce, "run_recipe", lambda *some, **named: (used.append(torch.get_num_threads()), real(*some, **named))[1])
    torch.set_num_threads(before + 2)
    try:
        done = scidiff("reproduce", run)
        assert torch.get_num_threads() == before + 2
    finally:
        torch.set_num_threads(before)
    assert (done.exit_code, used) == (0, [before])
    assert f"{before}, set as in the run (this process had {before + 2})" in done.stdout


def test_an_interrupted_repetition_goes_on_and_another_run_is_not_written_into(dots: Any, place: Path) -> None:
    run = dots()
    assert scidiff("reproduce", run, "--out", "again").exit_code == 0
    assert "equal to the bit" in scidiff("reproduce", run, "--out", "again").stdout  # it is all there
    other = dots("train.seed=9")
    refused = scidiff("reproduce", other, "--out", "again")
    assert refused.exit_code == 2
    assert "again: another run is recorded here" in refused.stderr
    wrong = scidiff("reproduce", other, "train.seed=9")
    assert wrong.exit_code == 2
    assert "with other settings it would be another run" in wrong.stderr


def test_what_is_not_the_same_here_is_said_before_the_training(dots: Any, uri: str) -> None:
    run = dots()
    store = client(uri)
    for name, value in {"version.torch": "1.0", "mlflow.source.git.commit": "0" * 40, "machine.processor": "abacus"}.items():
        store.set_tag(run, name, value)
    done = scidiff("reproduce", run)
    assert done.exit_code == 0
    for line in ("  commit    differs 000000000000 then", "  versions  differs torch 1.0 then, ", "  machine   differs "):
        assert line in done.stdout
    assert "processor: abacus then" in done.stdout
