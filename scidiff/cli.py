"""The command line: ``scidiff``, with each domain's commands under the domain's name.

Nothing heavy is imported before a command needs it. A :class:`~scidiff.errors.UserError` is one message and exit status 2;
Ctrl-C is 130, SIGTERM 143; any other exception is a fault of ours and shows its traceback.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from scidiff import __version__
from scidiff.domain import Domain, find_domains, load_domain, missing_extra_named
from scidiff.errors import UserError
from scidiff.signals import sigterm_exits

__all__ = ["app", "main"]

TrackingUri = Annotated[str | None, typer.Option("--tracking-uri", help="MLflow server or database (default: ./mlruns.db; 'off': none).")]


class DomainGroup(TyperGroup):
    """Stands for a domain's commands until one is asked for; so that ``scidiff --help`` imports no domain."""

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        command = typer.main.get_group(load_domain(str(self.name)).commands())
        return command.make_context(info_name, args, parent=parent, **extra)


class CoreGroup(TyperGroup):
    """The core's own commands, and the domains that are installed."""

    def list_commands(self, ctx: Any) -> list[str]:
        return [*super().list_commands(ctx), *(name for name in find_domains() if name not in self.commands)]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        domains = find_domains()
        if cmd_name in self.commands or cmd_name not in domains:
            return super().get_command(ctx, cmd_name)
        return DomainGroup(name=cmd_name, help=f"Commands of the {cmd_name} domain.", rich_help_panel="Domains")

    def invoke(self, ctx: Any) -> Any:
        try:
            try:
                return super().invoke(ctx)
            except ModuleNotFoundError:
                with missing_extra_named(str(ctx.invoked_subcommand)):
                    raise
        except UserError as error:
            typer.secho("error: ", fg="red", bold=True, err=True, nl=False)
            typer.echo(str(error), err=True)
            raise typer.Exit(2) from error
        except KeyboardInterrupt as error:
            typer.echo("interrupted", err=True)
            raise typer.Exit(130) from error


app = typer.Typer(
    name="scidiff",
    cls=CoreGroup,
    help="Diffusion models for science.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
track = typer.Typer(help="The tracking of runs.", no_args_is_help=True)
app.add_typer(track, name="track")


def main() -> None:
    """The entry point of the ``scidiff`` script."""
    with sigterm_exits():
        app(prog_name="scidiff")


def _show_version(asked: bool) -> bool:
    if asked:
        typer.echo(f"scidiff {__version__}")
        raise typer.Exit
    return asked


@app.callback()
def root(
    version: Annotated[bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")] = False,
) -> None:
    """Diffusion models for science."""


@app.command()
def models() -> None:
    """List the models at hand, with the domain each belongs to."""
    from rich.console import Console
    from rich.table import Table

    table = Table("name", "domain", "description", "weights", box=None)
    for name in find_domains():
        try:
            with missing_extra_named(name):
                for model in load_domain(name).models():
                    table.add_row(model.name, name, model.description, str(model.path))
        except UserError as error:
            typer.echo(f"skipped: {error}", err=True)
    Console(soft_wrap=not sys.stdout.isatty()).print(table if table.row_count else "no models are installed")


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Where everything is written.")] = Path("demo"),
    domain: Annotated[str | None, typer.Option(help="Show this domain alone.")] = None,
    tracking_uri: TrackingUri = None,
) -> None:
    """A tour of a minute or two: what the shipped models make, judged, and a little training, on one page and in MLflow."""
    from scidiff.tour import tour

    names = list(find_domains()) if domain is None else [domain]
    if not names:
        raise UserError("no domain is installed: pip install 'scidiffusion[all]'")
    tour(names, out, tracking_uri)


@app.command()
def train(
    config: Annotated[Path, typer.Argument(help="A recipe, such as configs/molecules/qm9.yaml.")],
    overrides: Annotated[list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Such as train.steps=1000.")] = None,
    out: Annotated[Path | None, typer.Option(help="The run's folder (default: runs/NAME_OF_CONFIG).")] = None,
    tracking_uri: TrackingUri = None,
    device: Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="Where to compute.")] = "auto",
    resume: Annotated[bool, typer.Option(help="Continue from the folder's newest checkpoint, if it has one.")] = True,
) -> None:
    """Train a model from a recipe."""
    from scidiff.config import read_config, validate

    document = read_config(config, overrides or [])
    name = document.data.get("domain")
    if not isinstance(name, str):
        raise UserError(f"{config}: the key 'domain' is required: one of {', '.join(find_domains()) or 'none is installed'}")
    with missing_extra_named(name):
        domain = load_domain(name)
        recipe = validate(domain.recipe(), document)
        weights = _fit(domain, recipe, out or Path("runs") / config.stem, tracking_uri, device, resume)
    typer.echo(f"weights: {weights}")


@track.command("sync")
def track_sync(
    folder: Annotated[Path, typer.Argument(help="A run's folder, or one that holds several.")],
    tracking_uri: Annotated[str | None, typer.Option(help="Send to this store instead of the run's own.")] = None,
) -> None:
    """Send to MLflow what a run could not send when it was made; each line once, in order."""
    from rich.console import Console

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
    if failed:
        raise UserError("\n".join(failed))


def _fit(domain: Domain, recipe: Any, out: Path, tracking_uri: str | None, device: str, resume: bool) -> Path:
    """The one place where a recipe meets the fit loop."""
    from scidiff.config import flatten, to_yaml
    from scidiff.files import atomic_write
    from scidiff.tracking import Tracker
    from scidiff.train.loop import fit

    out.mkdir(parents=True, exist_ok=True)
    atomic_write(out / "recipe.yaml", to_yaml(recipe).encode())
    with Tracker.start(out.name, out, flatten(recipe), {"scidiff.domain": domain.name}, tracking_uri, resume=resume) as tracker:
        tracker.log_artifact(out / "recipe.yaml")
        weights = fit(domain.task(recipe), recipe.train, out, tracker, device=device, resume=resume)
        tracker.log_artifact(weights)
    return weights
