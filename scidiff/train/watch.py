"""What validations say in the course of a training: the best so far, when to stop, and whether the training data are being memorised.

Two signs of memorisation: the averaged weights do much better on data they were trained on than on others (``gap/...``, in the unit of the
validation's values, nats mostly; both measured with the same weights, the same fixed noise and as many examples), and that gap opens while
validation gets worse.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from scidiff.denoiser import Denoiser
from scidiff.train.task import Task

OVERFITTING = 3
"""Validations in a row that are worse than the best, while the training data fare better than then: a warning."""


@dataclass
class _Seen:
    """Of the best validation: its value (the lower the better), the training data's value then, its step; and how many came since."""

    best: float | None = None
    training: float | None = None
    step: int = 0
    since: int = 0
    worse: int = 0


@dataclass(frozen=True)
class Verdict:
    """Of one validation: what is logged; is it the best so far, is it time to stop, and what the user should be told."""

    metrics: dict[str, float]
    best: bool
    stop: bool
    warning: str | None


class Watch:
    """Remembers the validations of a training; what it knows is part of a checkpoint."""

    def __init__(self, task: Task, patience: int | None) -> None:
        self._task, self._patience = task, patience
        self._seen = _Seen()

    @property
    def is_over(self) -> bool:
        """Has patience run out?"""
        return self._patience is not None and self._seen.since >= self._patience

    def validate(self, average: Denoiser, step: int) -> Verdict:
        """Measure the averaged weights on validation data and, for comparison, on training data."""
        valid, training = self._task.validate(average), self._task.validate(average, training=True)
        gaps = {f"gap/{name}": valid[name] - training[name] for name in valid if name in training}
        metrics = {f"valid/{name}": value for name, value in valid.items()} | gaps
        name, sign = self._task.monitor, 1.0 if self._task.monitor_goal == "minimise" else -1.0
        if name not in valid:
            return Verdict(metrics, False, False, None)
        return self._judge(metrics, sign * valid[name], None if name not in training else sign * training[name], step)

    def _judge(self, metrics: dict[str, float], value: float, training: float | None, step: int) -> Verdict:
        seen, warning = self._seen, None
        best = value == value and (seen.best is None or value < seen.best)  # a NaN is never best
        if best:
            self._seen = _Seen(value, training, step)
        else:
            seen.since += 1
            learnt = training is not None and seen.training is not None and training < seen.training
            seen.worse = seen.worse + 1 if learnt else 0
            if seen.worse == OVERFITTING:
                warning = (
                    f"overfitting: {self._task.monitor} on validation data was best at step {seen.step} and has been worse in the last "
                    f"{OVERFITTING} validations, while it goes on improving on the training data (gap/... in the log); more data, "
                    f"a smaller network, or train.patience to stop by itself and keep the best"
                )
        metrics = metrics | {"valid/steps_since_best": float(step - self._seen.step)}
        return Verdict(metrics, best, self.is_over, warning)

    def state(self) -> dict[str, Any]:
        return asdict(self._seen)

    def restore(self, state: Mapping[str, Any] | None) -> None:
        self._seen = _Seen(**state) if state else _Seen()
