"""``scidiff molecules predict``: properties of any molecules, and of those made for targets how near they come."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from scidiff.cli.options import MODEL, Device
from scidiff.errors import UserError

if TYPE_CHECKING:
    from rdkit import Chem

    from scidiff_molecules.predict import PropertyJudge

TARGETS = "scidiff_targets"
_CHUNK = 256


def predict_command(
    file: Annotated[Path, typer.Argument(help="SDF file of molecules with explicit hydrogens.")],
    model: Annotated[str, typer.Option(help=f"A judge of properties. {MODEL}")] = "qm9_judge",
    out: Annotated[Path | None, typer.Option(help="Write every molecule's properties to this .csv file.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw asked against got to this .png file, for molecules made with --target.")] = None,
    device: Device = "auto",
) -> None:
    """Predict properties of molecules. What was made with --target is compared with what was asked for.

    A judge sees heavy atoms, their hydrogens and bonds, and knows molecules like those it was trained on alone.
    """
    from scidiff_molecules.predict import PropertyJudge

    if out is not None and out.suffix != ".csv":
        raise UserError(f"--out {out}: the name must end in .csv")
    judge = PropertyJudge.load(model, device=device)
    rows = list(_predicted(file, judge))
    asked = {name: [row.asked.get(name) for row in rows] for name in judge.names}
    got = {name: [row.values[k] for row in rows] for k, name in enumerate(judge.names)}
    if out is not None:
        _write(out, rows, judge.names)
    Console().print(_summary(file, asked, got))
    if plot is not None:
        _draw(plot, asked, got)


class Row:
    """A record: its place in the file, what was asked of it (low, high by property), and its values (NaN: it could not be judged)."""

    def __init__(self, index: int, asked: dict[str, tuple[float, float]], values: Sequence[float]) -> None:
        self.index, self.asked, self.values = index, asked, tuple(values)


def _predicted(file: Path, judge: PropertyJudge) -> Iterator[Row]:
    from scidiff_molecules.sdf import ReadFailure, read_sdf

    columns = (TextColumn("predicting"), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        stream = bar.track(read_sdf(file))
        while some := list(islice(stream, _CHUNK)):
            mols = [None if isinstance(item, ReadFailure) else item for _, item in some]
            for (index, _), mol, values in zip(some, mols, judge.predict(mols).tolist(), strict=True):
                yield Row(index, _asked(mol), values)


def _asked(mol: Chem.Mol | None) -> dict[str, tuple[float, float]]:
    from scidiff_molecules.targets import Targets

    if mol is None or not mol.HasProp(TARGETS):
        return {}
    return dict(Targets.parse(mol.GetProp(TARGETS).split(";")).ranges)


def miss(asked: tuple[float, float], got: float) -> float:
    """How far a value lies outside the range that was asked for."""
    return max(asked[0] - got, got - asked[1], 0.0)


def _summary(file: Path, asked: dict[str, list[tuple[float, float] | None]], got: dict[str, list[float]]) -> Table:
    from scidiff_molecules.properties import PROPERTIES

    table = Table(title=f"{file.name}: properties", box=None)
    for column in ("property", "unit", "molecules", "mean", "5 % to 95 %", "asked", "mean miss"):
        table.add_column(column, justify="left" if column in ("property", "unit") else "right")
    for name, values in got.items():
        known = sorted(value for value in values if not math.isnan(value))
        pairs = [(a, v) for a, v in zip(asked[name], values, strict=True) if a is not None and not math.isnan(v)]
        if not known:
            table.add_row(name, PROPERTIES[name].unit, "0")
            continue
        low, high = (known[min(len(known) - 1, int(share * len(known)))] for share in (0.05, 0.95))
        row = [f"{len(known):,}", f"{sum(known) / len(known):.3f}", f"{low:.3f} to {high:.3f}"]
        if pairs:
            ends = {a for a, _ in pairs}
            row.append("..".join(f"{end:g}" for end in dict.fromkeys(next(iter(ends)))) if len(ends) == 1 else "various")
            row.append(f"{sum(miss(a, v) for a, v in pairs) / len(pairs):.3f}")
        table.add_row(name, PROPERTIES[name].unit, *row)
    return table


def _write(path: Path, rows: list[Row], names: Sequence[str]) -> None:
    from scidiff_molecules.sdf import atomic_text

    with atomic_text(path) as text:
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["index", *names, *(f"asked_{name}_{end}" for name in names for end in ("low", "high"))])
        for row in rows:
            ends = [end for name in names for end in row.asked.get(name, ("", ""))]
            writer.writerow([row.index, *("" if math.isnan(value) else f"{value:.6g}" for value in row.values), *ends])


def _draw(path: Path, asked: dict[str, list[tuple[float, float] | None]], got: dict[str, list[float]]) -> None:
    from scidiff.report.pictures import figure_png
    from scidiff_molecules.report.targets import asked_against_got

    chosen = {name: ranges for name, ranges in asked.items() if any(ranges)}
    if not chosen:
        raise UserError(f"--plot {path}: no molecule of this file says what was asked of it; make them with --target")
    pairs = {
        name: [(one, value) for one, value in zip(ranges, got[name], strict=True) if one is not None and not math.isnan(value)]
        for name, ranges in chosen.items()
    }
    figure_png(asked_against_got(pairs), path)
