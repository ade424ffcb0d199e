"""A whole sweep on this machine: its run in the tracker, the trials in processes of their own, the comparison at the end."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

import yaml
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from scidiff.config import flatten
from scidiff.config.reader import CoreDumper
from scidiff.files import atomic_write
from scidiff.signals import TERMINATED
from scidiff.sweep.compare import compare
from scidiff.sweep.link import link_runs
from scidiff.sweep.outcome import Outcome, check_folder, read_outcome
from scidiff.sweep.plan import Plan
from scidiff.sweep.processes import Work, run_all
from scidiff.tracking import OFF, Tracker, default_tracking_uri

__all__ = ["SweepIncomplete", "collect", "prepare", "run_sweep", "sweep_run", "trial_command"]

LOG = "output.log"
SECONDS_TO_ATTACH = 60.0


class SweepIncomplete(Exception):
    """Some trials have not finished; the message names each, and says why."""


def prepare(plan: Plan, out: Path) -> Path:
    """Check the folder, and write what was planned, overrides included, to ``out/sweep.yaml``: what every process then reads."""
    check_folder(plan, out)
    out.mkdir(parents=True, exist_ok=True)
    path = out / "sweep.yaml"
    atomic_write(path, yaml.dump(plan.written, Dumper=CoreDumper, sort_keys=False, allow_unicode=True).encode())
    return path


def trial_command(written: Path, out: Path, tracking_uri: str | None, device: str) -> list[str]:
    """The command that runs a trial, but for its number, which comes last."""
    command = [sys.executable, "-m", "scidiff", "sweep", str(written), "--out", str(out), "--device", device]
    return [*command, *(["--tracking-uri", tracking_uri] if tracking_uri else []), "--run"]


def run_sweep(
    plan: Plan, out: Path, *, parallel: int | None = None, tracking_uri: str | None = None, device: str = "auto"
) -> list[Outcome]:
    """Run what is not finished yet, and compare. Raises :class:`SweepIncomplete` in the end if a trial has not finished."""
    written = prepare(plan, out)
    with sweep_run(plan, out, tracking_uri) as tracker:
        tracker.log_artifact(written)
        statuses = _run_trials(plan, out, trial_command(written, out, tracking_uri, device), parallel or plan.config.parallel, device)
        return _conclude(plan, out, tracker, tracking_uri, statuses)


def collect(plan: Plan, out: Path, *, tracking_uri: str | None = None) -> list[Outcome]:
    """Start nothing; compare what is there, as after a job array. Raises :class:`SweepIncomplete` if a trial has not finished."""
    prepare(plan, out)
    with sweep_run(plan, out, tracking_uri) as tracker:
        return _conclude(plan, out, tracker, tracking_uri, {})


@contextmanager
def sweep_run(plan: Plan, out: Path, tracking_uri: str | None) -> Generator[Tracker]:
    """The run of the sweep itself, the parent of those of its trials; known to the store, if that answers, before the first one starts."""
    tags = {"scidiff.domain": plan.domain.name, "scidiff.sweep.kind": plan.config.kind, "scidiff.sweep.runs": len(plan.trials)}
    params = flatten({"sweep": plan.config.model_dump(mode="json", exclude_none=True)})
    with Tracker.start(out.name, out, params, tags, tracking_uri) as tracker:
        if (tracking_uri or default_tracking_uri()) != OFF:
            end = time.monotonic() + SECONDS_TO_ATTACH
            with Console(stderr=True).status("telling the tracking store"):
                while tracker.run_id is None and tracker.failure is None and time.monotonic() < end:
                    time.sleep(0.05)
        yield tracker


def _conclude(plan: Plan, out: Path, tracker: Tracker, tracking_uri: str | None, statuses: dict[str, int]) -> list[Outcome]:
    outcomes = [read_outcome(trial, out / trial.name, plan.config.metric) for trial in plan.trials]
    compare(plan, out, outcomes, tracker)
    link_runs(out, tracking_uri or default_tracking_uri(), tracker.run_id)
    unfinished = [outcome for outcome in outcomes if outcome.status != "finished"]
    if unfinished:
        listed = "\n".join(f"  {_why(outcome, statuses.get(outcome.trial.name))}" for outcome in unfinished)
        remedy = "the same command continues them, and leaves those that are finished alone"
        raise SweepIncomplete(f"{len(unfinished)} of {len(outcomes)} runs have not finished; {remedy}:\n{listed}")
    return outcomes


def _run_trials(plan: Plan, out: Path, command: list[str], parallel: int, device: str) -> dict[str, int]:
    """Exit statuses by the trial's name."""
    works = [
        Work(trial.name, [*command, str(trial.number)], out / trial.name / LOG)
        for trial in plan.trials
        if read_outcome(trial, out / trial.name, plan.config.metric).status != "finished"
    ]
    texts = {trial.name: trial.text for trial in plan.trials}
    statuses: dict[str, int] = {}
    columns = (BarColumn(bar_width=20), MofNCompleteColumn(), TextColumn("runs"), TextColumn("{task.fields[now]}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("sweep", total=len(plan.trials), completed=len(plan.trials) - len(works), now="")
        running: list[str] = []

        def started(work: Work) -> None:
            running.append(work.name)
            progress.update(task, now=" ".join(running))

        def ended(work: Work, status: int) -> None:
            running.remove(work.name)
            statuses[work.name] = status
            progress.update(task, advance=status == 0, now=" ".join(running))
            verdict = "finished" if status == 0 else f"exit status {status}"
            progress.console.print(f"{work.name}: {verdict} ({texts[work.name]})", markup=False, highlight=False, soft_wrap=True)

        run_all(works, parallel, _gpus(device), started=started, ended=ended)
    return statuses


def _gpus(device: str) -> list[str]:
    """The GPUs to hand out, where there is more than one."""
    if device == "cpu":
        return []
    import torch

    count = torch.cuda.device_count()
    named = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return (named or [str(number) for number in range(count)]) if count > 1 else []


def _why(outcome: Outcome, status: int | None) -> str:
    what = f"{outcome.trial.name} ({outcome.trial.text})"
    if status is None:
        return f"{what}: {outcome.status}"
    if status in (TERMINATED, -15, -9):
        return f"{what}: was killed, with what it had saved"
    return f"{what}: exit status {status}: {_last_line(outcome.folder / LOG)} ({outcome.folder / LOG})"


def _last_line(path: Path) -> str:
    try:
        lines: Sequence[str] = [line.strip() for line in path.read_text(errors="replace").splitlines() if line.strip()]
    except OSError:
        lines = []
    return lines[-1][:300] if lines else "it said nothing"
