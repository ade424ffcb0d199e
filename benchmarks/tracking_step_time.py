"""What tracking costs a training: the step time with no tracking, with the local record alone, and with stores well and ill.

    python benchmarks/tracking_step_time.py [--rounds 25] [--steps 60] [--log-every 1]

A small training of the molecule domain, every step logged (ten values; recipes log every twentieth). In every round each way has its turn,
in an order of its own, between two trainings that nobody tracks, and its step time is divided by the mean of theirs: what else a machine
does slows all three. Printed are the median of these ratios over the rounds and a 95 % bootstrap interval: of the median step time; of the
mean, over which the first contact with a store (another thread's work, once) is spread; and of the processor time of the training's own
thread. "none" says how large noise is. The last column is how long the end of a run waits for its store.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import logging
import os
import platform
import random
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import torch
from rich.progress import track
from torch import Tensor

from scidiff.tracking import OFF, Tracker
from scidiff.tracking.store import MlflowStore
from scidiff.train.loop import NoLog, RunLog, fit
from scidiff.train.task import Batch
from scidiff_molecules.recipe import Recipe
from scidiff_molecules.task import MoleculeTask

WARM_UP = 10
SERVER_SECONDS = 120
WAYS = ("none", "the local record alone", "sqlite", "a live server", "an absent server", "a hanging server")


class Seconds(NamedTuple):
    """Of one training: a step's median and mean, the median of its own thread's work, and its ending."""

    median: float
    mean: float
    work: float
    ending: float


class Timed(MoleculeTask):
    """The task, with the time at which each batch is asked for."""

    def __init__(self, task: MoleculeTask) -> None:
        self.__dict__.update(copy.copy(task).__dict__)
        self.denoiser = copy.deepcopy(task.denoiser)
        self.times: list[float] = []
        self.work: list[float] = []

    def batch(self, examples: Tensor) -> Batch:
        self.times.append(time.perf_counter())
        self.work.append(time.thread_time())
        return super().batch(examples)


def tiny(steps: int, log_every: int) -> Recipe:
    never = 10**6
    return Recipe.model_validate(
        {
            "name": "tiny",
            "data": {"source": "sample", "limit": 512, "valid": 16},
            "backbone": {"width": 32, "pair_width": 16, "blocks": 1, "heads": 8, "radial": 8, "irreps": "8x1o"},
            "train": {
                "steps": steps, "batch_size": 8, "warmup": 2, "log_every": log_every,
                "save_every": never, "validate_every": never, "preview_every": never,
            },
        }
    )  # fmt: skip


def run(uri: str | None, task: MoleculeTask, recipe: Recipe, folder: Path) -> Seconds:
    """One training; ``uri`` None: without any tracking."""
    timed = Timed(task)

    def train(log: RunLog) -> None:
        fit(timed, recipe.train, folder / "training", log, device="cpu", resume=False)

    began = time.perf_counter()
    if uri is None:
        train(NoLog())
    else:
        tracker = Tracker.start("timing", folder / "run", {}, tracking_uri=uri)
        train(tracker)
        began = time.perf_counter()
        tracker.finish()
    ending = time.perf_counter() - began if uri else 0.0
    shutil.rmtree(folder)
    steps, work = ([after - before for before, after in pairwise(times)][WARM_UP:] for times in (timed.times, timed.work))
    return Seconds(statistics.median(steps), statistics.fmean(steps), statistics.median(work), ending)


@contextlib.contextmanager
def live_server(folder: Path) -> Iterator[str]:
    """A real ``mlflow server`` on an empty database."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{folder / 'server.db'}", "--artifacts-destination", str(folder / "artifacts")]
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        for _ in range(SERVER_SECONDS):
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2).close()
                break
            time.sleep(1)
        else:
            raise SystemExit(f"the server does not answer:\n{(folder / 'server.log').read_text()}")
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, 9)
        process.wait()


@contextlib.contextmanager
def ill_servers() -> Iterator[tuple[str, str]]:
    """(absent, hanging): a port on which nobody listens, and one on which connections are accepted and nothing is ever answered."""
    with socket.socket() as absent, socket.socket() as hanging:
        absent.bind(("127.0.0.1", 0))
        hanging.bind(("127.0.0.1", 0))
        hanging.listen(1000)
        yield f"http://127.0.0.1:{absent.getsockname()[1]}", f"http://127.0.0.1:{hanging.getsockname()[1]}"


def interval(values: list[float]) -> tuple[float, float]:
    """95 % of the medians of resamples of the rounds."""
    draw = random.Random(0)
    medians = sorted(statistics.median(draw.choices(values, k=len(values))) for _ in range(4000))
    return medians[100], medians[-101]


def told(ratios: list[float]) -> str:
    low, high = interval(ratios)
    return f"{statistics.median(ratios):.3f} ({low:.3f} to {high:.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--log-every", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)  # the ill servers are told of every time
    recipe = tiny(options.steps, options.log_every)
    task, untracked = MoleculeTask(recipe), list[Seconds]()
    pairs: dict[str, list[tuple[Seconds, Seconds, Seconds]]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as name, ill_servers() as (absent, hanging):
        folder = Path(name)
        MlflowStore(f"sqlite:///{folder / 'empty.db'}")._client.search_experiments()  # the tables are made once, and MLflow is imported
        for database in ("server.db", "mlruns.db"):
            shutil.copy(folder / "empty.db", folder / database)
        with live_server(folder) as live:
            uris = dict(zip(WAYS, (None, OFF, f"sqlite:///{folder / 'mlruns.db'}", live, absent, hanging), strict=True))
            turns = [way for number in range(options.rounds) for way in random.Random(number).sample(WAYS, len(WAYS))]
            untracked = [run(None, task, recipe, folder / "training") for _ in range(2)][1:]  # the first warms up
            for way in track(turns, description="timing"):
                found = run(uris[way], task, recipe, folder / "training")
                untracked.append(run(None, task, recipe, folder / "training"))
                pairs[way].append((untracked[-2], found, untracked[-1]))
    step = 1e3 * statistics.median(one.median for one in untracked)
    versions = f"torch {torch.__version__}, {platform.machine()}"
    print(f"\n{options.rounds} rounds of {options.steps} steps of {step:.1f} ms, logged every {options.log_every}; 1 thread, {versions}\n")
    print("| tracking | median step / none (95 %) | mean step / none (95 %) | the thread's own work / none (95 %) | ending takes, s |")
    print("|---|---|---|---|---|")
    for way, found in pairs.items():
        cells = [told([2 * one[part] / (before[part] + after[part]) for before, one, after in found]) for part in range(3)]
        print(f"| {way} | {' | '.join(cells)} | {statistics.median(one.ending for _, one, _ in found):.1f} |")


if __name__ == "__main__":
    main()
