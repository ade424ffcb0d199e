"""``scidiff merge``: one file of shards."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scidiff.cli.app import app


@app.command()
def merge(
    folder: Annotated[Path, typer.Argument(help="A folder that a command with --shards filled.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The file; it gets the ending of the shards.")],
) -> None:
    """Join shards into one file, byte for byte the one that a single process writes."""
    from rich.console import Console
    from rich.progress import Progress

    from scidiff.shards import ShardFolder, remarks
    from scidiff.shards import merge as join

    shards = ShardFolder.open(folder)
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("checking and merging", total=shards.plan.shards)
        merged = join(shards, out, lambda size: bar.advance(task))
    for note in merged.notes:
        typer.echo(f"note: {note}", err=True)
    typer.echo(f"{shards.plan.n:,} {shards.plan.what} of {shards.plan.shards:,} shards, {merged.size:,} bytes, written to {out}")
    for remark in remarks(merged.counts, shards.plan.what):
        typer.echo(remark)
