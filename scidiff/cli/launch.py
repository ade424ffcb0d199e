"""``scidiff launch``: trainings and sweeps as jobs of a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from scidiff.cli.app import app
from scidiff.cli.options import TrackingUri
from scidiff.errors import UserError

launch = typer.Typer(help="Trainings and sweeps as jobs of a cluster.", no_args_is_help=True)
app.add_typer(launch, name="launch")


@launch.callback()
def root() -> None:
    """Trainings and sweeps as jobs of a cluster."""


@launch.command()
def slurm(
    config: Annotated[Path, typer.Argument(help="A recipe; with a sweep block, each run is a task of an array.")],
    overrides: Annotated[list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Such as train.steps=1000.")] = None,
    nodes: Annotated[int, typer.Option(help="Machines.")] = 1,
    gpus: Annotated[int, typer.Option(help="GPUs of each node; one process runs on each.")] = 0,
    tasks: Annotated[int, typer.Option(help="Processes on each node, where there are no GPUs.")] = 1,
    time: Annotated[str, typer.Option(help="The time limit; a job that reaches it saves, and continues in its next turn.")] = "1:00:00",
    partition: Annotated[str | None, typer.Option()] = None,
    account: Annotated[str | None, typer.Option()] = None,
    cpus_per_task: Annotated[int | None, typer.Option(min=1, help="Cores of each process.")] = None,
    mem: Annotated[str | None, typer.Option(help="Memory of each node, such as 64G.")] = None,
    array: Annotated[str | None, typer.Option(help="Of a sweep: which runs, and how many at once, such as 0-7%2 (default: all).")] = None,
    grace: Annotated[int, typer.Option(help="Seconds before the time limit at which a training is told to save.")] = 120,
    requeues: Annotated[int, typer.Option(help="How often a job goes back into the queue by its own doing.")] = 100,
    setup: Annotated[list[str] | None, typer.Option(help="A shell command that comes first, such as 'module load cuda'.")] = None,
    sbatch: Annotated[list[str] | None, typer.Option(metavar="OPTION=VALUE", help="Of sbatch, such as constraint=a100.")] = None,
    out: Annotated[Path | None, typer.Option(help="The run's folder, seen by all nodes (default: runs/NAME_OF_CONFIG).")] = None,
    report: Annotated[bool, typer.Option(help="Compare the runs of a sweep in a job after them.")] = True,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Write the script and print it; submit nothing.")] = False,
    cluster: Annotated[Literal["slurm", "local"], typer.Option(help="local: on this machine, to try it out.")] = "slurm",
    tracking_uri: TrackingUri = None,
) -> None:
    """Train on a SLURM cluster. What is preempted, or reaches its time limit, goes back into the queue and continues."""
    from scidiff.launch.command import launch_slurm
    from scidiff.launch.resources import Resources

    options = dict(_split(text) for text in sbatch or [])
    resources = Resources(
        nodes, gpus, tasks, time, partition, account, cpus_per_task, mem, array, grace, requeues, tuple(setup or ()), options
    )
    folder = out or Path("runs") / config.stem
    launch_slurm(config, overrides or [], folder, resources, tracking_uri, report=report, dry_run=dry_run, here=cluster == "local")


def _split(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise UserError(f"--sbatch {text!r}: expected OPTION=VALUE, such as constraint=a100")
    return name.removeprefix("--"), value
