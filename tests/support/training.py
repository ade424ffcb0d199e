"""A training small enough to be run many times, and processes that are killed while they train.

``python training.py PLANS``, JSON of folders and lists, imports everything once; then, for each entry of a folder's list, it forks a
process that continues the training in that folder. An entry says how it ends: ``{"sync": n}`` by SIGKILL in place of its n-th fsync, in the
middle of a save; ``{"after": n, "delay": s}`` by SIGKILL from its parent, s seconds after its n-th step; ``{"after": n, "term": true}``
by SIGTERM likewise; ``{}`` by itself. The exit statuses are printed as JSON, those of signals negative.
"""

from __future__ import annotations

import copy
import json
import os
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scidiff.train.loop import TrainConfig, fit
from scidiff_molecules.recipe import Recipe
from scidiff_molecules.task import MoleculeTask

STEPS = 12
RECIPE: dict[str, Any] = {
    "name": "tiny",
    "data": {"source": "sample", "limit": 150, "valid": 16},  # four batches an epoch
    "backbone": {"width": 16, "pair_width": 8, "blocks": 1, "heads": 8, "radial": 8, "irreps": "8x1o"},
    "preview": {"molecules": 2, "steps": 2},
}
TRAIN: dict[str, Any] = {
    "seed": 7, "steps": STEPS, "batch_size": 32, "learning_rate": 3e-3, "warmup": 2, "clip_norm": 10, "ema_decay": 0.9,
    "log_every": 1, "save_every": 3, "validate_every": 1000, "preview_every": 1000,
}  # fmt: skip


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


@dataclass
class Log:
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


@dataclass(frozen=True)
class FileLog:
    """One line of JSON for each call, on the disk before it returns; floats keep every bit."""

    path: Path

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps({"step": step, **metrics}) + "\n")

    def log_artifact(self, path: Path, artifact_path: str = "") -> None:
        raise AssertionError("nothing is logged here")


def bits(tensors: Mapping[str, Tensor]) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    def content(tensor: Tensor) -> bytes:
        return tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()

    return {name: (str(tensor.dtype), tuple(tensor.shape), content(tensor)) for name, tensor in tensors.items()}


def _train(folder: Path, sync: int | None) -> None:
    """The forked process: continue, and end as fit ends."""
    if sync is not None:
        real, left = os.fsync, sync

        def fsync(descriptor: int) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            real(descriptor)

        os.fsync = fsync
    fit(tiny_task(), train_config(), folder, FileLog(folder / "log.jsonl"), device="cpu")


def logged(folder: Path) -> list[dict[str, float]]:
    """The lines of a run's log; a kill may have cut the last one."""
    path = folder / "log.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("}")]


def _attempt(folder: Path, plan: Mapping[str, Any]) -> int:
    before = len(logged(folder))
    process = os.fork()
    if process == 0:
        status = 1
        try:
            _train(folder, plan.get("sync"))
            status = 0
        except SystemExit as stopped:
            status = int(stopped.code or 0)
        finally:
            os._exit(status)
    ended, status = 0, 0
    while "after" in plan and not ended and len(logged(folder)) - before < plan["after"]:
        time.sleep(0.001)
        ended, status = os.waitpid(process, os.WNOHANG)
    if not ended:
        if "after" in plan:
            time.sleep(plan.get("delay", 0.0))
            os.kill(process, signal.SIGTERM if plan.get("term") else signal.SIGKILL)
        status = os.waitpid(process, 0)[1]
    return os.waitstatus_to_exitcode(status)


def main() -> None:
    torch.set_num_threads(1)
    _pristine()
    statuses: dict[str, list[int]] = {}
    for folder, plans in json.loads(sys.argv[1]).items():
        Path(folder).mkdir(parents=True)
        statuses[folder] = [_attempt(Path(folder), plan) for plan in plans]
    print(json.dumps(statuses))


if __name__ == "__main__":
    main()
