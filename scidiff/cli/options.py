"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

__all__ = ["Device", "TrackingUri"]

TrackingUri = Annotated[str | None, typer.Option("--tracking-uri", help="MLflow server or database (default: ./mlruns.db; 'off': none).")]
Device = Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="Where to compute.")]
