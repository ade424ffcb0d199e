"""What is read from the records of trials, how they are ranked, and what the comparison shows."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from support.stores import client
from typer.testing import CliRunner

from scidiff.cli import app
from scidiff.config import to_yaml
from scidiff.errors import UserError
from scidiff.sweep import Plan, read_plan
from scidiff.sweep.compare import compare
from scidiff.sweep.link import link_runs
from scidiff.sweep.outcome import check_folder, is_finished, ranked, read_outcome
from scidiff.sweep.runner import SweepIncomplete, collect
from scidiff.sweep.trial import PARENT, SWEEP
from scidiff.tracking import OFF, Tracker
from scidiff.tracking.spool import folder_of, read_identity, read_lines

NAN = math.nan


def trained(plan: Plan, out: Path, number: int, values: Mapping[int, float], *, status: str = "FINISHED", uri: str = OFF) -> None:
    """The record that a training leaves."""
    trial = plan.trial(number)
    folder = out / trial.name
    tracker = Tracker.start(trial.name, folder, tracking_uri=uri)
    (folder / "recipe.yaml").write_text(to_yaml(trial.recipe))
    for step, value in values.items():
        tracker.log_metrics({"valid/loss": value, "train/seconds": 2.0 * step}, step)
    if status == "FINISHED":
        (folder / "weights.safetensors").write_bytes(b"weights")
    tracker.finish(status)


@pytest.fixture
def plan(recipe: Any) -> Plan:
    return read_plan(recipe("sweep: {over: {train.learning_rate: [1e-3, 1e-2, 1e-1], pause: [0, fast]}}".replace("fast", "0.5")))


def test_a_record_tells_what_became_of_a_trial(plan: Plan, tmp_path: Path) -> None:
    trained(plan, tmp_path, 0, {4: 3.0, 8: 2.0, 12: 2.5})
    trained(plan, tmp_path, 1, {4: 3.0}, status="FAILED")
    trained(plan, tmp_path, 2, {4: 3.0, 8: NAN}, status="KILLED")
    trained(plan, tmp_path, 2, {4: 3.0, 8: 1.0}, status="KILLED")  # continued: step 8 was measured again
    outcomes = [read_outcome(trial, tmp_path / trial.name, "valid/loss") for trial in plan.trials]
    assert [one.status for one in outcomes] == ["finished", "failed", "interrupted", "waiting", "waiting", "waiting"]
    assert [one.points for one in outcomes[:3]] == [((4, 3.0), (8, 2.0), (12, 2.5)), ((4, 3.0),), ((4, 3.0), (8, 1.0))]
    assert outcomes[0].seconds == 24.0
    assert [is_finished(tmp_path / trial.name) for trial in plan.trials] == [True, *[False] * 5]
    (tmp_path / "run-000" / "weights.safetensors").unlink()
    assert read_outcome(plan.trial(0), tmp_path / "run-000", "valid/loss").status == "interrupted"
    with Tracker.start("x", tmp_path / "run-003", tracking_uri=OFF):
        code = "from scidiff.sweep.outcome import *; from scidiff.sweep import read_plan; from pathlib import Path; import sys\n"
        code += f"print(read_outcome(None, Path({str(tmp_path / 'run-003')!r}), 'valid/loss').status)"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ})
        assert done.stdout == "running\n"


def values_of(plan: Plan, tmp_path: Path, **config: Any) -> list[tuple[int, float | None]]:
    changed = plan.config.model_copy(update=config)
    outcomes = [read_outcome(trial, tmp_path / trial.name, "valid/loss") for trial in plan.trials]
    return [(one.trial.number, one.value(changed)) for one in ranked(outcomes, changed)]


def test_ranking(plan: Plan, tmp_path: Path) -> None:
    for number, values in enumerate([{1: 3.0, 2: 5.0}, {1: 4.0, 2: 4.0}, {1: 1.0, 2: NAN}, {1: 9.0, 2: 2.0}]):
        trained(plan, tmp_path, number, values)
    none = [(4, None), (5, None)]
    assert values_of(plan, tmp_path) == [(3, 2.0), (1, 4.0), (0, 5.0), (2, None), *none]
    assert values_of(plan, tmp_path, use="best") == [(2, 1.0), (3, 2.0), (0, 3.0), (1, 4.0), *none]
    assert values_of(plan, tmp_path, goal="maximise") == [(0, 5.0), (1, 4.0), (3, 2.0), (2, None), *none]
    assert values_of(plan, tmp_path, goal="maximise", use="best") == [(3, 9.0), (0, 5.0), (1, 4.0), (2, 1.0), *none]


def test_a_folder_of_other_trials_is_refused(plan: Plan, recipe: Any, tmp_path: Path) -> None:
    trained(plan, tmp_path, 0, {1: 1.0})
    check_folder(plan, tmp_path)
    other = read_plan(recipe("sweep: {over: {train.learning_rate: [1e-3], pause: [0]}}"), ["train.steps=9"])
    with pytest.raises(UserError, match=r"run-000: holds a training of another recipe \(train.steps: 12, now 9\): choose another folder"):
        check_folder(other, tmp_path)
    (tmp_path / "recipe.yaml").write_text("")
    with pytest.raises(UserError, match="holds a single training, not a sweep"):
        check_folder(plan, tmp_path)


def test_the_comparison_shows_the_best_first_and_is_logged(plan: Plan, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    for number, last in enumerate([5.0, 4.0, NAN, 2.0, 6.0]):
        trained(plan, out, number, {1: 9.0, 2: last})
    outcomes = [read_outcome(trial, out / trial.name, "valid/loss") for trial in plan.trials]
    with Tracker.start("out", out, tracking_uri=OFF) as tracker:
        page = compare(plan, out, outcomes, tracker)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["run-003", "run-001", "run-000", "run-004", "run-002", "run-005"]
    assert lines[1].split() == ["run-003", "0.01", "0.5", "2", "2", "4", "finished"]
    table = json.loads((page.parent / "runs.json").read_text())
    assert table[0] == {"run": "run-003", "values": {"train.learning_rate": 0.01, "pause": 0.5}, "status": "finished", "valid/loss": 2.0}
    text = page.read_text()
    assert text.count("data:image/png") == 2
    assert text.index("run-003") < text.index("run-001") < text.index("run-002")
    assert {path.name for path in page.parent.iterdir()} == {"index.html", "runs.json", "keys.png", "curves.png"}
    logged = [line.content for line in read_lines(folder_of(out))]
    metrics = {line["step"]: line["values"]["valid/loss"] for line in logged if "valid/loss" in line.get("values", {})}
    assert metrics == {0: 5.0, 1: 4.0, 3: 2.0, 4: 6.0}
    assert any(line.get("values", {}).get("scidiff.sweep.best") == "run-003: train.learning_rate=0.01 pause=0.5" for line in logged)
    assert any(line.get("to") == "comparison" for line in logged)


def test_runs_that_fail_are_named_with_what_they_said(recipe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    ends = "n=int(sys.argv[1]); print('run', n, 'says this'); n == 2 and os.kill(os.getpid(), 9); sys.exit([0, 3][n])"
    monkeypatch.setattr("scidiff.sweep.runner.trial_command", lambda *_: [sys.executable, "-c", f"import os, sys; {ends}"])
    path = recipe("sweep: {parallel: 3, over: {train.seed: [1, 2, 3]}}")
    done = CliRunner().invoke(app, ["sweep", str(path), "--out", "many", "--device", "cpu", "--tracking-uri", "off"])
    assert done.exit_code == 1
    assert done.stderr.split("error: ")[1].splitlines() == [
        "3 of 3 runs have not finished; the same command continues them, and leaves those that are finished alone:",
        "  run-000 (train.seed=1): exit status 0: run 0 says this (many/run-000/output.log)",
        "  run-001 (train.seed=2): exit status 3: run 1 says this (many/run-001/output.log)",
        "  run-002 (train.seed=3): was killed, with what it had saved",
    ]
    assert "run-001: exit status 3 (train.seed=2)" in done.stderr


def test_a_metric_that_nothing_logs_is_told_with_the_nearest(plan: Plan, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    out = tmp_path / "out"
    trained(plan, out, 0, {1: 9.0})
    other = Plan(plan.source, plan.config.model_copy(update={"metric": "valid/los"}), plan.domain, plan.trials, plan.written)
    why = r"5 of 6 runs have not finished.*\n  run-001 \(train.learning_rate=0.001 pause=0.5\): waiting"
    with pytest.raises(SweepIncomplete, match=why):
        collect(other, out, tracking_uri=OFF)
    assert "no run has logged the metric 'valid/los'; did you mean 'valid/loss'?" in caplog.text
    assert "sweep.metric=NAME" in caplog.text


def test_children_find_their_parent_in_mlflow_whenever_it_comes(plan: Plan, tmp_path: Path) -> None:
    """Trials that ran while nothing answered are linked when they are sent; what has the tags already is left alone."""
    uri, out = f"sqlite:///{tmp_path / 'mlruns.db'}", tmp_path / "out"
    for number in range(6):
        trained(plan, out, number, {1: float(number)})
    collect(plan, out, tracking_uri=OFF)
    parent = read_identity(folder_of(out))
    assert parent is not None
    sizes = [(folder_of(out / trial.name) / "spool.jsonl").stat().st_size for trial in plan.trials]
    link_runs(out, OFF)
    assert [(folder_of(out / trial.name) / "spool.jsonl").stat().st_size for trial in plan.trials] == sizes
    done = CliRunner().invoke(app, ["track", "sync", str(out), "--tracking-uri", uri])
    assert done.exit_code == 0, done.stderr
    store = client(uri)
    (experiment,) = [one for one in store.search_experiments() if one.name == "scidiff"]
    runs = store.search_runs([experiment.experiment_id])
    (root,) = [run for run in runs if PARENT not in run.data.tags]
    children = [run for run in runs if PARENT in run.data.tags]
    assert root.data.tags["scidiff.local_id"] == parent.local_id
    assert {run.data.tags[PARENT] for run in children} == {root.info.run_id}
    assert {run.data.tags[SWEEP] for run in children} == {parent.local_id}
    assert sorted(run.data.tags[f"{SWEEP}.run"] for run in children) == list("012345")
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert [path.path for path in store.list_artifacts(root.info.run_id) if path.is_dir] == ["comparison"]
