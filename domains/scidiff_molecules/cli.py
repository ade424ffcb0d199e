"""``scidiff molecules``: generate, evaluate, prepare data."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import typer
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from scidiff.cli.options import MODEL, Device
from scidiff.errors import UserError
from scidiff.files import WITHHELD_LOG
from scidiff_molecules.data_commands import add_command, ligands_command
from scidiff_molecules.metrics.command import evaluate_command
from scidiff_molecules.predict_command import predict_command

if TYPE_CHECKING:
    from scidiff_molecules.wish import Wishes

app = typer.Typer(help="3D molecules: generate, evaluate, prepare data.", no_args_is_help=True)
data = typer.Typer(help="Training data.", no_args_is_help=True)
app.add_typer(data, name="data")
app.command("evaluate")(evaluate_command)
app.command("predict")(predict_command)
data.command("add")(add_command)
data.command("ligands")(ligands_command)

_FORMATS = (".sdf", ".smi")
LONG = 5000
"""Files of more molecules are written in parts and merged in the end, so that a call that was killed can be continued."""


@app.command()
def generate(
    n: Annotated[int, typer.Option("-n", "--number", help="How many molecules.")] = 100,
    seed: Annotated[int, typer.Option(help="A molecule is a function of the seed and its number alone.")] = 0,
    steps: Annotated[int | None, typer.Option(help="Sampling steps; default the model's own.")] = None,
    out: Annotated[Path, typer.Option(help="An .sdf file (3D), or .smi (SMILES, one a line); or a folder, of --shards.")] = Path(
        "molecules.sdf"
    ),
    atoms: Annotated[int | None, typer.Option(help="Atoms in every molecule (heavy atoms, for a model with implicit hydrogens).")] = None,
    model: Annotated[str | None, typer.Option(help=f"{MODEL} Default: qm9, or qm9_targets for --target.")] = None,
    target: Annotated[
        list[str] | None, typer.Option(help="A property, such as gap=5.5 or mu=2..3 (docs/targets.md: names, units); may be repeated.")
    ] = None,
    guidance: Annotated[float | None, typer.Option(help="How strongly targets pull; 1 is the model's own law.")] = None,
    candidates: Annotated[
        int | None, typer.Option(help="Make so many for each molecule and keep the one that fits --target best; default 4.")
    ] = None,
    scaffold: Annotated[
        str | None, typer.Option(help="A part that every molecule holds: SMILES (* marks where to grow), or an SDF file, kept in place.")
    ] = None,
    first: Annotated[int, typer.Option(help="Number of the first molecule: 40 with -n 10 makes molecules 40 to 49 again.")] = 0,
    batch_size: Annotated[int, typer.Option(help="Molecules in one network call.")] = 50,
    device: Device = "auto",
    screen: Annotated[
        bool, typer.Option("--screen/--no-screen", help="Withhold members of listed hazardous classes (docs/screening.md).")
    ] = True,
    shards: Annotated[int | None, typer.Option(min=1, help="Write so many files, in any number of processes.")] = None,
    shard: Annotated[int | None, typer.Option(min=0, help="Make this shard alone (default: all, or this rank's share).")] = None,
    format: Annotated[Literal["sdf", "smi"] | None, typer.Option(help="Of the shards in a folder (default: sdf).")] = None,  # noqa: A002
    plan: Annotated[bool, typer.Option("--plan", help="Say what --shards would do, in what time and space; do nothing.")] = False,
) -> None:
    """Generate molecules. They are written as they come; the file appears whole or not at all.

    A molecule that the screening rules withhold keeps its number and its place, without atoms; OUT.withheld.jsonl lists which, and by what
    rule. The rules are coarse: what they let pass is not thereby safe.

    The files of --shards hold the same molecules, to the bit, as one process makes; what is finished is never made again.
    """
    if shards is None and (shard is not None or format is not None):
        raise UserError("--shard and --format are for --shards: say how many there are")
    if shards is None and out.suffix not in _FORMATS:
        raise UserError(f"--out {out}: the name must end in {' or '.join(_FORMATS)}, unless --shards fill a folder")
    model = model or ("qm9_targets" if target else "qm9")
    asked: dict[str, Any] = {"seed": seed, "steps": steps, "atoms": atoms, "first": first, "batch_size": batch_size, "screen": screen}
    asked |= {"guidance": guidance, "candidates": candidates, **read_wishes(target, scaffold)}
    if shards is None and n <= LONG and not plan:
        _one_file(out, n, model, device, asked)
        return
    from scidiff.shards import show_plan, target_of
    from scidiff_molecules.sharded import sharded

    place = target_of(out, _FORMATS, format)
    options = {"-n": n, "--out": out, "--model": model, "--device": device, "--format": format}
    options |= {"--seed": seed, "--steps": steps, "--atoms": atoms, "--first": first, "--batch-size": batch_size}
    options |= {"--target": target, "--guidance": guidance, "--candidates": candidates, "--scaffold": scaffold}
    options |= {"--no-screen": None if screen else True}
    work, trial = sharded(place, n, model, device, asked, shards, shard, options)
    if plan:
        show_plan(work, trial)
    else:
        work.run()


def read_wishes(target: list[str] | None, scaffold: str | None) -> dict[str, Any]:
    """Arguments of the generator. Raises UserError for what cannot be read."""
    if not target and scaffold is None:
        return {}
    from scidiff_molecules.scaffold import Scaffold
    from scidiff_molecules.targets import Targets

    return {"targets": Targets.parse(target) if target else None, "scaffold": None if scaffold is None else Scaffold.of(scaffold)}


def _one_file(out: Path, n: int, model: str, device: str, asked: dict[str, Any]) -> None:
    from scidiff_molecules.generator import MoleculeGenerator
    from scidiff_molecules.output import writer
    from scidiff_molecules.screening import load_rules

    generator = MoleculeGenerator.load(model, device=device)
    stream, properties = generator.stream(n, **asked), generator.provenance(model, asked["seed"], asked["steps"], cast("Wishes", asked))
    started = time.perf_counter()
    columns = (TextColumn("generating"), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
    with writer(out) as file, Progress(*columns, console=Console(stderr=True)) as bar:
        for molecule in bar.track(stream, total=n):
            file.write(molecule, properties)
    seconds = time.perf_counter() - started
    failed = f"; {file.failed:,} do not sanitise and are in it, marked so" if file.failed else ""
    typer.echo(f"{n:,} molecules in {seconds:.1f} s ({n / seconds:.1f} a second), written to {out}{failed}")
    if file.withheld:
        typer.echo(f"{len(file.withheld):,} withheld by screening rules {load_rules().version}, see {out}{WITHHELD_LOG}")


@data.command("qm9")
def prepare_qm9(
    source: Annotated[Path | None, typer.Option(help="The public files (dsgdb9nsd.xyz.tar.bz2 or its folder); default qm9pack.")] = None,
    cache: Annotated[Path | None, typer.Option(help="Where to keep the prepared data; default the user's cache folder.")] = None,
) -> None:
    """Prepare all of QM9: 130,831 molecules with bonds and charges, checked and cached."""
    from scidiff_molecules.data import cache_folder, load_qm9, split_indices

    whole = load_qm9("all", cache=cache, source=source)
    about, table = whole.metadata, Table("QM9", "molecules", box=None)
    table.add_row(f"all, from {about['source']}", f"{len(whole):,}")
    for split in ("train", "valid", "test"):
        table.add_row(f"  {split}", f"{len(split_indices(split)):,}")
    for path, count in sorted(about["bonds"].items(), key=lambda item: -item[1]):
        table.add_row(f"bonds and charges by {path}", f"{count:,}")
    table.add_row("bonds that RDKit cannot assign", f"{sum(about['unassigned'].values()):,}")
    for reason, count in about["unassigned"].items():
        table.add_row(f"  {reason}", f"{count:,}")
    console = Console()
    console.print(table)
    console.print(f"cached in {cache or cache_folder()}", soft_wrap=True)
