"""What a training shows while it runs: a picture, and a page on which the molecules turn."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rdkit import Chem

from scidiff.report import write_page
from scidiff_molecules.metrics import Evaluation
from scidiff_molecules.report import MoleculeView, metric_tables, molecule_grid, molecule_section
from scidiff_molecules.sdf import Failed

__all__ = ["TURNING", "preview_files"]

DRAWN, TURNING = 25, 16
"""So many of the molecules are drawn, and turn: a page of so many is about as large as the viewer alone."""


def preview_files(
    molecules: Sequence[Chem.Mol | Failed | None], evaluation: Evaluation, facts: dict[str, str], folder: Path, step: int
) -> tuple[Path, Path]:
    """Write ``step-NNNNNNN.png`` and ``.html`` into ``folder``: the first molecules, and the figures of all of them."""
    folder.mkdir(parents=True, exist_ok=True)
    picture, page = (folder / f"step-{step:07d}.{kind}" for kind in ("png", "html"))
    molecule_grid(molecules[:DRAWN], picture)
    views = [MoleculeView.of(molecule, f"molecule {number}") for number, molecule in enumerate(molecules[:TURNING])]
    title = f"Molecules at step {step:,}"
    shown = molecule_section(
        title=title,
        molecules=views,
        tables=metric_tables(evaluation),
        facts={"step": f"{step:,}", "molecules measured": f"{len(molecules):,}", **facts},
        notes=evaluation.notes,
    )
    write_page(page, title=title, sections=[shown])
    return picture, page
