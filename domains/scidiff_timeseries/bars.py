"""A progress bar for what takes longer than two seconds; nothing is shown of what does not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Timer

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

SECONDS = 2.0


@contextmanager
def late_bar(what: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
    """Yields what is to be told how many of ``total`` are done; with None as the total the bar only shows that work goes on."""
    known = (MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn()) if total else (TimeElapsedColumn(),)
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), *known)
    bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    task = bar.add_task(what, total=total)
    timer = Timer(SECONDS, bar.start)
    timer.daemon = True
    timer.start()
    try:
        yield lambda done: bar.update(task, completed=done)
    finally:
        timer.cancel()
        timer.join()
        bar.stop()
