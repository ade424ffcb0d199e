"""Reading SMILES from a text file, one a line. The file is never trusted.

``.smi``, ``.smiles``, ``.txt``: SMILES, then white space, then anything, which is its name. ``.csv``: columns parted by commas, semicolons
or tabs. A first line that names a column ``smiles``, or something with it (``canonical_smiles``), is a header and says which it is; without
one it is the first. Lines, SMILES and their letters are checked before RDKit sees them: it drops some foreign letters without a word.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from rdkit import Chem, rdBase

from scidiff.errors import UserError
from scidiff_molecules.sdf import ReadFailure, sanitize_fault

SUFFIXES = (".smi", ".smiles", ".txt", ".csv")
MAX_FILE_BYTES = 2**30
MAX_LINES = 1_000_000
MAX_LINE, MAX_SMILES = 100_000, 2_000
"""Bytes of a line, characters of a SMILES."""


class Form(NamedTuple):
    """How the lines of a file are split (None: by white space), which part is the SMILES, and its name if the first line is a header."""

    delimiter: str | None
    column: int = 0
    header: str | None = None


def form_of(path: Path) -> Form:
    """Raises UserError for a table whose first line holds neither a SMILES nor a column of that name."""
    first = next(_lines(path), None) or ""
    delimiter = max(",;\t", key=first.count) if path.suffix.lower() == ".csv" else None
    cells = [cell.strip() for cell in _cells(first, delimiter)]
    named = sorted((cell.lower() != "smiles", column) for column, cell in enumerate(cells) if "smiles" in cell.lower())
    if named and not _readable(cells[0]):
        return Form(delimiter, named[0][1], cells[named[0][1]])
    if delimiter and first.strip() and not any(map(_readable, cells)):
        held = ", ".join(cells[:8])[:200]
        raise UserError(f"{path}: line 1 holds no SMILES and names no column so ({held}): name the column of SMILES 'smiles'")
    return Form(delimiter)


def _readable(cell: str) -> bool:
    return smiles_fault(cell) is None and not isinstance(parse_smiles(cell), str)


def check_file(path: Path) -> int:
    """How many lines the file has. Raises UserError if it is missing, empty, too large or has too many, or as :func:`form_of` does."""
    if not path.is_file():
        raise UserError(f"{path}: no such file" if not path.exists() else f"{path}: not a file")
    size = path.stat().st_size
    if size == 0:
        raise UserError(f"{path}: the file is empty; one SMILES a line is needed")
    if size > MAX_FILE_BYTES:
        raise UserError(f"{path}: {size / 2**30:.1f} GiB is over the limit of {MAX_FILE_BYTES >> 30} GiB; split the file")
    lines = sum(1 for _ in _lines(path))
    if lines > MAX_LINES:
        raise UserError(f"{path}: {lines:,} lines are over the limit of {MAX_LINES:,}; split the file")
    form_of(path)
    return lines


def read_smiles(path: Path) -> Iterator[tuple[int, str | ReadFailure]]:
    """(line from 1, SMILES or failure) of every line but a header and blank ones at the end of the file."""
    form = form_of(path)
    blank: list[int] = []
    for number, line in enumerate(_lines(path), start=1):
        if line is None:
            yield number, ReadFailure(number, f"the line is longer than {MAX_LINE:,} bytes")
            continue
        if number == 1 and form.header is not None:
            continue
        cells = _cells(line, form.delimiter)
        if not line.strip():
            blank.append(number)  # an empty SMILES if anything follows
            continue
        yield from ((at, ReadFailure(at, "an empty SMILES")) for at in blank)
        blank.clear()
        smiles = cells[form.column].strip() if form.column < len(cells) else ""
        fault = smiles_fault(smiles)
        yield number, ReadFailure(number, fault) if fault else smiles


def _cells(line: str, delimiter: str | None) -> list[str]:
    if delimiter is None:
        return line.split()
    try:
        return next(csv.reader([line], delimiter=delimiter), [])
    except csv.Error:  # a carriage return inside the line
        return line.split(delimiter)


def smiles_fault(smiles: str) -> str | None:
    """Why a SMILES is not given to RDKit: empty, too long, or with a character that no SMILES has; positions count from 1."""
    if not smiles:
        return "an empty SMILES"
    if len(smiles) > MAX_SMILES:
        return f"a SMILES of {len(smiles):,} characters; the limit is {MAX_SMILES:,}"
    for position, letter in enumerate(smiles, start=1):
        if not (letter.isascii() and letter.isprintable()):
            return f"the SMILES has the character {letter!r} (U+{ord(letter):04X}) at position {position}, which is no SMILES"
    return None


def parse_smiles(smiles: str) -> Chem.Mol | str:
    """The sanitised molecule of a checked SMILES, or why there is none."""
    params = Chem.SmilesParserParams()
    params.sanitize, params.removeHs, params.allowCXSMILES = False, False, False
    with rdBase.BlockLogs():
        try:
            mol = Chem.MolFromSmiles(smiles, params)
        except (RuntimeError, ValueError):
            mol = None
        if mol is None:
            return "RDKit cannot read the SMILES"
        if fault := sanitize_fault(mol):
            return fault
        Chem.AssignStereochemistry(mol, cleanIt=True, force=True)
    return mol


def _lines(path: Path) -> Iterator[str | None]:
    """Lines without their ends; None for one that is too long. Memory is bounded by one line."""
    with path.open("rb") as file:
        inside = False  # a line that is too long
        if file.read(3) != b"\xef\xbb\xbf":  # the mark that some programs write first
            file.seek(0)
        while piece := file.readline(MAX_LINE):
            whole = piece.endswith(b"\n") or len(piece) < MAX_LINE
            if not inside:
                yield piece.decode("utf-8", errors="replace").rstrip("\r\n") if whole else None
            inside = not whole
