"""From a recipe to a :class:`~scidiff.testing.kill_report.KillReport`: starts the process that does the work, and follows it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from scidiff.config import Config
from scidiff.errors import UserError
from scidiff.testing.kill_report import KillReport

__all__ = ["check_resume", "measure_resume"]

TaskFactory = Callable[[Mapping[str, Any]], Any]
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def check_resume(
    task: str | TaskFactory, recipe: Config | Mapping[str, Any], folder: str | Path, *, kills: int = 10, seed: int = 0
) -> KillReport:
    """Kill trainings, really, ``kills`` times in all, continue each to its end, and require that everything equals an uninterrupted one's.

    A kill is one process ended by SIGKILL: at a random time, or in the middle of a save (at one of its fsyncs, between write and rename,
    between data and manifest). Each training is killed up to five times, ended by SIGTERM once, and then continued to its end. Compared, to
    the bit: weights, optimiser and average in every checkpoint and in the final files, the learning rate and all logged numbers of
    every process, the numbers of the examples of every batch, and that no file is damaged or left over.

    Args:
        task: the name of an installed domain; or an importable function that makes a task (:class:`scidiff.train.task.Task`) of the recipe.
        recipe: the domain's recipe; for a function a JSON-able mapping, whose ``train`` holds the fields of a TrainConfig. Small: it is run
            again and again, on one thread of the CPU.
        folder: an empty or new folder; what differs is left there to be looked at.
        seed: of the points at which processes are killed.

    Raises:
        AssertionError: something differs; the message is the whole report, with the places.
        UserError: a recipe that cannot be trained, or that ends before it can be killed; a folder that is not empty.
    """
    report = measure_resume(task, recipe, folder, kills=kills, seed=seed)
    if report.differences:
        raise AssertionError(f"{report}\n  see {folder}")
    return report


def measure_resume(
    task: str | TaskFactory, recipe: Config | Mapping[str, Any], folder: str | Path, *, kills: int = 10, seed: int = 0
) -> KillReport:
    """As :func:`check_resume`, but what differs is in the report only."""
    if kills < 1:
        raise UserError(f"kills = {kills}: at least one is needed")
    place = Path(folder).absolute()
    place.mkdir(parents=True, exist_ok=True)
    if any(place.iterdir()):
        raise UserError(f"{place}: an empty folder is needed")
    name, source = (task, task) if isinstance(task, str) else (getattr(task, "__name__", "task"), _address(task))
    values = recipe.model_dump(mode="json") if isinstance(recipe, Config) else dict(recipe)
    job = {"name": name, "task": source, "recipe": values, "folder": str(place), "kills": kills, "seed": seed}
    found = _follow(job, place / "stderr.txt")
    found["fsyncs"] = {int(number): count for number, count in found["fsyncs"].items()}
    found["differences"] = tuple(found["differences"])
    return KillReport(**found)


def _address(function: Callable[..., Any]) -> str:
    """``module:name``, for a process that imports it anew."""
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", "<unknown>")
    if module in (None, "__main__") or not name.isidentifier():
        raise UserError(f"{module}.{name}: other processes must be able to import the function: define it at the top of a module")
    return f"{module}:{name}"


def _follow(job: dict[str, Any], errors: Path) -> dict[str, Any]:
    """Run the job in a process of its own, with a progress bar; its report."""
    path = os.pathsep.join(part or os.getcwd() for part in sys.path)
    environment = os.environ | dict.fromkeys(THREADS, "1") | {"PYTHONPATH": path}
    command = [sys.executable, "-m", "scidiff.testing.kill_nursery"]
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    last: dict[str, Any] = {}
    with errors.open("w") as stderr, Progress(*columns, console=Console(stderr=True)) as bar:
        shown = bar.add_task(f"killing {job['name']}", total=job["kills"])
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, text=True, env=environment, start_new_session=True
        )
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            with process.stdin, process.stdout:
                process.stdin.write(json.dumps(job))
                process.stdin.close()
                for line in process.stdout:
                    last = json.loads(line)
                    bar.advance(shown, "kill" in last)
            process.wait()
        finally:
            if process.poll() is None:  # interrupted: it and its children go too
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    if "error" in last:
        raise UserError(last["error"])
    if process.returncode or "report" not in last:
        said = errors.read_text(errors="replace").strip().splitlines()
        raise RuntimeError(f"the kill harness itself failed: {(said or ['without a word'])[-1]}; see {errors}")
    return last["report"]
