"""``scidiff models``: the models at hand."""

from __future__ import annotations

import sys
from typing import Any

import typer
from typer.core import TyperGroup

from scidiff.cli.app import app
from scidiff.domain import find_domains, load_domain, missing_extra_named
from scidiff.errors import UserError


class ModelsGroup(TyperGroup):
    """``scidiff models`` alone lists them."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, args or ["list"])


models = typer.Typer(cls=ModelsGroup, help="The models at hand.")
app.add_typer(models, name="models")


@models.command("list")
def list_models() -> None:
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
