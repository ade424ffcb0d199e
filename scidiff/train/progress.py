"""The training's progress bar: rate, losses in nats per field, time left."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import timedelta
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

_SMOOTHING = 0.98
"""Weight of the past in the shown losses: a single batch's ELBO estimate jumps with the times drawn."""


class TrainProgress:
    """A context manager around the loop; :meth:`update` after every step. ``limit``: seconds after which it stops at any step."""

    def __init__(self, steps: int, batch_size: int, start: int, limit: float = math.inf, *, shown: bool = True) -> None:
        self._progress = Progress(
            BarColumn(bar_width=8),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TextColumn("{task.fields[losses]}"),
            TextColumn("{task.fields[left]}"),
            console=Console(stderr=True),
            disable=not shown,
        )
        self._batch_size = batch_size
        self._task = self._progress.add_task("train", total=steps, completed=start, rate="", losses="", left="")
        self._steps = steps
        self._limit = limit
        self._start = start
        self._smooth: dict[str, float] = {}

    def __enter__(self) -> TrainProgress:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._progress.stop()

    def update(self, step: int, nats: Mapping[str, float]) -> None:
        """Show the step's number and the smoothed nats of every field."""
        for name, value in nats.items():
            self._smooth[name] = value + _SMOOTHING * (self._smooth.get(name, value) - value)
        elapsed = self._progress.tasks[0].elapsed or 0.0
        rate = (step - self._start) * self._batch_size / elapsed if elapsed > 0 else 0.0
        losses = " ".join(f"{name[:4]} {value:.1f}" for name, value in self._smooth.items()) + " nats"
        left = min((self._steps - step) * elapsed / max(step - self._start, 1), max(self._limit - elapsed, 0))
        shown = f"{timedelta(seconds=round(left))} left"
        self._progress.update(self._task, completed=step, rate=f"{rate:,.0f}/s", losses=losses, left=shown)
