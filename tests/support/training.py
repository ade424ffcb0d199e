"""Trainings small enough to be run many times, and a log that remembers."""

from __future__ import annotations

import copy
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scidiff.train.loop import NoLog, TrainConfig
from scidiff_molecules.recipe import Recipe
from scidiff_molecules.task import MoleculeTask

STEPS = 12
RECIPE: dict[str, Any] = {
    "domain": "molecules",
    "name": "tiny",
    "data": {"source": "sample", "limit": 150, "valid": 16},  # four batches an epoch
    "backbone": {"width": 16, "pair_width": 8, "blocks": 1, "heads": 8, "radial": 8, "irreps": "8x1o"},
    "preview": {"molecules": 2, "steps": 2},
}
TRAIN: dict[str, Any] = {
    "seed": 7, "steps": STEPS, "batch_size": 32, "learning_rate": 3e-3, "warmup": 2, "clip_norm": 10, "ema_decay": 0.9,
    "log_every": 1, "save_every": 3, "validate_every": 1000, "preview_every": 1000,
}  # fmt: skip
SERIES: dict[str, Any] = {
    "domain": "timeseries",
    "name": "tiny",
    "data": {"source": "sample", "name": "co2"},
    "windows": {"horizon": 4, "context": 24, "view": 12, "rolls": 2, "selection_rolls": 5},
    "backbone": {"width": 16, "blocks": 1},
    "sampler": {"calls": 1},
    "train": {**TRAIN, "batch_size": 8, "self_conditioning": 0.0},
}
"""As small a training of the other domain; that of molecules is ``{**RECIPE, "train": TRAIN}``."""


@cache
def _pristine() -> MoleculeTask:
    return MoleculeTask(Recipe.model_validate({**RECIPE, "train": TRAIN}))


def tiny_task() -> MoleculeTask:
    """A task with fresh weights, the same every time; the data are shared."""
    task = copy.copy(_pristine())
    task.denoiser = copy.deepcopy(task.denoiser)
    return task


def train_config(**changes: Any) -> TrainConfig:
    return TrainConfig.model_validate({**TRAIN, **changes})


def terminate_at(task: Any, batch: int) -> Any:
    """The same task, during whose ``batch``-th batch (from 1) this process gets SIGTERM."""
    real, seen = task.batch, 0

    def asked(examples: Any) -> Any:
        nonlocal seen
        seen += 1
        if seen == batch:
            os.kill(os.getpid(), signal.SIGTERM)
        return real(examples)

    task.batch = asked
    return task


@dataclass
class Log(NoLog):
    """Keeps what is logged; implements scidiff.train.loop.RunLog."""

    metrics: dict[int, dict[str, float]] = field(default_factory=dict)
    artifacts: list[Path] = field(default_factory=list)

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        self.metrics.setdefault(step, {}).update(metrics)

    def log_artifact(self, path: Path, artifact_path: str = "") -> None:
        self.artifacts.append(path)

    def losses(self) -> dict[int, dict[str, float]]:
        """All but the clock, which no run repeats."""
        return {step: {k: v for k, v in values.items() if k != "train/seconds"} for step, values in self.metrics.items()}


def bits(tensors: Mapping[str, Tensor]) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    def content(tensor: Tensor) -> bytes:
        return tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()

    return {name: (str(tensor.dtype), tuple(tensor.shape), content(tensor)) for name, tensor in tensors.items()}
