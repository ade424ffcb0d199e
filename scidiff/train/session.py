"""All that changes while training, and how it goes into a checkpoint and comes back."""

from __future__ import annotations

import copy
import warnings
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from scidiff.denoiser import Denoiser
from scidiff.memory import Room
from scidiff.train.checkpoint import Checkpoint, CheckpointError, CheckpointStore, flatten_optimizer, restore_optimizer
from scidiff.train.clipping import Clipper
from scidiff.train.config import TrainConfig
from scidiff.train.gradients import Accumulator
from scidiff.train.log import RunLog
from scidiff.train.ranks import Ranks
from scidiff.train.task import Task
from scidiff.train.watch import Watch
from scidiff.train.weights import decode, encode


class TrainWarning(UserWarning):
    """Something about a training that its user should know and that does not stop it."""


@dataclass
class Session:
    """A training under way."""

    task: Task
    config: TrainConfig
    ranks: Ranks
    store: CheckpointStore
    log: RunLog
    folder: Path
    step: int = 0
    elapsed: float = 0.0
    skipped: int = 0
    saved: int | None = None
    stop: bool = False
    sums: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    epoch: tuple[int, Tensor] | None = None
    parameters: list[nn.Parameter] = field(init=False)
    average: Denoiser = field(init=False)
    optimizer: torch.optim.AdamW = field(init=False)
    accumulator: Accumulator = field(init=False)
    clipper: Clipper = field(init=False)
    watch: Watch = field(init=False)

    def __post_init__(self) -> None:
        config, denoiser = self.config, self.task.denoiser.to(self.ranks.device).train()
        self.parameters = list(denoiser.parameters())
        self.average = copy.deepcopy(denoiser).requires_grad_(False).eval()
        self.optimizer = torch.optim.AdamW(
            self.parameters, lr=config.learning_rate, betas=(0.9, config.beta2), weight_decay=config.weight_decay, foreach=True
        )
        self.accumulator = Accumulator(self.ranks, self.parameters, Room())
        self.clipper, self.watch = Clipper(config), Watch(self.task, config.patience)

    def resume(self) -> None:
        """Continue from the newest good checkpoint, if there is one: the first rank reads it, and tells the others."""
        found = self.store.latest() if self.ranks.is_first else None
        if found is not None:
            self.store.tidy(found)
        if self.ranks.world > 1:
            content = None if found is None else encode(found.tensors, {"step": found.step, "state": found.state})
            told = self.ranks.tell(content)
            if told and not self.ranks.is_first:
                tensors, said = decode("the first process", told)
                found = Checkpoint(said["step"], tensors, said["state"], self.folder)
        if found is not None:
            self._restore(found)

    def snapshot(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """All that a continued run needs, as named tensors and JSON."""
        tensors, optimizer = flatten_optimizer(self.optimizer)
        parts = {"weights": self.task.denoiser.state_dict(), "average": self.average.state_dict(), "optimizer": tensors}
        flat = {f"{part}/{name}": tensor for part, group in parts.items() for name, tensor in group.items()}
        state = {
            "optimizer": optimizer,
            "elapsed": self.elapsed,
            "sums": dict(self.sums),
            "skipped": self.skipped,
            "rows": self.accumulator.room.size,
            "norms": list(self.clipper.seen),
            "watch": self.watch.state(),
        }
        return flat, state

    def save(self, best: bool = False) -> None:
        """Write a checkpoint, on the first rank."""
        self.saved = self.step
        if self.ranks.is_first:
            self.store.save(self.step, *self.snapshot(), best=best)

    def take_best(self) -> int:
        """Take the averaged weights of the best validation, where one was kept; the step they are of."""
        found = self.store.best()
        if found is None:
            return self.step
        self.average.load_state_dict(_part(found, "average"))
        return found.step

    def say(self, message: str) -> None:
        """Warn the user, once, by the first rank."""
        if self.ranks.is_first:
            warnings.warn(message, TrainWarning, stacklevel=3)

    def _restore(self, found: Checkpoint) -> None:
        try:
            self.task.denoiser.load_state_dict(_part(found, "weights"))
            self.average.load_state_dict(_part(found, "average"))
        except RuntimeError as error:
            remedy = "continue with the configuration it was made with, or start anew in another folder"
            raise CheckpointError(f"{found.path}: the checkpoint is of another model: {remedy} ({error})") from error
        restore_optimizer(self.optimizer, _part(found, "optimizer"), found.state["optimizer"])
        self.step, self.saved, self.elapsed = found.step, found.step, found.state["elapsed"]
        self.sums.update(found.state.get("sums", {}))
        self.skipped = found.state.get("skipped", 0)
        self.accumulator.room.size = found.state.get("rows")
        self.clipper = Clipper(self.config, found.state.get("norms", ()))
        self.watch.restore(found.state.get("watch"))


def _part(found: Checkpoint, part: str) -> dict[str, Tensor]:
    return {name.removeprefix(f"{part}/"): tensor for name, tensor in found.tensors.items() if name.startswith(f"{part}/")}
