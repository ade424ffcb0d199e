"""One trial of a sweep, in this process: what each process of ``scidiff sweep`` does, and each task of a job array."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Generator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import typer

from scidiff.sweep.outcome import is_finished
from scidiff.sweep.plan import Plan
from scidiff.tracking import default_tracking_uri
from scidiff.tracking.forward import read_sent
from scidiff.tracking.spool import folder_of, read_identity

__all__ = ["PARENT", "SWEEP", "run_trial", "trial_tags"]

PARENT = "mlflow.parentRunId"
SWEEP = "scidiff.sweep"


def run_trial(plan: Plan, number: int, out: Path, *, tracking_uri: str | None = None, device: str = "auto") -> None:
    """Train the trial of that number in its folder, or continue it; one that is finished is left alone.

    Where another process is at it (its sweep was killed, and it was not), wait for that one to end first.
    """
    from scidiff.train.place import place
    from scidiff.train.run import run_recipe

    trial = plan.trial(number)
    folder = out / trial.name
    with _alone(folder) if place()[1] == 1 else nullcontext():
        if is_finished(folder):
            typer.echo(f"{folder}: finished before")
            return
        tags = {**trial_tags(number, out, tracking_uri or default_tracking_uri()), "mlflow.runName": f"{out.name} {number}: {trial.text}"}
        weights = run_recipe(plan.domain, trial.recipe, folder, tracking_uri=tracking_uri, device=device, tags=tags)
    typer.echo(f"weights: {weights}")


def trial_tags(number: int, out: Path, tracking_uri: str) -> dict[str, str]:
    """Which sweep the trial of that number belongs to: the local id of the sweep's run, and its id in the store as soon as it has one."""
    record = folder_of(out)
    parent = read_identity(record)
    if parent is None:
        return {}
    tags = {SWEEP: parent.local_id, f"{SWEEP}.run": str(number)}
    sent = read_sent(record, tracking_uri)
    return tags if sent.run_id is None else {**tags, PARENT: sent.run_id}


@contextmanager
def _alone(folder: Path) -> Generator[None]:
    """Inside, no other process is at this trial. The system lets go of the lock whatever ends the process."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / "trial.lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            typer.echo(f"{folder}: another process is at this run; waiting for it to end")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError:
            pass  # a file system without locks; the tracker refuses a second writer where it can
        yield
    finally:
        os.close(descriptor)
