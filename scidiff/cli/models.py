"""``scidiff models``: the models at hand; registering one; serving one."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from scidiff.cli.app import app
from scidiff.cli.options import Device
from scidiff.domain import models_at_hand


class ModelsGroup(TyperGroup):
    """``scidiff models`` alone lists them."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, args or ["list"])


models = typer.Typer(cls=ModelsGroup, help="The models at hand; registering and serving them.")
app.add_typer(models, name="models")

Model = Annotated[
    str, typer.Argument(help="A shipped name, a .safetensors file, a run's folder, or a URI: models:/NAME@ALIAS, models:/NAME/3, runs:/ID.")
]
Store = Annotated[
    str | None, typer.Option("--tracking-uri", help="MLflow server or database (default: MLFLOW_TRACKING_URI, else ./mlruns.db).")
]


@models.command("list")
def list_models() -> None:
    """List the models at hand, with the domain each belongs to."""
    from rich.console import Console
    from rich.table import Table

    table = Table("name", "domain", "description", "weights", box=None)
    for domain, model in models_at_hand(lambda error: typer.echo(f"skipped: {error}", err=True)):
        table.add_row(model.name, domain, model.description, str(model.path))
    Console(soft_wrap=not sys.stdout.isatty()).print(table if table.row_count else "no models are installed")


@models.command("register")
def register(
    model: Model,
    name: Annotated[str | None, typer.Option(help="Name in the registry (default: the shipped name, the file's or the folder's).")] = None,
    alias: Annotated[str | None, typer.Option(help="Let this alias, such as champion, point at the new version.")] = None,
    tracking_uri: Store = None,
) -> None:
    """Register a model in MLflow as a new version; models:/NAME@ALIAS then names it wherever a model is named."""
    from scidiff.serving.register import register_model

    made = register_model(model, name, alias, tracking_uri)
    typer.echo(f"registered {made.name} version {made.version} in {made.tracking_uri}, SHA-256 {made.sha256[:16]}...")
    typer.echo(f"name it: --model {made.alias_uri}")


@models.command("serve")
def serve_model(
    model: Model,
    host: Annotated[str, typer.Option(help="Address to listen on; anything but loopback is open to the network.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free one.")] = 5001,
    token_file: Annotated[
        Path | None, typer.Option(help="File with the token that clients must send (default: SCIDIFF_TOKEN, else a new one is shown).")
    ] = None,
    device: Device = "cpu",
    concurrent: Annotated[int, typer.Option(min=1, max=64, help="Answers computed at once.")] = 2,
    queue: Annotated[int, typer.Option(min=0, max=1000, help="Requests that may wait besides; more are answered 429.")] = 8,
    max_body: Annotated[float, typer.Option(min=0.001, max=1000, help="MB of a request's body; larger ones are answered 413.")] = 8.0,
    body_seconds: Annotated[float, typer.Option(min=0.1, max=3600, help="For a request to arrive; slower ones are answered 408.")] = 20.0,
    answer_seconds: Annotated[float, typer.Option(min=0.1, max=86400, help="For an answer; later ones become 504.")] = 300.0,
    tracking_uri: Store = None,
) -> None:
    """Serve a model over HTTP, behind a token and limits: POST /invocations, as `mlflow models serve` has it."""
    from scidiff.serving.limits import Limits
    from scidiff.serving.opening import load_service
    from scidiff.serving.server import serve
    from scidiff.serving.token import find_token

    token, made = find_token(token_file)
    limits = Limits(
        body_bytes=round(max_body * 2**20),
        head_seconds=min(10.0, body_seconds),
        body_seconds=body_seconds,
        answer_seconds=answer_seconds,
        concurrent=concurrent,
        queue=queue,
    )
    service = load_service(model, device, tracking_uri)

    def started(url: str) -> None:
        typer.echo(f"serving {model} at {url}/invocations")
        if made:
            typer.echo(f"token: {token}")
        if host not in ("127.0.0.1", "localhost", "::1"):
            typer.echo("this address is not loopback: put TLS in front, or the network can read the token", err=True)
        sys.stdout.flush()

    serve(service, token, limits, host, port, started)
