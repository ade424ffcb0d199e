"""``scidiff demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scidiff.cli.app import app
from scidiff.cli.options import TrackingUri
from scidiff.domain import find_domains
from scidiff.errors import UserError


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
