"""The kill harness: proves of any recipe of any domain that its training survives SIGKILL at any point, also in the middle of a save.

As a function, in a test:

    >>> from scidiff.testing.kills import check_resume
    >>> print(check_resume("molecules", recipe, folder, kills=100))  # doctest: +SKIP

and as a command, which prints the same report and exits with 1 if anything differs::

    python -m scidiff.testing.kills CONFIG.yaml [KEY=VALUE...] --kills 100 --seed 0
"""

from __future__ import annotations

import tempfile
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from scidiff.config import read_config
from scidiff.domain import read_recipe
from scidiff.errors import UserError
from scidiff.testing.kill_report import KINDS, THINGS, KillReport
from scidiff.testing.kill_run import check_resume, measure_resume

__all__ = ["KINDS", "THINGS", "KillReport", "app", "check_resume", "measure_resume"]

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def command(
    config: Annotated[Path, typer.Argument(help="A recipe; small, as it is run again and again.")],
    overrides: Annotated[list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Such as train.steps=20.")] = None,
    kills: Annotated[int, typer.Option(min=1, help="How many processes to kill.")] = 100,
    seed: Annotated[int, typer.Option(help="Of the points at which they are killed.")] = 0,
    out: Annotated[Path | None, typer.Option(help="An empty folder for the trainings (default: a temporary one).")] = None,
) -> None:
    """Kill trainings at random points and in the middle of saves, and compare what becomes of them with an uninterrupted one."""
    try:
        document = read_config(config, overrides or [])
        domain, recipe = read_recipe(document)
        with tempfile.TemporaryDirectory() if out is None else nullcontext(str(out)) as folder:
            report = measure_resume(domain.name, recipe, folder, kills=kills, seed=seed)
    except UserError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from error
    typer.echo(str(report))
    if report.differences:
        raise typer.Exit(1)


if __name__ == "__main__":
    app(prog_name="python -m scidiff.testing.kills")
