"""What a job asks the cluster for, checked before anything is written: every value here ends up in a shell script."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from scidiff.errors import UserError

__all__ = ["Resources", "minutes"]

WITH_DAYS = r"(?P<days>\d+)-(?P<h>\d+)(?::(?P<m>\d+)(?::(?P<s>\d+))?)?"
TIME = re.compile(rf"{WITH_DAYS}|(?:(?P<hours>\d+):)?(?P<minutes>\d+)(?::(?P<seconds>\d+))?", re.ASCII)
MEMORY = re.compile(r"\d+[KMGT]?B?", re.IGNORECASE)
ARRAY = re.compile(r"\d+(-\d+(:\d+)?)?(,\d+(-\d+(:\d+)?)?)*(%\d+)?")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*")


@dataclass(frozen=True)
class Resources:
    """``gpus`` are those of each node, and one process runs on each; without any, ``tasks`` processes run on each node.

    ``grace``: how many seconds before the time limit a training is told to save. ``requeues``: how often a job goes back into the queue by
    its own doing. ``setup``: shell commands that come first. ``options``: further options of sbatch. Raises
    :class:`~scidiff.errors.UserError` for a value that sbatch would not understand, or that could end the line it is written to.
    """

    nodes: int = 1
    gpus: int = 0
    tasks: int = 1
    time: str = "1:00:00"
    partition: str | None = None
    account: str | None = None
    cpus_per_task: int | None = None
    mem: str | None = None
    array: str | None = None
    grace: int = 120
    requeues: int = 100
    setup: tuple[str, ...] = ()
    options: Mapping[str, str] = field(default_factory=dict[str, str])

    def __post_init__(self) -> None:
        for one in fields(self):
            for text in _texts(getattr(self, one.name)):
                if not text or not text.isprintable():
                    name = "sbatch" if one.name == "options" else one.name.replace("_", "-")
                    raise UserError(f"--{name} {text!r}: expected text of one line")
        for name, least in (("nodes", 1), ("gpus", 0), ("tasks", 1), ("grace", 1), ("requeues", 0)):
            if getattr(self, name) < least:
                raise UserError(f"--{name} {getattr(self, name)}: must be {least} or more")
        limit = minutes(self.time)
        if 60 * limit <= self.grace:
            raise UserError(f"--time {self.time} leaves nothing to train in: it must be more than --grace, {self.grace} seconds")
        if self.mem is not None and not MEMORY.fullmatch(self.mem):
            raise UserError(f"--mem {self.mem!r}: expected a size such as 64G")
        if self.array is not None and not ARRAY.fullmatch(self.array):
            raise UserError(f"--array {self.array!r}: expected numbers such as 0-7, 0-7%2 (two at once) or 1,3,5-9")
        wrong = [name for name in self.options if not NAME.fullmatch(name)]
        if wrong:
            raise UserError(f"--sbatch {wrong[0]}: expected an option of sbatch such as constraint=a100")

    @property
    def processes(self) -> int:
        """On each node."""
        return self.gpus or self.tasks

    def for_slurm(self) -> dict[str, Any]:
        """As submitit's executor for SLURM takes them."""
        found: dict[str, Any] = {
            "nodes": self.nodes,
            "ntasks_per_node": self.processes,
            "partition": self.partition,
            "account": self.account,
            "cpus_per_task": self.cpus_per_task,
            "mem": self.mem,
            "gpus_per_node": self.gpus or None,
            "wckey": None,
        }
        # srun does not take --cpus-per-task over from sbatch (since SLURM 22.05). A process that fails ends the others, which would wait.
        cpus = [] if self.cpus_per_task is None else [f"--cpus-per-task={self.cpus_per_task}"]
        found["srun_args"] = ["--open-mode=append", "--kill-on-bad-exit=1", *cpus]
        # TERM goes to the processes, not to the script (that would be B:TERM): srun turns a SIGTERM that it gets itself into SIGKILL.
        found["additional_parameters"] = {"time": self.time, "requeue": True, "signal": f"TERM@{self.grace}", **self.options}
        return found


def _texts(value: Any) -> list[str]:
    """Every text in a field."""
    if isinstance(value, Mapping):
        return [str(part) for pair in value.items() for part in pair]
    return [value] if isinstance(value, str) else list(value) if isinstance(value, tuple) else []


def minutes(time: str) -> int:
    """A time limit as sbatch reads it, rounded up: ``30`` or ``90:00`` (minutes), ``12:00:00``, ``2-12``, ``2-12:30``, ``2-12:30:00``.

    Raises :class:`~scidiff.errors.UserError` for anything else, or nothing.
    """
    found = TIME.fullmatch(time)
    if found is None:
        raise UserError(f"--time {time!r}: expected HOURS:MINUTES:SECONDS, DAYS-HOURS:MINUTES:SECONDS or minutes")
    parts = {name: int(text or 0) for name, text in found.groupdict().items()}
    if found["hours"] is not None and found["seconds"] is None:  # two numbers are minutes and seconds
        parts = {**parts, "hours": 0, "minutes": parts["hours"], "seconds": parts["minutes"]}
    seconds = 86400 * parts["days"] + 3600 * (parts["h"] + parts["hours"]) + 60 * (parts["m"] + parts["minutes"])
    return math.ceil((seconds + parts["s"] + parts["seconds"]) / 60)
