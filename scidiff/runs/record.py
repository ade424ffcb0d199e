"""What is known of a run, wherever it was read from."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

from scidiff.errors import UserError
from scidiff.tracking.dataset import DataInfo

__all__ = ["Artifacts", "Logged", "RunRecord", "is_clock"]

CLOCK = re.compile(r"^system/|seconds|per_second|(^|[/_])(time|speed|throughput|rate_of_steps)$")


class Logged(NamedTuple):
    """One value of a metric: the step and the time (ms since 1970) that it was logged at."""

    step: int
    value: float
    time: int


@runtime_checkable
class Artifacts(Protocol):
    """The files that a run logged."""

    def names(self) -> list[str]:
        """Of those at the top level."""
        ...

    def fetch(self, name: str, folder: Path) -> Path | None:
        """The file of that name, brought into ``folder`` if it is not at hand; None where the record holds none."""
        ...


@dataclass(frozen=True)
class RunRecord:
    """A run.

    Attributes:
        source: where it was read from, in words.
        run_id: its id in MLflow, or where it never reached a store the id in its folder.
        metrics: name to all values, in the order of their steps; of a step logged twice the later value.
        started, ended: milliseconds since 1970.
    """

    source: str
    run_id: str
    name: str
    status: str
    started: int | None
    ended: int | None
    params: Mapping[str, str]
    tags: Mapping[str, str]
    metrics: Mapping[str, Sequence[Logged]]
    datasets: Sequence[DataInfo]
    artifacts: Artifacts = field(repr=False)

    @property
    def label(self) -> str:
        """Its name and the beginning of its id."""
        return f"{self.name} ({self.run_id[:8]})"

    @property
    def config(self) -> dict[str, str]:
        """Parameters as they were in the end: where a continued run changed one, MLflow has it as a tag ``changed.NAME``."""
        changes = {name: self.tags.get(f"changed.{name}", "") for name in self.params}
        return {name: changes[name].rpartition(" -> ")[2] if changes[name] else value for name, value in self.params.items()}

    @property
    def last_step(self) -> int:
        """The last step that anything but the machine was logged at; 0 where nothing was."""
        return max((values[-1].step for name, values in self.metrics.items() if values and not name.startswith("system/")), default=0)

    def json_of(self, name: str, folder: Path) -> Any:
        """A logged JSON file; None where there is none, or where it is none."""
        path = self.artifacts.fetch(name, folder)
        try:
            return None if path is None else json.loads(path.read_bytes())
        except ValueError:
            return None

    def need(self, name: str, folder: Path) -> Path:
        """The logged file of that name. Raises UserError where the record holds none."""
        path = self.artifacts.fetch(name, folder)
        if path is None:
            held = ", ".join(self.artifacts.names()) or "none"
            raise UserError(f"the run {self.label} holds no {name} (its artifacts: {held})")
        return path


def is_clock(name: str) -> bool:
    """Does a metric tell time, speed or the state of the machine, which no run repeats?"""
    return CLOCK.search(name) is not None


def in_order(values: Sequence[Logged]) -> list[Logged]:
    """By step; of several values at one step the one logged last, which is what the run went on from."""
    latest = {logged.step: logged for logged in sorted(values, key=lambda logged: logged.time)}
    return [latest[step] for step in sorted(latest)]
