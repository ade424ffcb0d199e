"""The fit loop: bit-identical continuation, an average of the weights, checkpoints, a progress bar, tracking.

All randomness is derived from (seed, epoch, step, example), so a checkpoint holds weights, the optimiser, the average and the number of the
step, and a continued run equals the uninterrupted one bit for bit (on a CPU with the same number of threads).
"""

from __future__ import annotations

import copy
import json
import math
import signal
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Literal, Protocol, TypeGuard, runtime_checkable

import torch
from lightning_fabric import Fabric
from pydantic import Field
from torch import Tensor

from scidiff.config import Config, Scalar, flatten
from scidiff.denoiser import Denoiser
from scidiff.errors import UserError
from scidiff.files import atomic_write
from scidiff.objective import Loss
from scidiff.process import Layouts, State
from scidiff.random import Noise, StreamNoise, stratified, stream_key
from scidiff.train.checkpoint import CheckpointError, CheckpointStore, flatten_optimizer, restore_optimizer, save_weights
from scidiff.train.ema import update_ema
from scidiff.train.order import batches_per_epoch, epoch_batches
from scidiff.train.progress import TrainProgress
from scidiff.train.task import Batch, Task
from scidiff.train.weights import encode


class TrainConfig(Config):
    """How to train. Times are counted in optimiser steps."""

    seed: int = Field(default=0, ge=0)
    steps: int = Field(default=10_000, ge=1)
    batch_size: int = Field(default=256, ge=1)
    learning_rate: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    beta2: float = Field(default=0.99, gt=0, lt=1)
    warmup: int = Field(default=500, ge=0)
    cooldown: float = Field(default=0.3, ge=0, le=1, description="the last share of the steps, in which the rate falls linearly to 0")
    clip_norm: float = Field(default=1.0, gt=0)
    ema_decay: float = Field(default=0.999, ge=0, lt=1)
    self_conditioning: float = Field(default=0.5, ge=0, le=1, description="how often the network is shown its own answer")
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    compile: bool = False
    log_every: int = Field(default=20, ge=1)
    save_every: int = Field(default=500, ge=1)
    validate_every: int = Field(default=1000, ge=1)
    preview_every: int = Field(default=2000, ge=1)
    keep: int = Field(default=2, ge=1)
    max_seconds: float | None = Field(default=None, gt=0, description="stop (and save) after this long, whatever the step")


@runtime_checkable
class RunLog(Protocol):
    """What the loop tells a tracker."""

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None: ...

    def log_artifact(self, path: Path, artifact_path: str = "") -> None: ...


class Diverged(UserError):
    """The loss or a gradient is not finite. The weights are those before the step; the batch is written out."""


class Terminated(SystemExit):
    """SIGTERM: everything is saved; the exit status is 143."""


@dataclass
class _Run:
    """What changes while training, and where it is kept."""

    task: Task
    config: TrainConfig
    fabric: Fabric
    store: CheckpointStore
    log: RunLog
    folder: Path
    step: int = 0
    elapsed: float = 0.0
    stop: bool = False
    average: Denoiser = field(init=False)
    optimizer: torch.optim.AdamW = field(init=False)
    sums: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    epoch: tuple[int, Tensor] | None = None


