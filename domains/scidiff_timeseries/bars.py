"""A progress bar for what takes longer than two seconds; nothing is shown of what does not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Timer

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, Task, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

SECONDS = 2.0


class _Shown:
    """Is there a bar already? Within a longer work the bars of its parts stay hidden."""

    now = False


@contextmanager
def late_bar(what: str, total: int | None = None, *, console: Console | None = None) -> Iterator[Callable[..., None]]:
    """Yields what is to be told how many are done, and of how many (``progress(done)``, ``progress(done, total)``; ``what=`` renames the
    work); as long as no total is known the bar only shows that work goes on."""
    console = console or Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), _Counted(), TimeElapsedColumn(), _Left())
    shown = console.is_terminal and not _Shown.now
    bar = Progress(*columns, console=console, transient=True, disable=not shown)
    task = bar.add_task(what, total=total)

    def progress(done: int, total: int | None = None, what: str | None = None) -> None:
        bar.update(task, completed=done, total=total, description=what)

    timer = Timer(SECONDS, bar.start)
    timer.daemon = True
    timer.start()
    _Shown.now = _Shown.now or shown
    try:
        yield progress
    finally:
        _Shown.now = _Shown.now and not shown
        timer.cancel()
        timer.join()
        bar.stop()


class _Counted(MofNCompleteColumn):
    """Nothing where there is no total."""

    def render(self, task: Task) -> Text:
        return super().render(task) if task.total else Text()


class _Left(TimeRemainingColumn):
    def render(self, task: Task) -> Text:
        return super().render(task).append(" left") if task.total else Text()
