"""One optimiser step: the batch of its number, the gradient, the checks before anything is changed."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

import torch
from torch import Tensor

from scidiff.errors import UserError
from scidiff.files import atomic_write
from scidiff.objective import Loss
from scidiff.random import Noise, StreamNoise, stratified, stream_key
from scidiff.train.ema import update_ema
from scidiff.train.gradients import Values
from scidiff.train.order import batches_per_epoch, epoch_batches
from scidiff.train.rates import rate_factor
from scidiff.train.session import Session
from scidiff.train.task import Batch
from scidiff.train.weights import encode


class Diverged(UserError):
    """The loss or a gradient is not finite. The weights are those before the step; the batch is written out."""


def take_step(run: Session) -> tuple[Values | None, bool]:
    """One step; the means of the losses (None for a batch that was left out), and whether some process was asked to stop.

    Raises :class:`Diverged`, before anything is changed, where the loss or the gradient is not finite and ``on_nan`` does not allow it.
    """
    config = run.config
    examples, epoch = _examples(run)
    u = stratified(config.seed, run.step, torch.arange(len(examples)), config.batch_size)
    coin = StreamNoise(stream_key(config.seed, "self-conditioning"), torch.tensor([run.step]), 0).flat_uniform(1).item()

    batches: dict[int, Batch] = {}

    def compute(begin: int, end: int) -> Mapping[str, Tensor]:
        batches[begin] = run.task.batch(examples[begin:end])
        loss = _loss(run, batches[begin], examples[begin:end], u[begin:end], epoch, coin < config.self_conditioning)
        parts = {f"loss/{name}": term for name, term in loss.terms.items()} | {f"nats/{name}": nats for name, nats in loss.nats.items()}
        return {"loss": loss.total} | parts

    values, stop = run.accumulator(config.batch_size, config.accumulate, compute, lambda: run.stop)
    for group in run.optimizer.param_groups:
        group["lr"] = config.learning_rate * rate_factor(config, run.step)
    norm = run.clipper.clip(run.parameters)
    if not (math.isfinite(values["loss"]) and math.isfinite(norm)):
        _leave_out(run, values["loss"], norm, examples, batches)
        return None, stop
    run.optimizer.step()
    run.optimizer.zero_grad(set_to_none=True)
    update_ema(run.average, run.task.denoiser, config.ema_decay, run.step)
    run.step += 1
    return values | {"gradient_norm": norm}, stop


def _examples(run: Session) -> tuple[Tensor, int]:
    """The numbers of the current step's examples, in the order of the global batch, and its epoch."""
    config, sizes = run.config, run.task.sizes
    epoch, place = divmod(run.step, batches_per_epoch(len(sizes), config.batch_size))
    if run.epoch is None or run.epoch[0] != epoch:
        run.epoch = (epoch, epoch_batches(config.seed, epoch, sizes, config.batch_size))
    return run.epoch[1][place], epoch


def _loss(run: Session, batch: Batch, examples: Tensor, u: Tensor, epoch: int, self_condition: bool) -> Loss:
    device = run.ranks.device
    batch = batch.to(device)
    with run.ranks.fabric.autocast():
        return run.task.objective(
            run.task.denoiser,
            batch.state,
            batch.layouts,
            Noise(run.config.seed, examples.to(device)),
            u.to(device),
            step=epoch,
            condition=batch.condition,
            self_condition=self_condition,
        )


def _leave_out(run: Session, loss: float, norm: float, examples: Tensor, batches: Mapping[int, Batch]) -> None:
    """Write the batch down (of several processes' parts the first one's); then leave it out, if it is allowed."""
    where = f"loss {loss} and gradient norm {norm} at step {run.step}"
    report = run.folder / f"diverged-step-{run.step}.json"
    run.optimizer.zero_grad(set_to_none=True)
    if run.ranks.is_first:
        facts = {"step": run.step, "loss": str(loss), "gradient_norm": str(norm), "examples": examples.tolist()}
        tensors, state = run.snapshot()
        for begin, batch in batches.items():
            prefix = "batch" if len(batches) == 1 else f"batch/{begin}"
            tensors |= {f"{prefix}/{name}": tensor for name, tensor in batch.state.items()}
        atomic_write(report.with_suffix(".safetensors"), encode(tensors, facts | state))
        atomic_write(report, json.dumps(facts).encode())
    if run.config.on_nan == "skip" and run.skipped < run.config.nan_budget:
        run.skipped += 1
        run.say(f"{where}: left out ({run.skipped} of {run.config.nan_budget} that are allowed); the batch is in {report}")
        run.step += 1
        return
    spent = f" {run.skipped} batches were left out before, as many as train.nan_budget allows." if run.skipped else ""
    raise Diverged(
        f"{where}: stopped before the step.{spent} The numbers of the batch's examples are in {report}, the batch and the run's state "
        f"beside it; continue from the last checkpoint with a lower train.learning_rate or train.clip_norm, or leave such batches out "
        f"with --on-nan skip"
    )
