"""What has become of each trial of a sweep, as its own record says (``run-K/tracking``), whoever ran it."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from scidiff.config import ConfigError, flatten, load_config
from scidiff.errors import UserError
from scidiff.sweep.config import SweepConfig
from scidiff.sweep.plan import Plan, Trial
from scidiff.tracking.spool import folder_of, read_lines, try_lock

__all__ = ["Outcome", "Status", "check_folder", "is_finished", "ranked", "read_outcome"]

Status = Literal["finished", "failed", "interrupted", "running", "waiting"]
ENDED: dict[str, Status] = {"FINISHED": "finished", "FAILED": "failed", "KILLED": "interrupted"}


@dataclass(frozen=True)
class Outcome:
    """A trial so far: ``points`` are (step, value) of the sweep's metric, ``metrics`` the names of all that was logged."""

    trial: Trial
    folder: Path
    status: Status
    points: tuple[tuple[int, float], ...] = ()
    seconds: float | None = None
    metrics: frozenset[str] = field(default_factory=frozenset[str])

    def value(self, config: SweepConfig) -> float | None:
        """What it is compared by; None where the metric was not logged, or is not finite."""
        values = [value for _, value in self.points]
        if config.use == "best":
            finite = [value for value in values if math.isfinite(value)]
            return None if not finite else min(finite) if config.goal == "minimise" else max(finite)
        return values[-1] if values and math.isfinite(values[-1]) else None


def read_outcome(trial: Trial, folder: Path, metric: str) -> Outcome:
    """Read the record of a trial. A step that was measured again after an interruption counts once."""
    record = folder_of(folder)
    if not record.is_dir():
        return Outcome(trial, folder, "waiting")
    status: Status = "interrupted"
    points: dict[int, float] = {}
    names: set[str] = set()
    seconds = None
    for line in read_lines(record):
        if line.kind == "status":
            status = ENDED.get(str(line.content["status"]), "interrupted")
        elif line.kind == "metrics":
            values = line.content["values"]
            names.update(values)
            seconds = values.get("train/seconds", seconds)
            if metric in values:
                points[int(line.content["step"])] = float(values[metric])
    if status == "finished" and not (folder / "weights.safetensors").is_file():
        status = "interrupted"
    if status != "finished" and _is_locked(record):
        status = "running"
    return Outcome(trial, folder, status, tuple(sorted(points.items())), seconds, frozenset(names))


def is_finished(folder: Path) -> bool:
    """Whether a training ran to its end there: its weights are written, and the last word of its record is that it finished."""
    if not (folder / "weights.safetensors").is_file():
        return False
    status = [line.content["status"] for line in read_lines(folder_of(folder)) if line.kind == "status"]
    return status[-1:] == ["FINISHED"]


def ranked(outcomes: list[Outcome], config: SweepConfig) -> list[Outcome]:
    """The best first; those without a value last, in the order of their numbers."""
    sign = 1 if config.goal == "minimise" else -1

    def place(outcome: Outcome) -> tuple[bool, float, int]:
        value = outcome.value(config)
        return (value is None, 0.0 if value is None else sign * value, outcome.trial.number)

    return sorted(outcomes, key=place)


def check_folder(plan: Plan, out: Path) -> None:
    """Raises :class:`~scidiff.errors.UserError` when the folder holds a training, or trials of other recipes than the plan's."""
    if (out / "recipe.yaml").exists():
        raise UserError(f"{out}: holds a single training, not a sweep: choose another folder with --out")
    for trial in plan.trials:
        path = out / trial.name / "recipe.yaml"
        if not path.exists():
            continue
        try:
            known = load_config(type(trial.recipe), path)
        except ConfigError:
            known = None
        if known != trial.recipe:
            before, now = {} if known is None else flatten(known), flatten(trial.recipe)
            changed = ", ".join(f"{key}: {before.get(key)}, now {now[key]}" for key in now if before.get(key) != now[key])
            raise UserError(f"{path.parent}: holds a training of another recipe ({changed}): choose another folder with --out")


def _is_locked(record: Path) -> bool:
    lock = try_lock(record)
    if lock is None:
        return True
    os.close(lock)
    return False
