"""A training that ends after a given step while its schedules follow the recipe: how a run that a clock ended is repeated to the same step.

A checkpoint is written at that step, the training is left, and continued from there as one that has no further step. So the weights are
those that the run had, whatever ended it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from scidiff.train.checkpoint import CheckpointStore
from scidiff.train.log import RunLog
from scidiff.train.loop import fit
from scidiff.train.task import Batch, Task

__all__ = ["fit_until"]


class _Reached(Exception):
    """The checkpoint of the last step is there."""


def fit_until(task: Task, config: Any, folder: Path, log: RunLog, until: int, *, device: str = "auto", resume: bool = True) -> Path:
    """As :func:`scidiff.train.loop.fit`, to step ``until``. An interrupted one is continued from checkpoints as far apart as the config's
    where a like number divides ``until``, and else from the beginning."""
    store = CheckpointStore(folder / "checkpoints")
    if not (resume and until in store.steps()):
        dense = config.model_copy(update={"save_every": _interval(config.save_every, until), "max_seconds": None})
        batch = task.batch

        def batch_unless_reached(examples: Tensor) -> Batch:
            if until in store.steps():
                raise _Reached
            return batch(examples)

        task.batch = batch_unless_reached
        try:
            fit(task, dense, folder, log, device=device, resume=resume)
        except _Reached:
            pass
        finally:
            task.batch = batch
    return fit(task, config.model_copy(update={"steps": until, "max_seconds": None}), folder, log, device=device, resume=True)


def _interval(wanted: int, until: int) -> int:
    """The largest divisor of ``until`` that is at most ``wanted``, unless it is far from it."""
    largest = max(number for number in range(1, min(wanted, until) + 1) if until % number == 0)
    return largest if 10 * largest >= wanted else until
