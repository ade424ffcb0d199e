"""The molecules of a source judged, over all cores, in bounded memory, with a progress bar."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from scidiff.sweep.processes import cores
from scidiff_molecules.metrics.crew import Chunk, Crew
from scidiff_molecules.metrics.histograms import CHUNK, Weighing, priorities, resampled
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
    source: str | Path | Iterable[Item], plan: Plan, bar: Bar, *, weighing: Weighing | None = None, description: str = "judging molecules"
) -> Tally:
    """Judge every molecule of a source.

    Args:
        source: an SDF file, or molecules in memory.
        plan: what is asked of each; the subsets of :class:`Tally` are as large as it needs.
        bar: where progress is shown.
        weighing: the columns of the histograms; default the bootstrap's resamples.
        description: what the bar says.

    Raises:
        UserError: the file is missing, empty, too large or no SDF file, or a process cannot be started.
    """
    weigh = weighing or resampled(plan.seed)
    tally = Tally.empty(max(plan.poses, plan.energies), max(plan.fcd, plan.neighbours), weigh(0).shape[1] if plan.distributions else 0)
    total: float | int | None = Path(source).stat().st_size if isinstance(source, str | Path) and Path(source).is_file() else None
    if total is None and isinstance(source, Sized):
        total = len(source)
    stream = payloads_of(source, tally.properties)
    head = list(itertools.islice(stream, FEW + 1))
    task = bar.start(description, total)
    done, count = 0, 0
    with Crew(worker_count(plan, len(head)), plan.patience) as crew:
        for chunk, answers in crew.run("judge", _chunks(itertools.chain(head, stream), plan.distributions)):
            size: int = chunk.context
            number = count // CHUNK
            weights = weigh(number) if plan.distributions else None
            tally.add(count, list(chunk.payloads), answers, priorities(plan.seed, number), weights)
            done, count = done + (size or len(answers)), count + len(answers)
            bar.update(task, done, f"{count:,} molecules")
    bar.finish(task)
    return tally


def worker_count(plan: Plan, molecules: int) -> int:
    """Processes for so many molecules (at least so many, if it is more than :data:`FEW`)."""
    if plan.workers is not None:
        return plan.workers
    return 0 if molecules <= FEW and not plan.calculates else min(cores(), MAX_WORKERS)


def _chunks(stream: Iterable[tuple[Payload, int]], details: bool) -> Iterator[Chunk]:
    pairs = iter(stream)
    for number in itertools.count():
        part = list(itertools.islice(pairs, CHUNK))
        if not part:
            return
        yield Chunk([payload for payload, _ in part], {"first": number * CHUNK, "details": details}, sum(size for _, size in part))
