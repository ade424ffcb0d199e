"""The group of all commands: the core's own, and each domain's under its name.

Nothing heavy is imported before a command needs it. A :class:`~scidiff.errors.UserError`, a full disk or a folder that cannot be written to
is one message and exit status 2; Ctrl-C is 130, SIGTERM 143; any other exception is a fault of ours and shows its traceback.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from scidiff import __version__
from scidiff.domain import find_domains, load_domain, missing_extra_named
from scidiff.errors import UserError
from scidiff.files import STORAGE, remedy
from scidiff.signals import sigterm_exits

__all__ = ["app", "main"]


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
        except (UserError, OSError) as error:
            if isinstance(error, OSError) and (error.errno not in STORAGE or error.filename is None):
                raise
            message = f"{error.filename}: {error.strerror}: {remedy(error)}" if isinstance(error, OSError) else str(error)
            typer.secho("error: ", fg="red", bold=True, err=True, nl=False)
            typer.echo(message, err=True)
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
