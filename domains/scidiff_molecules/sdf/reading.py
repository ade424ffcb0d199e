"""Reading SDF files. The file is never trusted.

Records are split and checked (size, declared atoms and bonds, coordinates) before RDKit sees them, so memory is bounded by one
record. One that cannot be used is *yielded* as a :class:`ReadFailure` with its index and the reason, never skipped.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from rdkit import Chem, rdBase

from scidiff.errors import UserError
from scidiff_molecules.sdf.structure import MAX_COORDINATE, coordinate_fault

MAX_FILE_BYTES = 4 * 2**30
MAX_RECORDS = 1_000_000
MAX_RECORD_BYTES = 2**20
MAX_ATOMS = 1000
STATUS = "scidiff_status"
SCREEN = "scidiff_screen"
FAILED = "failed: "
UNSANITISED = "not screened: does not sanitise"
WITHHELD = "withheld: "
_DELIMITER = b"$$$$"


@dataclass(frozen=True)
class ReadFailure:
    """A record that is no usable molecule.

    Attributes:
        index: position of the record in its file, from 0.
        reason: what is wrong with it.
        mol: the unsanitised molecule, when the record could be read.
        atoms: how many atoms the record holds, 0 when that cannot be told.
    """

    index: int
    reason: str
    mol: Chem.Mol | None = None
    atoms: int = 0


def read_sdf(
    path: str | Path, *, sanitize: bool = True, only: Callable[[int], bool] | None = None
) -> Iterator[tuple[int, Chem.Mol | ReadFailure]]:
    """Read an SDF file record by record; hydrogens are kept.

    Args:
        path: the file.
        sanitize: sanitise each molecule and assign its stereochemistry from 3D; what fails is a :class:`ReadFailure`.
            With False molecules come as they stand in the file.
        only: which indices to read; the others are skipped unparsed.

    Yields:
        (index, molecule or failure), the index counting every record from 0.

    Raises:
        UserError: the file is missing, empty, not an SDF file, larger than 4 GiB, or holds more than a million records.
    """
    return _read(checked(path), sanitize, only)


def count_records(path: str | Path) -> int:
    """How many records :func:`read_sdf` would give, failures included; raises as it does."""
    return sum(1 for _ in raw_records(path))


def raw_records(path: str | Path) -> Iterator[bytes | None]:
    """The records of an SDF file as they stand, without their ``$$$$`` line; None for one of more than a megabyte.

    Raises:
        UserError: as :func:`read_sdf`.
    """
    path = checked(path)
    with path.open("rb") as file:
        for index, record in enumerate(_split(file, path)):
            if index >= MAX_RECORDS:
                raise UserError(f"{path}: more than {MAX_RECORDS:,} records; split the file")
            yield record


def checked(path: str | Path) -> Path:
    """The path of an SDF file that may be read; raises as :func:`read_sdf` does, but for its number of records."""
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file" if not path.exists() else f"{path}: not a file")
    size = path.stat().st_size
    if size == 0:
        raise UserError(f"{path}: the file is empty; an SDF file with at least one record is needed")
    if size > MAX_FILE_BYTES:
        raise UserError(f"{path}: {size / 2**30:.1f} GiB is over the limit of {MAX_FILE_BYTES / 2**30:.0f} GiB; split the file")
    return path


def _read(path: Path, sanitize: bool, only: Callable[[int], bool] | None) -> Iterator[tuple[int, Chem.Mol | ReadFailure]]:
    for index, record in enumerate(raw_records(path)):
        if only is not None and not only(index):
            continue
        if record is None:
            yield index, ReadFailure(index, f"the record is larger than {MAX_RECORD_BYTES:,} bytes")
        else:
            with rdBase.BlockLogs():
                item = parse_record(index, record.decode("utf-8", errors="replace"), sanitize=sanitize)
            yield index, item


def _split(file: BinaryIO, path: Path) -> Iterator[bytes | None]:
    """Records without their ``$$$$`` line; None for one that is too large. Memory is bounded by one record."""
    lines: list[bytes] = []
    size, terminated = 0, False
    while line := file.readline(MAX_RECORD_BYTES + 1):
        if line.startswith(_DELIMITER):
            yield b"".join(lines) if size <= MAX_RECORD_BYTES else None
            lines, size, terminated = [], 0, True
            continue
        size += len(line)
        if size <= MAX_RECORD_BYTES:
            lines.append(line)
        else:
            lines.clear()
    rest = b"".join(lines)
    if not terminated and b"M  END" not in rest and b"V2000" not in rest and b"V3000" not in rest:
        raise UserError(f"{path}: not an SDF file: it has no '$$$$' and no 'M  END' line")
    if size > MAX_RECORD_BYTES:
        yield None
    elif rest.strip():
        yield rest


def parse_record(index: int, text: str, *, sanitize: bool = False) -> Chem.Mol | ReadFailure:
    """One record, checked before RDKit sees it; see :func:`read_sdf`."""
    lines = [line.rstrip("\r") for line in text.split("\n")]
    atoms, fault = _check(text, lines)
    if fault:
        return ReadFailure(index, fault, None, atoms)
    try:
        mol = next(iter(Chem.ForwardSDMolSupplier(BytesIO(text.encode()), sanitize=False, removeHs=False)), None)
    except (RuntimeError, ValueError):
        mol = None
    if mol is None:
        return ReadFailure(index, "RDKit cannot read the record", None, atoms)
    if reason := stated_reason(mol):
        return ReadFailure(index, reason, mol, mol.GetNumAtoms())
    fault = "no atoms" if mol.GetNumAtoms() == 0 else coordinate_fault(mol.GetConformer().GetPositions())
    if fault or not sanitize:
        return ReadFailure(index, fault, mol, mol.GetNumAtoms()) if fault else mol
    return _sanitized(index, mol)


def _sanitized(index: int, mol: Chem.Mol) -> Chem.Mol | ReadFailure:
    clean = Chem.Mol(mol)
    fault = sanitize_fault(clean)
    if fault:
        return ReadFailure(index, fault, mol, mol.GetNumAtoms())
    if clean.GetConformer().Is3D():
        Chem.AssignStereochemistryFrom3D(clean)
    return clean


def status_of(reason: str | None) -> str:
    """The value of :data:`STATUS`: ``ok``, or why the molecule failed or was withheld."""
    if not reason:
        return "ok"
    return reason if reason.startswith(WITHHELD) else f"{FAILED}{reason}"


def stated_reason(mol: Chem.Mol) -> str:
    """Why a molecule failed or was withheld, as its :data:`STATUS` says it; empty where it says no such thing."""
    status = mol.GetProp(STATUS) if mol.HasProp(STATUS) else ""
    return status.removeprefix(FAILED) if status.startswith((FAILED, WITHHELD)) else ""


def sanitize_fault(mol: Chem.Mol) -> str | None:
    """Sanitise ``mol`` in place; returns RDKit's reason when it cannot be, else None."""
    with rdBase.BlockLogs():
        try:
            Chem.SanitizeMol(mol)
        except ValueError as error:
            return str(error).strip().splitlines()[0]
    return None


