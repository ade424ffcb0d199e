"""Where QM9 is read from: the Python package ``qm9pack``, or a local copy of the public files.

Records come in the order of QM9's own numbers, the 3,054 molecules that failed its consistency check left out.
"""

from __future__ import annotations

import bz2
import csv
import importlib.util
import re
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from scidiff.errors import UserError

MOLECULES, UNCHARACTERIZED = 130_831, 3_054
PROPERTIES = {
    "A": "GHz",
    "B": "GHz",
    "C": "GHz",
    "mu": "Debye",
    "alpha": "Bohr^3",
    "homo": "Hartree",
    "lumo": "Hartree",
    "gap": "Hartree",
    "r2": "Bohr^2",
    "zpve": "Hartree",
    "U0": "Hartree",
    "U": "Hartree",
    "H": "Hartree",
    "G": "Hartree",
    "Cv": "cal/(mol K)",
}
"""QM9's fifteen properties in its own order, with the units it gives them in."""
NUMBER = {"H": 1, "C": 6, "N": 7, "O": 8, "F": 9}
INSTALL = "install it with `pip install qm9pack==1.0.3` (or the extra `scidiffusion[qm9]`)"
_COLUMNS = ("Index", "SMILES", "Elements", "XYZ_Ang", "RotA_GHz", "Heatcapacity_Cv_cal_mol_K")
BLOCK = 128
"""Consecutive records that one worker takes."""
_MAX_XYZ = 1 << 16  # bytes; QM9's own records are under 4 kB
_MAX_ARCHIVE, _MAX_READ = 1 << 30, 1 << 20  # bytes, unpacked: of all, and at once (a header may claim any length); QM9 has 0.5 GB


@dataclass(frozen=True)
class Record:
    """One molecule as the source gives it: its number, SMILES (best first), elements [n], positions [n, 3] in Angstrom, properties [15]."""

    index: int
    smiles: tuple[str, ...]
    z: NDArray[np.int64]
    pos: NDArray[np.float64]
    y: NDArray[np.float64]


