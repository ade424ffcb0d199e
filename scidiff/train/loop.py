"""The fit loop: bit-identical continuation, an average of the weights, checkpoints, a progress bar, tracking.

All randomness is derived from (seed, epoch, step, example), so a checkpoint holds weights, the optimiser, the average and the number of the
step, and a continued run equals the uninterrupted one bit for bit (on a CPU with the same number of threads), whatever the number of
processes before and after.
"""

from __future__ import annotations

import json
import math
import signal
import time
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import TypeGuard

from scidiff.config import Scalar, flatten
from scidiff.signals import TERMINATED
from scidiff.train.checkpoint import CheckpointStore, save_weights
from scidiff.train.config import TrainConfig
from scidiff.train.gradients import Values
from scidiff.train.log import NoLog, RunLog
from scidiff.train.order import batches_per_epoch
from scidiff.train.progress import TrainProgress
from scidiff.train.ranks import Ranks
from scidiff.train.session import Session, TrainWarning
from scidiff.train.step import Diverged, take_step
from scidiff.train.task import Task
from scidiff.train.watch import Verdict

__all__ = ["Diverged", "NoLog", "RunLog", "Terminated", "TrainConfig", "TrainWarning", "fit"]


class Terminated(SystemExit):
    """SIGTERM: everything is saved; the exit status is 143."""


def fit(
    task: Task, config: TrainConfig, folder: Path, log: RunLog, *, device: str = "auto", resume: bool = True, until: int | None = None
) -> Path:
    """Train, and return the path of the final averaged weights, ``folder/weights.safetensors``.

    Continues from the newest good checkpoint in ``folder/checkpoints`` if ``resume``. ``until``: a step to end at, while the schedules
    follow ``config``: how a run that a clock ended is repeated. Under torchrun or srun every process calls this; the first one writes and
    logs. Raises :class:`Diverged` before a step whose loss or gradient is not finite, :class:`Terminated` (after
    saving) on SIGTERM, UserError for a batch size larger than the data or a checkpoint of another model.
    """
    batches_per_epoch(len(task.sizes), config.batch_size)
    folder.mkdir(parents=True, exist_ok=True)
    ranks = Ranks(device, config.precision)
    with ExitStack() as undo:
        undo.callback(ranks.close)
        store = CheckpointStore(folder / "checkpoints", keep=config.keep)
        run = Session(task, config, ranks, store, log if ranks.is_first else NoLog(), folder)
        if resume:
            run.resume()
        if config.compile:
            task.denoiser.backbone.compile(dynamic=False)
        previous = signal.signal(signal.SIGTERM, lambda number, frame: _request_stop(run, number, frame))
        undo.callback(signal.signal, signal.SIGTERM, previous)
        terminated = _train(run, config.steps if until is None else min(until, config.steps))
        if terminated:
            raise Terminated(TERMINATED)
        return _finish(run)


def _request_stop(run: Session, number: int, frame: FrameType | None) -> None:
    run.stop = True


def _train(run: Session, end: int) -> bool:
    """Step until ``end``, or until asked to stop (then True); everything is saved."""
    config, started, before = run.config, time.monotonic(), run.elapsed
    limit = math.inf if config.max_seconds is None else config.max_seconds
    done, told = run.watch.is_over, False
    with TrainProgress(config.steps, config.batch_size, run.step, limit, shown=run.ranks.is_first) as progress:
        while run.step < end and not done and not told:
            values, told = take_step(run)
            run.elapsed = before + time.monotonic() - started
            if values is not None:
                progress.update(run.step, {name.removeprefix("nats/"): v for name, v in values.items() if name.startswith("nats/")})
            done = _at_intervals(run, values)
            if config.max_seconds is not None:
                done = done or run.ranks.tell(b"1" if run.elapsed - before >= limit else b"0") == b"1"
    told = told or (run.ranks.world == 1 and run.stop)  # it came after the last gradient
    if run.saved != run.step:
        run.save()
    run.ranks.tell(b"")  # wait for the save: launchers end the first rank when another one has left
    return told


def _at_intervals(run: Session, values: Values | None) -> bool:
    """What is due after this step: logging, validation, samples, a checkpoint. Whether the training is over."""
    config, step = run.config, run.step
    for name, value in (values or {}).items():
        run.sums[name] += value
    run.sums["count"] += values is not None
    if step % config.log_every == 0:
        _log_means(run)
    verdict = _validate(run) if step % config.validate_every == 0 else None
    if step % config.preview_every == 0 and run.ranks.is_first:
        preview = run.task.preview(run.average, run.folder / "previews", step)
        run.log.log_metrics({f"sample/{k}": v for k, v in preview.metrics.items()}, step)
        for path in preview.files:
            run.log.log_artifact(path, "samples")
    if step % config.save_every == 0 or (verdict is not None and (verdict.best or verdict.stop)):
        # Last: what a kill interrupts is then done again, and no measurement of this step is missed.
        run.save(best=verdict is not None and verdict.best)
    return verdict is not None and verdict.stop


def _log_means(run: Session) -> None:
    count = run.sums.pop("count")
    metrics = {f"train/{k}": v / count for k, v in run.sums.items()} if count else {}
    metrics |= {"train/learning_rate": run.optimizer.param_groups[0]["lr"], "train/seconds": run.elapsed}
    if run.config.clip == "seen":
        metrics["train/clip_limit"] = run.clipper.limit
    if run.skipped:
        metrics["train/skipped"] = run.skipped
    run.log.log_metrics(metrics, run.step)
    run.sums.clear()


def _validate(run: Session) -> Verdict:
    """By the first rank, which tells the others what follows from it."""
    verdict = Verdict({}, False, False, None)
    if run.ranks.is_first:
        verdict = run.watch.validate(run.average, run.step)
        run.log.log_metrics(verdict.metrics, run.step)
        if verdict.warning:
            run.say(verdict.warning)
        if verdict.best and run.config.keeps_best:
            path = run.folder / "best.safetensors"
            save_weights(path, dict(run.average.state_dict()), _metadata(run))
            run.log.log_checkpoint(path, run.step, verdict.metrics)
    best, stop = json.loads(run.ranks.tell(json.dumps([verdict.best, verdict.stop]).encode()))
    return Verdict(verdict.metrics, best, stop, None)


def _metadata(run: Session) -> dict[str, object]:
    return {**run.task.metadata(), "train": run.config.model_dump(mode="json"), "step": run.step, "seconds": round(run.elapsed)}


def _finish(run: Session) -> Path:
    """What is fitted after training, and the file of the final weights; by the first rank."""
    weights = run.folder / "weights.safetensors"
    if not run.ranks.is_first:
        return weights
    step = run.take_best() if run.config.keeps_best else run.step
    fitted = run.task.finish(run.average)
    numbers = {f"final/{name}": float(value) for name, value in flatten(fitted).items() if _is_number(value)}
    if numbers:
        run.log.log_metrics(numbers, run.step)
    save_weights(weights, dict(run.average.state_dict()), {**_metadata(run), "step": step, **fitted})
    run.log.log_checkpoint(weights, run.step, numbers)
    return weights


def _is_number(value: Scalar) -> TypeGuard[float | int]:
    return isinstance(value, float | int) and not isinstance(value, bool)