def _check(text: str, lines: list[str]) -> tuple[int, str | None]:
    """Check a record before RDKit allocates anything for it: (atoms it holds or 0, fault or None)."""
    if "\x00" in text:
        return 0, "the record contains a NUL byte"
    if len(lines) < 4:
        return 0, "the record ends before its counts line"
    v3000 = "V3000" in lines[3]
    counts = _counts_v3000(lines) if v3000 else _counts_v2000(lines[3])
    if counts is None:
        return 0, f"the counts line cannot be read: {lines[3].strip()[:40]!r}"
    atoms, bonds = counts
    if atoms > MAX_ATOMS:
        return 0, f"the counts line claims {atoms:,} atoms; the limit is {MAX_ATOMS:,}"
    if atoms + bonds > len(lines) - 4:
        return 0, f"the counts line claims {atoms} atoms and {bonds} bonds, but the record has only {len(lines)} lines"
    if not any(line.startswith("M  END") for line in lines):
        return 0, "the record has no 'M  END' line; it is cut off"
    return atoms, None if v3000 else _coordinate_fault_v2000(lines[4 : 4 + atoms])


def _counts_v2000(line: str) -> tuple[int, int] | None:
    run = re.match(r"\s*(\d+)", line)
    if run and len(run[1]) > 6:  # two fields of three columns; a longer run of digits is no counts line but a claim
        return int(run[1][:18]), 0
    try:
        return int(line[0:3]), int(line[3:6])
    except ValueError:
        return None


def _counts_v3000(lines: list[str]) -> tuple[int, int] | None:
    for line in lines[4:]:
        if match := re.match(r"M\s+V30\s+COUNTS\s+(\d{1,18})\s+(\d{1,18})", line):
            return int(match[1]), int(match[2])
    return None


def _coordinate_fault_v2000(lines: list[str]) -> str | None:
    for number, line in enumerate(lines, start=1):
        for field in (line[0:10], line[10:20], line[20:30]):
            try:
                value = float(field)
            except ValueError:
                return f"a coordinate of atom {number} is not a number: {field.strip()!r}"
            if not math.isfinite(value) or abs(value) > MAX_COORDINATE:
                return f"a coordinate of atom {number} is not finite or out of range: {field.strip()!r}"
    return None
