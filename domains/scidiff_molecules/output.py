"""Writing generated molecules as they come: SDF with everything, or SMILES."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TextIO, runtime_checkable

from scidiff.files import withheld_log
from scidiff_molecules.decode import Generated
from scidiff_molecules.sdf import SdfWriter, atomic_text, one_line, status_of


@runtime_checkable
class Writer(Protocol):
    """Counts what fails, drops nothing. ``withheld``: a line of JSON for each molecule that screening withheld."""

    failed: int
    withheld: list[str]

    def write(self, molecule: Generated, properties: Mapping[str, str | int | float]) -> None: ...


@dataclass
class _Sdf:
    file: SdfWriter
    withheld: list[str]
    failed: int = 0

    def write(self, molecule: Generated, properties: Mapping[str, str | int | float]) -> None:
        item = molecule if molecule.reason else molecule.mol
        self.file.write(item, name=f"molecule {molecule.id}", properties={f"scidiff_{key}": value for key, value in properties.items()})
        _log(self.withheld, molecule)
        self.failed = self.file.failed - len(self.withheld)


@dataclass
class _Smiles:
    file: TextIO
    withheld: list[str]
    failed: int = 0

    def write(self, molecule: Generated, properties: Mapping[str, str | int | float]) -> None:
        # A line for every molecule: one that fails leaves a comment, so that line numbers are molecule numbers.
        failure = f"# molecule {molecule.id} {one_line(status_of(molecule.reason))}\n"
        self.file.write(failure if molecule.reason else f"{molecule.smiles} {molecule.id}\n")
        self.file.flush()
        _log(self.withheld, molecule)
        self.failed += bool(molecule.reason) and molecule.withheld is None


def _log(lines: list[str], molecule: Generated) -> None:
    """Which molecule, and by what rule; nothing of the molecule itself."""
    if molecule.withheld is not None:
        lines.append(json.dumps({"molecule": molecule.id, **molecule.withheld}))


@contextmanager
def writer(path: Path, *, log: bool = True) -> Iterator[Writer]:
    """A writer for ``path`` by its ending, .smi or SDF; the file appears whole when the block ends well, and not at all otherwise. What is
    withheld from it is listed beside it (:func:`scidiff.files.withheld_log`), unless not ``log``."""
    with _file(path) as file, withheld_log(path) if log else nullcontext(list[str]()) as lines:
        yield _Sdf(file, lines) if isinstance(file, SdfWriter) else _Smiles(file, lines)


def _file(path: Path) -> AbstractContextManager[SdfWriter | TextIO]:
    return atomic_text(path) if path.suffix == ".smi" else SdfWriter(path)