def fit(task: Task, config: TrainConfig, folder: Path, log: RunLog, *, device: str = "auto", resume: bool = True) -> Path:
    """Train, and return the path of the final averaged weights, ``folder/weights.safetensors``.

    Continues from the newest good checkpoint in ``folder/checkpoints`` if ``resume``. Raises :class:`Diverged` before a step whose loss
    or gradient is not finite, :class:`Terminated` (after saving) on SIGTERM, UserError for a batch size larger than the data or a
    checkpoint of another model.
    """
    batches_per_epoch(len(task.sizes), config.batch_size)
    folder.mkdir(parents=True, exist_ok=True)
    fabric = Fabric(accelerator="auto" if device == "auto" else device, devices=1, precision=config.precision)
    run = _Run(task, config, fabric, CheckpointStore(folder / "checkpoints", keep=config.keep), log, folder)
    _set_up(run, resume)
    previous = signal.signal(signal.SIGTERM, lambda number, frame: _request_stop(run, number, frame))
    started, before = time.monotonic(), run.elapsed
    limit = math.inf if config.max_seconds is None else config.max_seconds
    try:
        with TrainProgress(config.steps, config.batch_size, run.step, limit) as progress:
            while run.step < config.steps and run.elapsed - before < limit and not run.stop:
                loss = _step(run)
                run.elapsed = before + time.monotonic() - started
                progress.update(run.step, {name: value.mean().item() for name, value in loss.nats.items()})
                _at_intervals(run, loss)
        _save(run)
    finally:
        signal.signal(signal.SIGTERM, previous)
    if run.stop:
        raise Terminated(143)
    fitted = task.finish(run.average)
    if fitted:
        log.log_metrics({f"final/{name}": float(value) for name, value in flatten(fitted).items() if _is_number(value)}, run.step)
    metadata = {**task.metadata(), **fitted, "train": config.model_dump(mode="json"), "step": run.step, "seconds": round(run.elapsed)}
    weights = folder / "weights.safetensors"
    save_weights(weights, dict(run.average.state_dict()), metadata)
    return weights


def _is_number(value: Scalar) -> TypeGuard[float | int]:
    return isinstance(value, float | int) and not isinstance(value, bool)


def _request_stop(run: _Run, number: int, frame: FrameType | None) -> None:
    run.stop = True


def _set_up(run: _Run, resume: bool) -> None:
    config = run.config
    denoiser = run.task.denoiser.to(run.fabric.device).train()
    run.average = copy.deepcopy(denoiser).requires_grad_(False).eval()
    run.optimizer = torch.optim.AdamW(
        denoiser.parameters(), lr=config.learning_rate, betas=(0.9, config.beta2), weight_decay=config.weight_decay, foreach=True
    )
    found = run.store.latest() if resume else None
    if found is not None:
        parts: dict[str, dict[str, Tensor]] = defaultdict(dict)
        for name, tensor in found.tensors.items():
            part, key = name.split("/", 1)
            parts[part][key] = tensor
        try:
            denoiser.load_state_dict(parts["weights"])
            run.average.load_state_dict(parts["average"])
        except RuntimeError as error:
            remedy = "continue with the configuration it was made with, or start anew in another folder"
            raise CheckpointError(f"{found.path}: the checkpoint is of another model: {remedy} ({error})") from error
        restore_optimizer(run.optimizer, parts["optimizer"], found.state["optimizer"])
        run.step, run.elapsed = found.step, found.state["elapsed"]
        run.sums.update(found.state.get("sums", {}))
    if config.compile:
        denoiser.backbone.compile(dynamic=False)


def _batch(run: _Run) -> tuple[Batch, Tensor, int]:
    """The batch of the current step, the numbers of its examples, and its epoch."""
    config, sizes = run.config, run.task.sizes
    epoch, place = divmod(run.step, batches_per_epoch(len(sizes), config.batch_size))
    if run.epoch is None or run.epoch[0] != epoch:
        run.epoch = (epoch, epoch_batches(config.seed, epoch, sizes, config.batch_size))
    examples = run.epoch[1][place]
    batch = run.task.batch(examples)
    device = run.fabric.device
    if device.type == "cpu":
        return batch, examples, epoch
    state: State = {k: v.to(device, non_blocking=True) for k, v in batch.state.items()}
    layouts: Layouts = {k: v.to(device) for k, v in batch.layouts.items()}
    condition = None if batch.condition is None else {k: v.to(device) for k, v in batch.condition.items()}
    return Batch(state, layouts, condition), examples.to(device), epoch


