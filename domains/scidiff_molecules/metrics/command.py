"""``scidiff molecules evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from scidiff_molecules.metrics.evaluation import evaluate
from scidiff_molecules.sdf import atomic_text


def evaluate_command(
    file: Annotated[Path, typer.Argument(help="SDF file of molecules with explicit hydrogens.")],
    reference: Annotated[
        str, typer.Option(help="What novelty is measured against: qm9 (its training set), sample, an SDF file, or none.")
    ] = "qm9",
    json: Annotated[Path | None, typer.Option(help="Also write everything, failures with their indices included, to this file.")] = None,
) -> None:
    """Judge the molecules of an SDF file: metric A (EDM's lookup), metric B (bonds as generated), with 95 % intervals."""
    result = evaluate(file, None if reference == "none" else reference, progress=True)
    if json is not None:
        with atomic_text(json) as out:
            out.write(result.to_json() + "\n")
    result.print(Console())
