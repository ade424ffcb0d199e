"""What a domain gives the fit loop: a denoiser, an objective, and pure functions from example numbers to batches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Int
from torch import Tensor

from scidiff.denoiser import Condition, Denoiser
from scidiff.objective import Objective
from scidiff.process import Layouts, State
from scidiff.tracking import DataInfo


@dataclass(frozen=True)
class Batch:
    """Clean data of some examples, padded to a common shape."""

    state: State
    layouts: Layouts
    condition: Condition | None = None

    def to(self, device: torch.device) -> Batch:
        """The same on another device."""
        condition = None if self.condition is None else {name: value.to(device) for name, value in self.condition.items()}
        state = {name: value.to(device) for name, value in self.state.items()}
        return Batch(state, {name: layout.to(device) for name, layout in self.layouts.items()}, condition)


@dataclass(frozen=True)
class Preview:
    """A small generated sample: what was measured on it, and pictures or files to show."""

    metrics: Mapping[str, float]
    files: tuple[Path, ...] = ()
    tables: Mapping[str, Any] = field(default_factory=dict[str, Any])


@runtime_checkable
class Task(Protocol):
    """A training problem. Everything is a pure function of its arguments, so that a resume needs no saved generator state."""

    denoiser: Denoiser
    objective: Objective
    sizes: Int[Tensor, " example"]
    """How large each training example is (atoms, time steps): examples of like size share a batch."""
    monitor: str
    """The name of that value of :meth:`validate` by which the best weights are told."""
    monitor_goal: Literal["minimise", "maximise"]

    def batch(self, examples: Int[Tensor, " batch"]) -> Batch:
        """The training examples of these numbers, on the CPU."""
        ...

    def validate(self, denoiser: Denoiser, training: bool = False) -> dict[str, float]:
        """Losses in nats on data that are not trained on, with fixed noise; or on as many ``training`` examples, which tells by comparison
        whether they are being memorised."""
        ...

    def preview(self, denoiser: Denoiser, folder: Path, step: int) -> Preview:
        """Generate a little with the given weights; write pictures into ``folder``."""
        ...

    def finish(self, denoiser: Denoiser) -> dict[str, Any]:
        """Once, after the last step: set what is fitted after training (a calibration) in the averaged weights, which are then written.

        What it returns, JSON, is kept with the metadata, and its numbers are logged; a task that has nothing to fit returns ``{}``.
        """
        ...

    def data(self) -> DataInfo:
        """What is trained on, with a hash of it (that of the validation data included), for the run's record."""
        ...

    def metadata(self) -> dict[str, Any]:
        """All that is needed to build the denoiser again, as JSON; kept beside the weights."""
        ...
