"""What ``scidiff launch slurm`` does: read and check the recipe, write the scripts, submit them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import typer

from scidiff.config import read_config
from scidiff.domain import read_recipe
from scidiff.errors import UserError
from scidiff.files import atomic_write
from scidiff.launch.job import Job, sweep_jobs, train_job
from scidiff.launch.resources import Resources
from scidiff.sweep.config import has_sweep
from scidiff.sweep.plan import read_plan
from scidiff.sweep.runner import sweep_run

__all__ = ["launch_slurm"]


def launch_slurm(
    config: Path,
    overrides: Sequence[str],
    out: Path,
    resources: Resources,
    tracking_uri: str | None,
    *,
    report: bool,
    dry_run: bool,
    here: bool,
) -> None:
    """Everything is checked here, before it waits in a queue. Raises :class:`~scidiff.errors.UserError` for what is wrong."""
    _check_submitit()
    document = read_config(config, overrides)
    if has_sweep(document):
        if here:
            raise UserError(f"--cluster local is for one training; run the sweep in processes on this machine with: scidiff sweep {config}")
        _launch_sweep(config, overrides, out, resources, tracking_uri, report=report, dry_run=dry_run)
        return
    job = train_job(read_recipe(document)[1], out, resources, tracking_uri)
    if here:
        _run_here(job, out)
    elif dry_run:
        _show(job, out / "slurm" / "job.sh")
    else:
        _submit(job)


def _launch_sweep(
    config: Path, overrides: Sequence[str], out: Path, resources: Resources, tracking_uri: str | None, *, report: bool, dry_run: bool
) -> None:
    plan = read_plan(config, overrides)
    runs, comparison = sweep_jobs(plan, out, resources, tracking_uri)
    if dry_run:
        _show(runs, out / "slurm" / "job.sh")
        if report:
            _show(comparison, out / "slurm" / "report.sh", before="ID=$(sbatch --parsable the one above); ", after=":$ID")
        return
    with sweep_run(plan, out, tracking_uri) as tracker:  # the runs find their parent
        number = _submit(runs)
        tracker.set_tags({"scidiff.slurm.job": number})
        if report:
            _submit(comparison, dependency=f"afterany:{number}")
        tracker.finish("RUNNING")


def _check_submitit() -> None:
    try:
        import submitit  # noqa: F401 # pyright: ignore[reportUnusedImport]
    except ModuleNotFoundError as error:
        raise UserError("launching needs submitit, which is not installed: pip install 'scidiffusion[cluster]'") from error


def _show(job: Job, path: Path, before: str = "", after: str = "") -> None:
    from scidiff.launch.executors import script_of

    text = script_of(job)
    atomic_write(path, text.encode())
    typer.echo(text)
    typer.echo(f"# {path}; submit it with: {before}sbatch {f'--dependency=afterany{after} ' if after else ''}{path}\n")


def _submit(job: Job, dependency: str | None = None) -> str:
    from scidiff.launch.executors import submit

    number = submit(job, dependency)
    typer.echo(f"submitted {job.name} as job {number}: squeue --job {number}; what it prints is in {job.folder}")
    return number


def _run_here(job: Job, out: Path) -> None:
    from scidiff.launch.executors import run_here

    statuses = run_here(job)
    failed = {rank: status for rank, status in enumerate(statuses) if status}
    if failed:
        listed = ", ".join(f"process {rank} ended with {status}" for rank, status in failed.items())
        raise UserError(f"{listed}; what it printed is in {job.folder}")
    typer.echo(f"weights: {out / 'weights.safetensors'}")
