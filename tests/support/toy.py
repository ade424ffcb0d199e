"""The smallest training problem there is, with no domain; and ones that cannot be continued, each in its own way."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from scidiff.denoiser import Denoiser, Parametrisation
from scidiff.layout import Layout
from scidiff.objective import Objective, Term
from scidiff.process import Gaussian, Joint, State
from scidiff.schedule import Straight
from scidiff.tracking import DataInfo
from scidiff.train.task import Batch, Preview

TRAIN: dict[str, Any] = {
    "seed": 3, "steps": 12, "batch_size": 4, "learning_rate": 1e-2, "warmup": 2, "self_conditioning": 0.0,
    "log_every": 1, "save_every": 2, "validate_every": 1000, "preview_every": 1000,
}  # fmt: skip
RECIPE: dict[str, Any] = {"train": TRAIN}


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, inputs: State, t: Mapping[str, Tensor], *rest: Any) -> State:
        return {"x": self.layer(torch.cat([inputs["x"], t["x"][..., None].float()], -1))}


class ToyTask:
    """Implements scidiff.train.task.Task: forty points in the plane, of one entry each."""

    monitor, monitor_goal = "loss", "minimise"

    def __init__(self, recipe: Mapping[str, Any] = RECIPE) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.points = torch.randn(40, 1, 2)
            self.denoiser = Denoiser(Net(), Joint({"x": Gaussian(Straight())}), {"x": Parametrisation()})
        self.sizes = torch.ones(40, dtype=torch.int64)
        self.objective = Objective(self.denoiser.process, {"x": Term()})

    def batch(self, examples: Tensor) -> Batch:
        return Batch({"x": self.points[examples]}, {"x": Layout(torch.ones(len(examples), 1, dtype=torch.bool))})

    def validate(self, denoiser: Denoiser, training: bool = False) -> dict[str, float]:
        return {"loss": float(denoiser.backbone.get_parameter("layer.weight").square().sum())}

    def preview(self, denoiser: Denoiser, folder: Path, step: int) -> Preview:
        return Preview({})

    def finish(self, denoiser: Denoiser) -> dict[str, Any]:
        return {}

    def data(self) -> DataInfo:
        return DataInfo("toy", "0", "here", len(self.sizes))

    def metadata(self) -> dict[str, Any]:
        return {"domain": "toy"}


def toy(recipe: Mapping[str, Any]) -> ToyTask:
    """A task that can be continued."""
    return ToyTask(recipe)


class _Noisy(ToyTask):
    """Its data depend on a generator whose state no checkpoint holds."""

    def batch(self, examples: Tensor) -> Batch:
        batch = super().batch(examples)
        return Batch({"x": batch.state["x"] + 1e-6 * torch.randn(len(examples), 1, 2)}, batch.layouts)


def noisy(recipe: Mapping[str, Any]) -> ToyTask:
    torch.manual_seed(0)
    return _Noisy(recipe)


def without_optimizer(recipe: Mapping[str, Any]) -> ToyTask:
    """A loop that forgets to put back the optimiser's state."""
    import scidiff.train.session as session

    session.restore_optimizer = lambda *arguments: None
    return ToyTask(recipe)


def in_place(recipe: Mapping[str, Any]) -> ToyTask:
    """A store that writes the manifest before the data, and the data where they are to lie."""
    import os

    import scidiff.train.checkpoint as checkpoint

    later: list[tuple[Path, bytes]] = []

    def write(path: str | Path, content: bytes) -> None:
        later.append((Path(path), content))
        if len(later) == 2:
            for target, data in reversed(later):
                with target.open("wb") as file:
                    file.write(data)
                    os.fsync(file.fileno())
            later.clear()

    checkpoint.atomic_write = write
    return ToyTask(recipe)


def reshuffled(recipe: Mapping[str, Any]) -> ToyTask:
    """A loop that shuffles the data anew in every process."""
    import scidiff.train.step as step

    real: Callable[..., Any] = step.epoch_batches

    def epoch_batches(seed: int, epoch: int, sizes: Tensor, batch_size: int) -> Tensor:
        return real(seed + os.getpid(), epoch, sizes, batch_size)

    step.epoch_batches = epoch_batches
    return ToyTask(recipe)
