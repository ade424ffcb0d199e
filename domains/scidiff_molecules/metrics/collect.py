"""The molecules of a source judged, over all cores, in bounded memory, with a progress bar."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from scidiff_molecules.metrics.crew import Chunk, Crew
from scidiff_molecules.metrics.histograms import CHUNK, RESAMPLES, draws
from scidiff_molecules.metrics.payload import Payload, payloads_of
from scidiff_molecules.metrics.plan import Plan
from scidiff_molecules.metrics.tally import Tally
from scidiff_molecules.metrics.verdict import Item

FEW = 512
"""Molecules that are judged in this process, unless calculations are asked for."""
MAX_WORKERS = 64


class Bar:
    """The progress of one part after the other; shows nothing unless it is asked to."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def start(self, description: str, total: float | int | None) -> TaskID:
        return self._progress.add_task(description, total=total, count="")

    def update(self, task: TaskID, done: float | int, count: str) -> None:
        self._progress.update(task, completed=done, count=count)

    def finish(self, task: TaskID) -> None:
        self._progress.remove_task(task)


@contextmanager
def progress_bar(shown: bool) -> Iterator[Bar]:
    """A bar on standard error: what is done, how much of it, for how long, and how long it still takes."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[count]}"), TimeElapsedColumn())
    remaining = (TextColumn("left"), TimeRemainingColumn())
    with Progress(*columns, *remaining, console=Console(stderr=True), disable=not shown, transient=True) as progress:
        yield Bar(progress)


def collect(
    source: str | Path | Iterable[Item], plan: Plan, bar: Bar, *, halves: bool = False, description: str = "judging molecules"
) -> Tally:
    """Judge every molecule of a source.

    Args:
        source: an SDF file, or molecules in memory.
        plan: what is asked of each; the subsets of :class:`Tally` are as large as it needs.
        bar: where progress is shown.
        halves: instead of the bootstrap's resamples, the columns 1 and 2 of the histograms are two random halves of the molecules.
        description: what the bar says.

    Raises:
        UserError: the file is missing, empty, too large or no SDF file, or a process cannot be started.
    """
    columns = (3 if halves else 1 + RESAMPLES) if plan.distributions else 0
    calculated = 0 if halves else max(plan.poses, plan.energies)
    tally = Tally.empty(calculated, max(plan.fcd, 0 if halves else plan.neighbours), columns)
    total: float | int | None = Path(source).stat().st_size if isinstance(source, str | Path) and Path(source).is_file() else None
    if total is None and isinstance(source, Sized):
        total = len(source)
    stream = payloads_of(source, tally.properties)
    head = list(itertools.islice(stream, FEW + 1))
    workers = worker_count(plan, len(head))
    task = bar.start(description, total)
    done, count = 0, 0
    with Crew(workers, plan.patience) as crew:
        for chunk, answers in crew.run("judge", _chunks(itertools.chain(head, stream), plan.distributions)):
            size: int = chunk.context
            priorities, weights = _weights(plan.seed, count // CHUNK, columns, halves)
            tally.add(count, list(chunk.payloads), answers, priorities, weights)
            done, count = done + (size or len(answers)), count + len(answers)
            bar.update(task, done, f"{count:,} molecules")
    bar.finish(task)
    return tally


def worker_count(plan: Plan, molecules: int) -> int:
    """Processes for so many molecules (at least so many, if it is more than :data:`FEW`)."""
    if plan.workers is not None:
        return plan.workers
    return 0 if molecules <= FEW and not plan.calculates else min(os.cpu_count() or 1, MAX_WORKERS)


def _chunks(stream: Iterable[tuple[Payload, int]], details: bool) -> Iterator[Chunk]:
    pairs = iter(stream)
    for number in itertools.count():
        part = list(itertools.islice(pairs, CHUNK))
        if not part:
            return
        yield Chunk([payload for payload, _ in part], {"first": number * CHUNK, "details": details}, sum(size for _, size in part))


def _weights(seed: int, chunk: int, columns: int, halves: bool) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Priorities (256,), and how each molecule counts in each column (256, columns); column 0 is all ones."""
    priorities, poisson = draws(seed, chunk, 0 if halves or not columns else columns - 1)
    if not columns:
        return priorities, poisson
    if halves:
        first = np.random.Generator(np.random.Philox(key=np.array([seed + 1, chunk], dtype=np.uint64))).random(CHUNK) < 0.5
        poisson = np.stack([first, ~first], axis=1).astype(np.int64)
    return priorities, np.concatenate([np.ones((CHUNK, 1), dtype=np.int64), poisson], axis=1)
