"""``scidiff molecules data add`` and ``scidiff molecules data ligands``: what was kept and what was left out, as a table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from scidiff.errors import UserError

if TYPE_CHECKING:
    from scidiff_molecules.data import MoleculeDataset


def add_command(
    file: Annotated[Path, typer.Argument(help="SDF (.sdf), or SMILES, one a line (.smi, .csv); SMILES get conformers from RDKit.")],
    name: Annotated[str | None, typer.Option(help="Name of the set, kept in the user's cache folder; default the file's.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write the set to this .safetensors file instead.")] = None,
    conformers: Annotated[
        Literal["embed", "none"], typer.Option(help="Records without 3D coordinates: embed them with RDKit, or leave them out.")
    ] = "embed",
    seed: Annotated[int, typer.Option(help="Of RDKit's conformers.")] = 0,
    largest_fragment: Annotated[bool, typer.Option("--largest-fragment", help="Take the largest fragment of salts and solvates.")] = False,
    max_atoms: Annotated[int, typer.Option(help="Heavy atoms a molecule may have.")] = 100,
    report: Annotated[Path | None, typer.Option(help="Also write what was left out to this JSON file.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a set of this name.")] = False,
) -> None:
    """Make a training set of your own molecules, checked record by record; what cannot be used is left out, counted and named."""
    from scidiff_molecules.data.add import add_molecules, own_path
    from scidiff_molecules.sdf import atomic_text

    target = out or own_path(name or file.stem)
    if report is not None and not report.parent.is_dir():
        raise UserError(f"--report {report}: there is no folder {report.parent}")
    options: dict[str, Any] = {"conformers": conformers, "seed": seed, "largest_fragment": largest_fragment, "max_atoms": max_atoms}
    dataset = add_molecules(file, target, force=force, **options)
    about = dataset.metadata
    if report is not None:
        with atomic_text(report) as text:
            text.write(json.dumps({key: about[key] for key in ("source", "index", "left_out", "left_out_records")}, indent=1) + "\n")
    console, made = Console(), about["conformers"]
    table = summary(file.name, dataset)
    if about["column"] is not None:
        table.add_row("SMILES from the column", escape(about["column"]))
    if made["embedded"]:
        table.add_row("with the file's 3D coordinates", f"{made['file']:,}")
        table.add_row("with a conformer from RDKit", f"{made['embedded']:,}")
    console.print(table)
    if made["embedded"]:
        console.print(f"conformers by {escape(made['how'])}, seed {made['seed']}", highlight=False)
    for index, reason in about["left_out_records"]:
        console.print(f"left out: {about['index'].split()[0]} {index}: {escape(reason)}", highlight=False, soft_wrap=True)
    recipe = escape(str(out or name or file.stem))
    console.print(f"written to {escape(str(target))}; train on it with `data.source: own`, `data.path: {recipe}`", soft_wrap=True)


def ligands_command(
    cache: Annotated[Path | None, typer.Option(help="Where to keep the prepared data; default the user's cache folder.")] = None,
) -> None:
    """Prepare the drug-like ligands of the Protein Data Bank, from the package biotite, filtered, checked and cached."""
    from scidiff_molecules.data import cache_folder, load_ligands
    from scidiff_molecules.data.ligands import CACHE_FILE, SPLITS

    whole = load_ligands(cache=cache)
    table = summary(f"ligands, from {whole.metadata['source']}", whole)
    for split in SPLITS:
        table.add_row(split, f"{whole.metadata['splits'][split]:,}")
    console = Console()
    console.print(table)
    console.print(f"cached in {escape(str((cache or cache_folder()) / CACHE_FILE))}", soft_wrap=True)


def summary(title: str, dataset: MoleculeDataset) -> Table:
    """Molecules, sizes, elements, charges, and what was left out by reason."""
    import torch
    from rdkit import Chem

    facts: dict[str, Any] = dataset.metadata
    fields, sizes = dataset.fields, dataset.sizes
    which = torch.repeat_interleave(torch.arange(len(sizes)), sizes)
    heavy = torch.bincount(which[fields["z"] > 1], minlength=len(sizes))
    net = torch.zeros_like(sizes).index_add_(0, which, fields["charge"])
    table = Table(escape(title), "", box=None)
    table.add_row("molecules", f"{len(dataset):,}")
    for label, counts in (("atoms", sizes), ("heavy atoms", heavy)):
        table.add_row(label, f"{int(counts.min())} to {int(counts.max())}, mean {float(counts.double().mean()):.1f}")
    symbols = Chem.GetPeriodicTable().GetElementSymbol
    for number in fields["z"].unique().tolist():
        table.add_row(f"  with {symbols(number)}", f"{which[fields['z'] == number].unique().numel():,}")
    for charge, count in zip(*(values.tolist() for values in net.unique(return_counts=True)), strict=True):
        table.add_row(f"  of charge {charge:+d}" if charge else "  without charge", f"{count:,}")
    table.add_row("left out", f"{sum(facts['left_out'].values()):,}")
    for reason, count in sorted(facts["left_out"].items(), key=lambda item: (-item[1], item[0])):
        table.add_row(f"  {escape(reason)}", f"{count:,}")
    return table
