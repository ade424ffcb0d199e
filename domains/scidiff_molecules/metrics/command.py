"""``scidiff molecules evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from scidiff.errors import UserError
from scidiff_molecules.metrics.plan import QUICK, Plan


def evaluate_command(
    file: Annotated[Path, typer.Argument(help="SDF file of molecules with explicit hydrogens.")],
    reference: Annotated[
        str,
        typer.Option(help="What novelty and distributions are measured against: qm9, ligands (by split), sample, an SDF file, or none."),
    ] = "qm9",
    json: Annotated[Path | None, typer.Option(help="Also write everything, failures with their indices included, to this file.")] = None,
    page: Annotated[Path | None, typer.Option(help="Also write a page with histograms and the worst molecules to this file.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Metrics A and B alone.")] = False,
    poses: Annotated[int, typer.Option(help="Random molecules that PoseBusters checks; 0: none.")] = Plan.poses,
    energies: Annotated[int, typer.Option(help="Random molecules whose geometry is relaxed; 0: none.")] = Plan.energies,
    energy: Annotated[
        Literal["gfn2", "mmff", "none"], typer.Option(help="What relaxes them: GFN2-xTB (MMFF94 where tblite is missing), or MMFF94.")
    ] = "gfn2",
    fcd: Annotated[int, typer.Option(help="Random molecules for the Frechet ChemNet distance; 0: none.")] = Plan.fcd,
    neighbours: Annotated[int, typer.Option(help="Random molecules whose nearest neighbours are looked for; 0: none.")] = Plan.neighbours,
    seed: Annotated[int, typer.Option(help="Of the random subsets and the bootstrap.")] = Plan.seed,
    workers: Annotated[int | None, typer.Option(help="Processes; default as many as cores; 0: none.")] = None,
) -> None:
    """Judge the molecules of an SDF file: metrics A and B, druglikeness, distributions, plausibility, energies; with 95 % intervals."""
    from scidiff_molecules.metrics.evaluation import evaluate
    from scidiff_molecules.sdf import atomic_text

    for path in (json, page):
        if path is not None and not path.parent.is_dir():
            raise UserError(f"{path}: the folder {path.parent} does not exist; make it first")
    if energy == "none":
        energies = 0
    method = "mmff" if energy == "mmff" else "gfn2"
    plan = Plan(
        poses=poses, energies=energies, method=method, fcd=fcd, neighbours=neighbours, seed=seed, workers=workers
    )  # fmt: skip
    result = evaluate(file, None if reference == "none" else reference, plan=QUICK if quick else plan, progress=True)
    if json is not None:
        with atomic_text(json) as out:
            out.write(result.to_json() + "\n")
    if page is not None:
        from scidiff_molecules.report.judged import write_judge_page

        write_judge_page(page, result)
    result.print(Console())