@dataclass(frozen=True)
class Source:
    """A place QM9 lies in; ``kind`` is ``qm9pack``, ``folder`` or ``archive``."""

    kind: str
    path: Path

    @staticmethod
    def find(path: Path | None = None) -> Source:
        """The local copy at ``path`` (a folder of ``dsgdb9nsd_*.xyz``, the archive, or a folder holding the archive), else qm9pack.

        Raises
        ------
        UserError
            if there is neither, saying what to install.
        """
        if path is None:
            spec = importlib.util.find_spec("qm9pack")
            if spec is None or not spec.submodule_search_locations:
                raise UserError(f"QM9 comes from the Python package qm9pack, which is not installed; {INSTALL}")
            return Source("qm9pack", Path(spec.submodule_search_locations[0]) / "data")
        if path.is_dir():
            archives = sorted(path.glob("dsgdb9nsd*.tar.bz2"))
            return Source("archive", archives[0]) if archives else Source("folder", path)
        if path.is_file() and path.name.endswith((".tar.bz2", ".tar")):
            return Source("archive", path)
        raise UserError(f"{path}: neither dsgdb9nsd.xyz.tar.bz2 nor a folder of dsgdb9nsd_*.xyz; without a source, {INSTALL}")

    def records(self, shard: int = 0, of: int = 1) -> Iterator[Record]:
        """Every ``of``-th block of 128 records starting at block ``shard``: the shards together are the whole, each in order."""
        reader = {"qm9pack": self._rows, "folder": self._files, "archive": self._members}[self.kind]
        return (parse() for at, parse in enumerate(reader()) if at // BLOCK % of == shard)

    def _rows(self) -> Iterator[_Lazy]:
        for part in (1, 2, 3):
            path = self.path / f"qm9_part{part}.csv"
            if not path.is_file():
                raise UserError(f"{path}: missing; {INSTALL}")
            with path.open(newline="", encoding="utf-8") as file:
                rows = csv.reader(file)
                header = next(rows, [])
                if any(name not in header for name in _COLUMNS):
                    raise UserError(f"{path}: line 1 lacks one of {_COLUMNS}; {INSTALL}")
                columns = [header.index(name) for name in _COLUMNS]
                for row in rows:
                    yield _Lazy(f"{path}:{rows.line_num}", row, columns)

    def _files(self) -> Iterator[_Lazy]:
        paths = sorted(self.path.glob("dsgdb9nsd_*.xyz"))
        if not paths:
            raise UserError(f"{self.path}: no dsgdb9nsd_*.xyz in this folder; unpack dsgdb9nsd.xyz.tar.bz2 there, or {INSTALL}")
        skip = _uncharacterized(self.path)
        for path in paths:
            if _number(path.name) not in skip:
                yield _Lazy(str(path), path)

    def _members(self) -> Iterator[_Lazy]:
        skip = _uncharacterized(self.path.parent)
        try:
            with _Capped(self.path) as content, tarfile.open(fileobj=content, mode="r:") as archive:
                for member in archive:  # the public archive is sorted by number
                    _check_member(self.path, member)
                    name = Path(member.name).name
                    if not member.isfile() or not re.fullmatch(r"dsgdb9nsd_\d+\.xyz", name) or _number(name) in skip:
                        continue
                    stream = archive.extractfile(member)
                    assert stream is not None
                    yield _Lazy(f"{self.path}:{name}", stream.read(_MAX_XYZ).decode("ascii", "replace"))
        except (tarfile.TarError, EOFError, OSError) as error:
            raise UserError(f"{self.path}: not a readable archive ({error}); fetch it again, or {INSTALL}") from None


class _Capped:
    """What an archive unpacks to, as ``tarfile`` reads it, and no more of it than ``_MAX_ARCHIVE`` bytes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stream: IO[bytes] = bz2.open(path) if path.suffix == ".bz2" else path.open("rb")  # noqa: SIM115 - closed on leaving

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *error: object) -> None:
        self._stream.close()

    def read(self, size: int = -1) -> bytes:
        self._check(self.tell() + size, size)
        return self._stream.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        self._check(offset)
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        return self._stream.tell()

    def _check(self, end: int, size: int = 0) -> None:
        if not 0 <= size <= _MAX_READ or end > _MAX_ARCHIVE:
            limit = f"{_MAX_ARCHIVE >> 30} GiB"
            raise UserError(f"{self._path}: refused, as it unpacks to more than {limit}, which QM9 does not; fetch it again, or {INSTALL}")


def _check_member(path: Path, member: tarfile.TarInfo) -> None:
    """Nothing is unpacked to the disk; but an archive with such members is not QM9's."""
    name = PurePosixPath(member.name)
    if name.is_absolute() or ".." in name.parts or member.issym() or member.islnk():
        kind = f"a link to {member.linkname!r}" if member.linkname else "a name that leads out of it"
        raise UserError(f"{path}: refused, as its member {member.name!r} is {kind}; fetch it again, or {INSTALL}")
    if member.offset_data + member.size > _MAX_ARCHIVE:
        raise UserError(f"{path}: refused, as its member {member.name!r} claims {member.size:,} bytes; fetch it again, or {INSTALL}")


class _Lazy:
    """A record not yet parsed, so that other shards' records cost nothing; errors name the place."""

    def __init__(self, place: str, raw: list[str] | Path | str, columns: list[int] | None = None) -> None:
        self.place, self.raw, self.columns = place, raw, columns

    def __call__(self) -> Record:
        try:
            if isinstance(self.raw, list):
                assert self.columns is not None
                record = _from_row(self.raw, self.columns)
            else:
                text = self.raw if isinstance(self.raw, str) else self.raw.read_text("ascii", "replace")[:_MAX_XYZ]
                record = parse_xyz(text)
            if record.pos.shape != (record.z.size, 3) or not (np.isfinite(record.pos).all() and np.isfinite(record.y).all()):
                raise ValueError("positions or properties are missing or not finite")
        except (ValueError, LookupError) as error:
            why = "cut short or of another kind" if isinstance(error, LookupError) else error
            raise UserError(f"{self.place}: not a QM9 record ({why}); the file is damaged: fetch it again") from None
        return record


def _from_row(row: list[str], columns: list[int]) -> Record:
    index, smiles, elements, xyz, first, last = columns
    z = np.array([NUMBER[symbol] for symbol in row[elements][2:-2].split("','")])
    pos = _floats(row[xyz].replace("[", "").replace("]", "").split(",")).reshape(z.size, 3)
    return Record(int(row[index]), (row[smiles],), z, pos, _floats(row[first : last + 1]))


def parse_xyz(text: str) -> Record:
    """A ``dsgdb9nsd_*.xyz`` record: count, ``gdb N`` and 15 properties, n atom lines, frequencies, two SMILES (GDB's, relaxed), InChI.

    Raises ValueError, IndexError or KeyError for text of another kind.
    """
    lines = text.replace("*^", "e").splitlines()
    n = int(lines[0])
    if not 1 <= n <= 100:
        raise ValueError(f"{n} atoms")
    head = lines[1].split()
    atoms = [line.split() for line in lines[2 : 2 + n]]
    z, pos = np.array([NUMBER[a[0]] for a in atoms]), np.array([_floats(a[1:4]) for a in atoms])
    return Record(int(head[1]), tuple(lines[3 + n].split()[:2]), z, pos, _floats(head[2 : 2 + len(PROPERTIES)]))


def _floats(words: Iterable[str]) -> NDArray[np.float64]:
    return np.array([float(word) for word in words])


def _number(name: str) -> int:
    return int(re.sub(r"\D", "", name.removeprefix("dsgdb9nsd_")) or -1)


def _uncharacterized(folder: Path) -> frozenset[int]:
    """The numbers listed in ``uncharacterized.txt`` (figshare's file: number, SMILES, ... per line between headings)."""
    path = folder / "uncharacterized.txt"
    if not path.is_file():
        raise UserError(f"{path}: missing; it lists the {UNCHARACTERIZED:,} molecules to leave out: fetch it beside the xyz files")
    lines = [line.split() for line in path.read_text("ascii", "replace").splitlines()]
    # a table row is a number, then SMILES; the heading and the closing line are prose
    found = frozenset(int(w[0]) for w in lines if len(w) > 1 and w[0].isdigit() and w[1] not in ("compounds", "molecules"))
    if len(found) != UNCHARACTERIZED:
        raise UserError(f"{path}: lists {len(found):,} molecules instead of {UNCHARACTERIZED:,}; fetch it again")
    return found
