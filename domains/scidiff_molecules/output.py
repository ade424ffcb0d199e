"""Writing generated molecules as they come: SDF with everything, or SMILES."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TextIO, runtime_checkable

from scidiff_molecules.decode import Generated
from scidiff_molecules.sdf import SdfWriter, atomic_text


@runtime_checkable
class Writer(Protocol):
    """Counts what fails, drops nothing."""

    failed: int

    def write(self, molecule: Generated, properties: Mapping[str, str | int | float]) -> None: ...


@dataclass
class _Sdf:
    file: SdfWriter
    failed: int = 0

    def write(self, molecule: Generated, properties: Mapping[str, str | int | float]) -> None:
        item = molecule if molecule.reason else molecule.mol
        self.file.write(item, name=f"molecule {molecule.id}", properties={f"scidiff_{key}": value for key, value in properties.items()})
        self.failed = self.file.failed


@dataclass
class _Smiles:
    file: TextIO
    failed: int = 0

    def write(self, molecule: Generated, properties: Mapping[str, str | int | float]) -> None:
        # A line for every molecule: one that fails leaves a comment, so that line numbers are molecule numbers.
        failure = f"# molecule {molecule.id} failed: {molecule.reason}\n"
        self.file.write(failure if molecule.reason else f"{molecule.smiles} {molecule.id}\n")
        self.file.flush()
        self.failed += bool(molecule.reason)


@contextmanager
def writer(path: Path) -> Iterator[Writer]:
    """A writer for ``path`` by its ending, .smi or SDF; the file appears whole when the block ends well, and not at all otherwise."""
    if path.suffix == ".smi":
        with atomic_text(path) as text:
            yield _Smiles(text)
    else:
        with SdfWriter(path) as sdf:
            yield _Sdf(sdf)
