"""A progress bar that shows only when the work takes longer than two seconds."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

SECONDS = 2.0


class LateBar:
    """A context manager; :meth:`advance` after every forecast of a series."""

    def __init__(self, total: int, shown: bool, console: Console | None = None) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._bar = Progress(*columns, console=console or Console(stderr=True), transient=True, disable=not shown)
        self._task = self._bar.add_task("backtest", total=total)
        self._begun = time.monotonic()

    def __enter__(self) -> LateBar:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bar.stop()

    def method(self, name: str) -> None:
        """Say which method is at work."""
        self._bar.update(self._task, description=name)

    def advance(self) -> None:
        self._bar.advance(self._task)
        if time.monotonic() - self._begun > SECONDS:
            self._bar.start()