def _step(run: _Run) -> Loss:
    config = run.config
    batch, examples, epoch = _batch(run)
    u = stratified(config.seed, run.step, torch.arange(len(examples)), config.batch_size).to(run.fabric.device)
    coin = StreamNoise(stream_key(config.seed, "self-conditioning"), torch.tensor([run.step]), 0).flat_uniform(1).item()
    with run.fabric.autocast():
        loss = run.task.objective(
            run.task.denoiser,
            batch.state,
            batch.layouts,
            Noise(config.seed, examples),
            u,
            step=epoch,
            condition=batch.condition,
            self_condition=coin < config.self_conditioning,
        )
    for group in run.optimizer.param_groups:
        group["lr"] = config.learning_rate * _rate(config, run.step)
    mean = loss.total.mean()
    run.fabric.backward(mean.float())
    norm = torch.nn.utils.clip_grad_norm_(run.task.denoiser.parameters(), config.clip_norm)
    _check_finite(run, mean, norm, examples, batch)
    run.optimizer.step()
    run.optimizer.zero_grad(set_to_none=True)
    update_ema(run.average, run.task.denoiser, config.ema_decay, run.step)
    run.sums["gradient_norm"] += norm.item()
    run.step += 1
    return loss


def _rate(config: TrainConfig, step: int) -> float:
    """Linear warm-up, a plateau, a linear fall to 0 over the last share of the steps (which a longer run can postpone)."""
    up = (step + 1) / max(config.warmup, 1)
    down = (config.steps - step) / max(config.cooldown * config.steps, 1)
    return min(1.0, up, down)


def _check_finite(run: _Run, loss: Tensor, norm: Tensor, examples: Tensor, batch: Batch) -> None:
    if math.isfinite(loss.item()) and math.isfinite(norm.item()):
        return
    report = run.folder / f"diverged-step-{run.step}.json"
    numbers = [int(example) for example in examples]
    facts = {"step": run.step, "loss": str(loss.item()), "gradient_norm": str(norm.item()), "examples": numbers}
    tensors, state = _snapshot(run)
    tensors |= {f"batch/{name}": tensor for name, tensor in batch.state.items()}
    atomic_write(report.with_suffix(".safetensors"), encode(tensors, facts | state))
    atomic_write(report, json.dumps(facts).encode())
    raise Diverged(
        f"loss {loss.item()} and gradient norm {norm.item()} at step {run.step}: stopped before the step. The numbers of the batch's "
        f"examples are in {report}, the batch and the run's state beside it; continue from the last checkpoint with a lower "
        f"train.learning_rate or train.clip_norm"
    )


def _at_intervals(run: _Run, loss: Loss) -> None:
    config = run.config
    run.sums["loss"] += loss.total.mean().item()
    for name in loss.terms:
        run.sums[f"loss/{name}"] += loss.terms[name].mean().item()
        run.sums[f"nats/{name}"] += loss.nats[name].mean().item()
    run.sums["count"] += 1
    if run.step % config.log_every == 0:
        count = run.sums.pop("count")
        metrics = {f"train/{k}": v / count for k, v in run.sums.items()}
        metrics |= {"train/learning_rate": run.optimizer.param_groups[0]["lr"], "train/seconds": run.elapsed}
        run.log.log_metrics(metrics, run.step)
        run.sums.clear()
    if run.step % config.validate_every == 0:
        run.log.log_metrics({f"valid/{k}": v for k, v in run.task.validate(run.average).items()}, run.step)
    if run.step % config.preview_every == 0:
        preview = run.task.preview(run.average, run.folder / "previews", run.step)
        run.log.log_metrics({f"sample/{k}": v for k, v in preview.metrics.items()}, run.step)
        for path in preview.files:
            run.log.log_artifact(path, "samples")
    if run.step % config.save_every == 0:
        _save(run)  # last: what a kill interrupts is then done again, and no measurement of this step is missed


def _save(run: _Run) -> None:
    run.store.save(run.step, *_snapshot(run))


def _snapshot(run: _Run) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """All that a continued run needs, as named tensors and JSON."""
    tensors, state = flatten_optimizer(run.optimizer)
    parts = {"weights": run.task.denoiser.state_dict(), "average": run.average.state_dict(), "optimizer": tensors}
    flat = {f"{part}/{name}": tensor for part, group in parts.items() for name, tensor in group.items()}
    return flat, {"optimizer": state, "elapsed": run.elapsed, "sums": dict(run.sums)}
