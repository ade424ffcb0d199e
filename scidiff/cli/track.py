"""``scidiff track``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scidiff.cli.app import app
from scidiff.errors import UserError

track = typer.Typer(help="The tracking of runs.", no_args_is_help=True)
app.add_typer(track, name="track")


@track.command("sync")
def track_sync(
    folder: Annotated[Path, typer.Argument(help="A run's folder, or one that holds several.")],
    tracking_uri: Annotated[str | None, typer.Option(help="Send to this store instead of the run's own.")] = None,
) -> None:
    """Send to MLflow what a run could not send when it was made; each line once, in order."""
    from rich.console import Console

    from scidiff.sweep.link import link_runs
    from scidiff.tracking import find_spools, sync

    spools = find_spools(folder)
    if not spools:
        raise UserError(f"{folder}: no run is recorded here or below (tracking/run.json)")
    failed: list[str] = []
    for spool in spools:
        try:
            with Console(stderr=True).status(f"sending {spool}"):
                report = sync(spool, tracking_uri)
        except UserError as error:
            failed.append(str(error))
            continue
        typer.echo(f"{report.folder}: {report.lines} lines sent to run {report.run_id} of {report.tracking_uri}")
    for spool in spools:
        link_runs(spool, tracking_uri)
    if failed:
        raise UserError("\n".join(failed))
