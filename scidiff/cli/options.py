"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

__all__ = ["MODEL", "Device", "TrackingUri"]

MODEL = "A shipped name (see `scidiff models`), a .safetensors file, a run's folder, or models:/NAME@ALIAS."
"""What names a model, anywhere."""

TrackingUri = Annotated[str | None, typer.Option("--tracking-uri", help="MLflow server or database (default: ./mlruns.db; 'off': none).")]
Device = Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="Where to compute.")]
