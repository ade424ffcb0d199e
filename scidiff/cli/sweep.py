"""``scidiff sweep``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scidiff.cli.app import app
from scidiff.cli.options import Device, TrackingUri
from scidiff.errors import UserError


@app.command()
def sweep(
    config: Annotated[Path, typer.Argument(help="A recipe with a sweep block, such as configs/cluster/sweep.yaml.")],
    overrides: Annotated[list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Such as train.steps=1000 or sweep.runs=8.")] = None,
    out: Annotated[Path | None, typer.Option(help="The sweep's folder (default: runs/NAME_OF_CONFIG); run K is in OUT/run-K.")] = None,
    parallel: Annotated[int | None, typer.Option(min=1, help="Runs at once (default: sweep.parallel).")] = None,
    run: Annotated[int | None, typer.Option(min=0, metavar="K", help="Run K alone, in this process: what a task of an array does.")] = None,
    report: Annotated[bool, typer.Option("--report", help="Start nothing: compare what is there.")] = False,
    tracking_uri: TrackingUri = None,
    device: Device = "auto",
) -> None:
    """Train a recipe many times with some of its values changed, and compare. The same command continues what was interrupted."""
    from scidiff.domain import missing_extra_named
    from scidiff.sweep.plan import read_plan

    if run is not None and report:
        raise UserError("--run trains one run, --report none: leave one of them out")
    plan = read_plan(config, overrides or [])
    folder = out or Path("runs") / config.stem
    with missing_extra_named(plan.domain.name):
        if run is not None:
            from scidiff.sweep.trial import run_trial

            run_trial(plan, run, folder, tracking_uri=tracking_uri, device=device)
            return
        from scidiff.sweep.runner import SweepIncomplete, collect, run_sweep

        try:
            if report:
                collect(plan, folder, tracking_uri=tracking_uri)
            else:
                run_sweep(plan, folder, parallel=parallel, tracking_uri=tracking_uri, device=device)
        except SweepIncomplete as error:
            typer.secho("error: ", fg="red", bold=True, err=True, nl=False)
            typer.echo(str(error), err=True)
            raise typer.Exit(1) from error
    typer.echo(f"the comparison: {folder / 'comparison' / 'index.html'}")
