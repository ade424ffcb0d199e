"""A training under submitit's local executor, really preempted: its last weights are those of one that was left alone, bit for bit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from submitit.local.local import LOCAL_REQUEUE_RETURN_CODE
from support import plane
from support.stores import until
from support.toy import ToyTask
from support.training import Log, bits

from scidiff.config import load_config
from scidiff.launch import task
from scidiff.tracking.spool import folder_of, read_lines
from scidiff.train.loop import fit
from scidiff.train.weights import load_weights

SECONDS = 120


def processes(*words: str) -> list[int]:
    """The processes whose command lines hold all of these words."""
    found: list[int] = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if all(word in line for word in words):
            found.append(int(path.parent.name))
    return found


def steps(out: Path) -> int:
    """How many steps a training has logged, over all its starts."""
    return sum(line.kind == "metrics" and "train/loss" in line.content["values"] for line in read_lines(folder_of(out)))


@pytest.fixture
def launched(recipe: Callable[[str], Path], environment: dict[str, str], tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """``scidiff launch slurm --cluster local`` of a training that takes its time, in ``run``."""
    arguments = ["launch", "slurm", str(recipe("")), "pause=0.15", "--cluster", "local", "--time", "10", "--out", "run"]
    command = plane.command(*arguments, "--tracking-uri", "off")
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()
        for left in processes("run") + processes(str(tmp_path / "run")):
            os.kill(left, signal.SIGKILL)


def test_a_preempted_training_is_started_again_and_ends_as_if_nothing_had_been(
    launched: subprocess.Popen[str], recipe: Callable[[str], Path], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    until(lambda: steps(out) >= 3, SECONDS)
    (training,) = [pid for pid in processes("scidiff", "train", str(out)) if pid not in processes("scidiff.launch.task")]
    os.kill(training, signal.SIGTERM)
    output, errors = launched.communicate(timeout=SECONDS)
    assert launched.returncode == 0, errors
    assert output.startswith("weights: run/weights.safetensors")
    statuses = [line.content["status"] for line in read_lines(folder_of(out)) if line.kind == "status"]
    assert statuses == ["KILLED", "RUNNING", "FINISHED"]
    config = load_config(plane.Recipe, recipe("")).train
    alone = fit(ToyTask(), config, tmp_path / "alone", Log(), device="cpu")
    assert bits(load_weights(out / "weights.safetensors")[0]) == bits(load_weights(alone)[0])


CHILD = """
import os, signal, sys, time
env = os.environ
print("rank", env["SLURM_PROCID"], "of", env["SLURM_NTASKS"], env["MASTER_ADDR"], env["SLURM_STEP_ID"], flush=True)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
print("ready", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2, signal.SIGINT])
def test_the_stand_in_for_srun_passes_on_what_it_is_told(tmp_path: Path, number: signal.Signals) -> None:
    """submitit's preemption, end of the time limit, and cancelling: the command gets SIGTERM, and submitit what it takes for a requeue."""
    variables = {"SUBMITIT_EXECUTOR": "local", "SUBMITIT_LOCAL_JOB_ID": "7", "SUBMITIT_LOCAL_NTASKS": "2", "SUBMITIT_LOCAL_GLOBALID": "1"}
    command = [sys.executable, "-m", "scidiff.launch.task", str(tmp_path), sys.executable, "-c", CHILD]
    with subprocess.Popen(command, env={**os.environ, **variables}, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "rank 1 of 2 127.0.0.1 0\n"
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        assert process.wait(SECONDS) == LOCAL_REQUEUE_RETURN_CODE
    assert (tmp_path / "7_1_status").read_text() == "143"


@pytest.mark.parametrize(("ends", "status"), [("sys.exit(0)", 0), ("sys.exit(3)", 3), ("os.kill(os.getpid(), 9)", 137)])
def test_other_ends_are_told_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends: str, status: int) -> None:
    for name, value in {"EXECUTOR": "local", "LOCAL_JOB_ID": "7", "LOCAL_NTASKS": "1", "LOCAL_GLOBALID": "0"}.items():
        monkeypatch.setenv(f"SUBMITIT_{name}", value)
    handlers: dict[Any, Any] = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)}
    try:
        assert task.main([str(tmp_path), sys.executable, "-c", f"import os, sys; {ends}"]) == status
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    assert (tmp_path / "7_0_status").read_text() == str(status)
