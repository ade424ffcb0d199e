"""``scidiff sweep`` with real trainings, really killed: itself, and one of its runs. The same command ends it as if nothing had been."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from support import plane
from support.stores import until
from support.toy import ToyTask
from support.training import Log, bits
from typer.testing import CliRunner

from scidiff.cli import app
from scidiff.sweep import Plan, read_plan
from scidiff.sweep.outcome import is_finished
from scidiff.tracking.spool import folder_of, read_lines
from scidiff.train.loop import fit
from scidiff.train.weights import load_weights

SECONDS = 240
BLOCK = "pause: 0.15\nsweep: {parallel: 2, over: {train.learning_rate: [1e-3, 1e-2]}}\n"


def steps(folder: Path) -> int:
    return sum(line.kind == "metrics" and "train/loss" in line.content["values"] for line in read_lines(folder_of(folder)))


def statuses(folder: Path) -> list[str]:
    return [line.content["status"] for line in read_lines(folder_of(folder)) if line.kind == "status"]


def process_of(number: int, out: str) -> int:
    """The process of a run."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if words[-3:-1] == ["--run", str(number)] and out in words:
            return int(path.parent.name)
    raise AssertionError(f"no process is at run {number}")


def alone(plan: Plan, number: int, folder: Path) -> object:
    """The weights of a run that nothing disturbed."""
    return bits(load_weights(fit(ToyTask(), plan.trial(number).recipe.train, folder, Log(), device="cpu"))[0])  # type: ignore[attr-defined]


def sweep(path: Path, out: str, environment: dict[str, str], *options: str) -> subprocess.Popen[str]:
    command = plane.command("sweep", str(path), "--out", out, "--device", "cpu", "--tracking-uri", "off", *options)
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("runs", [1, pytest.param(2, marks=pytest.mark.long)])
def test_a_sweep_and_one_of_its_runs_killed(recipe: Callable[[str], Path], environment: dict[str, str], tmp_path: Path, runs: int) -> None:
    """Run 0 is killed with its sweep, run 1 goes on by itself: the next sweep continues the one and waits for the other."""
    path, out = recipe(BLOCK if runs == 2 else BLOCK.replace(", 1e-2", "")), tmp_path / "many"
    first = sweep(path, "many", environment)
    folders = [out / f"run-00{k}" for k in range(runs)]
    try:
        until(lambda: all(steps(folder) >= 3 for folder in folders), SECONDS, lambda: str(list(tmp_path.rglob("*.log"))))
        for number in (first.pid, process_of(0, "many")):
            os.kill(number, signal.SIGKILL)
    finally:
        first.kill()
        first.communicate()
    assert not any(is_finished(folder) for folder in folders)
    output, errors = sweep(path, "many", environment).communicate(timeout=SECONDS)
    assert output.splitlines()[-1] == "the comparison: many/comparison/index.html", errors
    expected = [["RUNNING", "FINISHED"], ["FINISHED"]][:runs]
    assert [statuses(folder) for folder in folders] == expected
    plan = read_plan(path)
    for k, folder in enumerate(folders):
        assert bits(load_weights(folder / "weights.safetensors")[0]) == alone(plan, k, tmp_path / f"alone-{k}")
    again = CliRunner().invoke(app, ["sweep", str(path), "--out", "many", "--device", "cpu", "--tracking-uri", "off"])
    assert (again.stdout.splitlines()[-1], again.exit_code) == (output.splitlines()[-1], 0)  # nothing is left to do, and nothing is done
    assert [statuses(folder) for folder in folders] == expected


@pytest.mark.long
def test_a_run_that_fails_is_named(recipe: Callable[[str], Path], environment: dict[str, str], tmp_path: Path) -> None:
    path, out = recipe("sweep: {over: {fail_at: [6]}}\n"), tmp_path / "many"
    process = sweep(path, "many", environment)
    _, errors = process.communicate(timeout=SECONDS)
    assert process.returncode == 1
    assert "1 of 1 runs have not finished; the same command continues them" in errors
    log = "many/run-000/output.log"
    assert f"  run-000 (fail_at=6): exit status 1: RuntimeError: the plane is full ({log})" in errors
    assert (statuses(out / "run-000"), statuses(out)) == (["FAILED"], ["FAILED"])
    (row,) = json.loads((out / "comparison" / "runs.json").read_text())
    assert (row["status"], row["valid/loss"] > 0) == ("failed", True)


@pytest.mark.long
def test_a_sweep_told_to_stop_saves_and_continues(recipe: Callable[[str], Path], environment: dict[str, str], tmp_path: Path) -> None:
    path, out = recipe(BLOCK), tmp_path / "many"
    first = sweep(path, "many", environment)
    until(lambda: all(steps(out / f"run-00{k}") >= 3 for k in (0, 1)), SECONDS)
    first.terminate()
    first.communicate(timeout=SECONDS)
    assert first.returncode == 143
    assert [statuses(out / f"run-00{k}") for k in (0, 1)] == [["KILLED"], ["KILLED"]]
    second = sweep(path, "many", environment, "--parallel", "1")
    second.communicate(timeout=SECONDS)
    assert second.returncode == 0
    plan = read_plan(path)
    for k in (0, 1):
        assert bits(load_weights(out / f"run-00{k}" / "weights.safetensors")[0]) == alone(plan, k, tmp_path / f"alone-{k}")
