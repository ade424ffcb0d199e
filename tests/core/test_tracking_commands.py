"""``scidiff train`` in processes of its own: whatever ends one, the run's status in MLflow is true."""

from __future__ import annotations

import copy
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.stores import client, history, spooled, until
from support.training import RECIPE, TRAIN

from scidiff.tracking.spool import folder_of, read_lines

ENDLESS = 10**6
NURSERY = """
import contextlib, os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
import mlflow.store.tracking.sqlalchemy_store, mlflow.store.artifact.local_artifact_repo, sqlalchemy.dialects.sqlite, torch
from scidiff.cli import main
import scidiff.train.run, scidiff_molecules.task
torch.set_num_threads(1)
for line in sys.stdin:
    log, *arguments = line.rstrip("\\n").split("\\t")
    child = os.fork()
    if not child:
        status = 1
        try:
            os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
            os.dup2(2, 1)
            sys.stdin, sys.argv = None, ["scidiff", *arguments]
            main()
        except SystemExit as ended:
            status = ended.code or 0
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            with contextlib.suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(status if isinstance(status, int) else 1)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
"""A process that has imported everything once, and forks one for each command it is told; it answers with its number and its end."""


class Nursery:
    """Runs commands, each in a process of its own."""

    def __init__(self) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
        pipe = subprocess.PIPE
        self._process = subprocess.Popen([sys.executable, "-c", NURSERY], stdin=pipe, stdout=pipe, text=True, env=environment)

    def start(self, log: Path, *arguments: str) -> int:
        """Start a command, whose output goes to ``log``; the process's number."""
        assert self._process.stdin is not None
        self._process.stdin.write("\t".join([str(log), *arguments]) + "\n")
        self._process.stdin.flush()
        return self._number()

    def wait(self) -> int:
        """The exit status of the command that was started; of a signal, negative."""
        return self._number()

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def _number(self) -> int:
        assert self._process.stdout is not None
        return int(self._process.stdout.readline())


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    made = Nursery()
    yield made
    made.close()


class Training:
    """``scidiff train`` of a recipe, tracked in a database."""

    def __init__(self, nursery: Nursery, folder: Path, uri: str, **train: Any) -> None:
        self.nursery, self.uri, self.run, self.log = nursery, uri, folder / "run", folder / "output.txt"
        recipe = copy.deepcopy(RECIPE) | {"train": {**TRAIN, "batch_size": 8, "save_every": 5, **train}}
        (folder / "tiny.yaml").write_text(yaml.safe_dump(recipe))
        self.command = ("train", str(folder / "tiny.yaml"), "--out", str(self.run), "--tracking-uri", uri, "--device", "cpu")

    def start(self, *overrides: str) -> int:
        return self.nursery.start(self.log, *self.command, *overrides)

    def ended(self, *overrides: str) -> int:
        self.start(*overrides)
        return self.nursery.wait()

    def steps(self) -> list[int]:
        return [step for _, step, _ in spooled(self.run, "train/loss")]

    def until_in_store(self, values: int) -> None:
        """Until MLflow has so many of its losses: it is in the middle of its work, and the tracker has found its store."""
        until(lambda: self.stored() >= values, 120, lambda: self.log.read_text())

    def stored(self) -> int:
        with sqlite3.connect(self.uri.removeprefix("sqlite:///")) as database:
            return int(database.execute("select count(*) from metrics where key = 'train/loss'").fetchone()[0])

    def found(self) -> Any:
        """The one run in the store."""
        store = client(self.uri)
        (run,) = store.search_runs([store.get_experiment_by_name("scidiff").experiment_id])
        return run

    def recorded(self) -> str:
        """The status in the run's own folder."""
        return [str(line.content["status"]) for line in read_lines(folder_of(self.run)) if line.kind == "status"][-1]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_training_that_is_told_to_stop_is_a_killed_run(
    nursery: Nursery, tmp_path: Path, uri: str, number: signal.Signals, code: int
) -> None:
    training = Training(nursery, tmp_path, uri, steps=ENDLESS)
    process = training.start()
    training.until_in_store(3)
    os.kill(process, number)
    assert nursery.wait() == code, training.log.read_text()
    assert (training.recorded(), training.found().info.status) == ("KILLED", "KILLED")
    assert training.found().info.end_time is not None
    assert history(uri, training.found().info.run_id, "train/loss") == spooled(training.run, "train/loss")


def test_a_training_that_fails_is_a_failed_run(nursery: Nursery, tmp_path: Path, uri: str) -> None:
    training = Training(nursery, tmp_path, uri, steps=50)
    assert training.ended("train.learning_rate=1e30", "train.clip_norm=1e30", "train.warmup=1") == 2, training.log.read_text()
    assert "stopped before the step" in training.log.read_text().replace("\n", " ")
    assert training.found().info.status == "FAILED"


def test_after_sigkill_the_next_start_or_sync_mends_the_status(nursery: Nursery, tmp_path: Path, uri: str) -> None:
    training = Training(nursery, tmp_path, uri, steps=ENDLESS, cooldown=0.0)  # how many steps there will be changes no step
    process = training.start()
    training.until_in_store(8)
    os.kill(process, signal.SIGKILL)
    assert nursery.wait() == -signal.SIGKILL
    assert training.found().info.status == "RUNNING"  # nobody was left to say otherwise
    assert nursery.start(training.log, "track", "sync", str(training.run)) > 0
    assert nursery.wait() == 0, training.log.read_text()
    assert training.found().info.status == "KILLED"
    last = training.steps()[-1]
    assert training.ended(f"train.steps={last + 2}") == 0, training.log.read_text()
    run = training.found()
    assert run.info.status == "FINISHED"
    assert history(uri, run.info.run_id, "train/loss") == spooled(training.run, "train/loss")
    assert sorted(set(training.steps())) == list(range(1, last + 3))
    assert len(training.steps()) == last + 2  # a step that a kill lost is taken again, and equal to the bit: logged once


def test_a_finished_training_holds_everything(nursery: Nursery, tmp_path: Path, uri: str) -> None:
    training = Training(nursery, tmp_path, uri, steps=6, validate_every=3, preview_every=6)
    began = time.time()
    assert training.ended() == 0, training.log.read_text()
    run, store = training.found(), client(uri)
    assert run.info.status == "FINISHED"
    assert began - 1 < run.info.start_time / 1000 <= run.info.end_time / 1000 <= time.time() + 1
    assert (run.data.params["train.seed"], run.data.params["backbone.width"]) == ("7", "16")
    assert run.inputs.dataset_inputs[0].dataset.name == "QM9 sample"
    names = {artifact.path for artifact in store.list_artifacts(run.info.run_id)}
    assert names >= {"recipe.yaml", "environment.json", "samples"}
    shown = {artifact.path for artifact in store.list_artifacts(run.info.run_id, "samples")}
    assert shown == {"samples/step-0000006.png", "samples/step-0000006.html"}
    assert {f"train/nats/{field}" for field in ("positions", "elements", "bonds")} <= set(run.data.metrics)
    assert {"version.torch", "mlflow.source.name", "machine.processor", "data.sha256"} <= set(run.data.tags)
    steps = {output.step for output in run.outputs.model_outputs}
    assert 6 in steps
