"""``scidiff train``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from scidiff.cli.app import app
from scidiff.cli.options import MODEL, Device, TrackingUri
from scidiff.domain import missing_extra_named, read_recipe
from scidiff.errors import UserError


@app.command()
def train(
    config: Annotated[Path, typer.Argument(help="A recipe, such as configs/molecules/qm9.yaml.")],
    overrides: Annotated[list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Such as train.steps=1000.")] = None,
    out: Annotated[Path | None, typer.Option(help="The run's folder (default: runs/NAME_OF_CONFIG).")] = None,
    tracking_uri: TrackingUri = None,
    device: Device = "auto",
    resume: Annotated[bool, typer.Option(help="Continue from the folder's newest checkpoint, if it has one.")] = True,
    init: Annotated[str | None, typer.Option(help=f"Start from this model's weights. {MODEL}")] = None,
    on_nan: Annotated[Literal["stop", "skip"] | None, typer.Option(help="What to do about a batch whose loss is NaN.")] = None,
) -> None:
    """Train a model from a recipe. Under torchrun or srun, each process is one rank of the same training."""
    from scidiff.config import read_config

    document = read_config(config, [*(overrides or []), *_as_overrides(init=init, **{"train.on_nan": on_nan})])
    if "sweep" in document.data:
        where = document.place(("sweep",))
        raise UserError(f"{config}: {where}: a sweep is many trainings: use scidiff sweep {config}, or scidiff launch slurm {config}")
    from scidiff.train.place import is_first
    from scidiff.train.run import run_recipe

    domain, recipe = read_recipe(document)
    with missing_extra_named(domain.name):
        weights = run_recipe(domain, recipe, out or Path("runs") / config.stem, tracking_uri=tracking_uri, device=device, resume=resume)
    if is_first():
        typer.echo(f"weights: {weights}")


def _as_overrides(**options: str | None) -> list[str]:
    """Options that stand for a key of the recipe; quoted, so that a name is no number."""
    return [f"{key}={json.dumps(value)}" for key, value in options.items() if value is not None]
