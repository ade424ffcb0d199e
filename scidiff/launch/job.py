"""What a job runs: a training, the runs of a sweep, or their comparison."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from scidiff.config import Config, to_yaml
from scidiff.errors import UserError
from scidiff.files import atomic_write
from scidiff.launch.resources import Resources
from scidiff.sweep.plan import Plan
from scidiff.sweep.runner import prepare, trial_command

__all__ = ["Job", "sweep_jobs", "train_job"]

LOGS = "slurm"
ARRAY_TASK = '"$SLURM_ARRAY_TASK_ID"'


@dataclass(frozen=True)
class Job:
    """``command`` is a line of shell that every process runs; ``folder`` is where scripts and what they print go."""

    name: str
    folder: Path
    command: str
    resources: Resources
    requeue: bool = True


def train_job(recipe: Config, out: Path, resources: Resources, tracking_uri: str | None = None) -> Job:
    """The training of a recipe. It is written to ``out/slurm`` as it is now: what waits in a queue does not change with the file."""
    if resources.array is not None:
        raise UserError("--array is for a recipe with a sweep block: a training is one task")
    out = out.absolute()
    folder = out / LOGS
    folder.mkdir(parents=True, exist_ok=True)
    written = folder / "recipe.yaml"
    atomic_write(written, to_yaml(recipe).encode())
    command = [sys.executable, "-m", "scidiff", "train", str(written), "--out", str(out), "--device", _device(resources)]
    return Job(f"scidiff-{out.name}", folder, _line(command, tracking_uri), resources)


def sweep_jobs(plan: Plan, out: Path, resources: Resources, tracking_uri: str | None = None) -> tuple[Job, Job]:
    """The runs of a sweep as the tasks of an array, as many at once as its ``parallel``; and the comparison, to come after them."""
    out = out.absolute()
    written = prepare(plan, out)
    folder = out / LOGS
    folder.mkdir(parents=True, exist_ok=True)
    array = resources.array or f"0-{len(plan.trials) - 1}%{plan.config.parallel}"
    command = trial_command(written, out, tracking_uri, _device(resources))
    runs = Job(f"scidiff-{out.name}", folder, f"{shlex.join(command)} {ARRAY_TASK}", replace(resources, array=array))
    alone = replace(resources, nodes=1, gpus=0, tasks=1, cpus_per_task=None, mem=None, array=None, time="0:30:00")
    report = [sys.executable, "-m", "scidiff", "sweep", str(written), "--out", str(out), "--report"]
    return runs, Job(f"scidiff-{out.name}-report", folder, _line(report, tracking_uri), alone, requeue=False)


def _device(resources: Resources) -> str:
    """Said outright: a node whose GPU cannot be used must not train on its CPU for a day."""
    return "cuda" if resources.gpus else "cpu"


def _line(command: Sequence[str], tracking_uri: str | None) -> str:
    return shlex.join([*command, *(["--tracking-uri", tracking_uri] if tracking_uri else [])])


def as_parameters(job: Job) -> dict[str, Any]:
    """What submitit's executor for SLURM is told."""
    found = job.resources.for_slurm()
    if job.resources.array is not None:
        found["additional_parameters"]["array"] = job.resources.array
    return {**found, "job_name": job.name, "setup": _setup(job), "teardown": _teardown(job)}


def _setup(job: Job) -> list[str]:
    return [
        *job.resources.setup,
        'MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)',
        "MASTER_PORT=$((20000 + SLURM_JOB_ID % 40000))",
        "OMP_NUM_THREADS=${OMP_NUM_THREADS:-${SLURM_CPUS_PER_TASK:-1}}",
        "export MASTER_ADDR MASTER_PORT OMP_NUM_THREADS",
    ]


def _teardown(job: Job) -> list[str]:
    """The script ends as its processes did; but 143 means that they were told to stop, and have saved: back into the queue then."""
    if not job.requeue or not job.resources.requeues:
        return []
    return [
        "status=$?",
        f'if [ "$status" -eq 143 ] && [ "${{SLURM_RESTART_COUNT:-0}}" -lt {job.resources.requeues} ]; then',
        "    # An array's last task has the number of the whole array, so a task is named by both of its numbers.",
        '    scontrol requeue "${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_}${SLURM_ARRAY_TASK_ID:-$SLURM_JOB_ID}"',
        "fi",
        'exit "$status"',
    ]
