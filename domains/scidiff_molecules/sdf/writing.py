"""Writing SDF files molecule by molecule; nothing half-written is ever left under the target's name."""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Protocol, TextIO, runtime_checkable

from rdkit import Chem, rdBase

from scidiff.errors import UserError
from scidiff.files import discard, naming
from scidiff_molecules.sdf.reading import STATUS, sanitize_fault, stated_reason, status_of
from scidiff_molecules.sdf.structure import coordinate_fault

_MAX_VALUE = 4000


@runtime_checkable
class Failed(Protocol):
    """Any object that stands for a molecule that may have failed: what there is of it, and why it failed (empty: it did not)."""

    @property
    def mol(self) -> Chem.Mol | None: ...

    @property
    def reason(self) -> str: ...


def unpack(item: Chem.Mol | Failed | None) -> tuple[Chem.Mol | None, str | None]:
    """What there is of a molecule, and why it failed (None: nobody says it did; its property ``scidiff_status`` has a say)."""
    if item is None:
        return None, "no molecule"
    mol, reason = (item, "") if isinstance(item, Chem.Mol) else (item.mol, item.reason)
    if not reason and mol is not None:
        reason = stated_reason(mol)
    return mol, reason or (None if mol is not None else "no molecule")


@contextmanager
def atomic_text(path: str | Path) -> Iterator[TextIO]:
    """Open a temporary file beside ``path`` for writing text; on success it replaces ``path``, on any error it is removed.

    Raises:
        UserError: the folder does not exist, or ``path`` is a folder.
        OSError: the disk is full or the folder is read-only.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise UserError(f"{path}: the folder {path.parent} does not exist; make it first")
    if path.is_dir():
        raise UserError(f"{path}: is a folder; a file name is needed")
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        with naming(path):
            with part.open("x", encoding="utf-8", newline="\n") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
    except BaseException:
        discard(part)
        raise


class SdfWriter:
    """Write molecules to an SDF file as they come.

    A context manager: the file appears under its name when the block ends without an error, and not at all otherwise.
    ``written`` and ``failed`` count the records so far (failed ones are written too).

    Raises:
        UserError: the folder does not exist, or the path is a folder (on entering).
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.written = 0
        self.failed = 0
        self._context = atomic_text(self.path)
        self._file: TextIO | None = None

    def __enter__(self) -> SdfWriter:
        self._file = self._context.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file = None
        self._context.__exit__(kind, error, trace)

    def write(self, item: Chem.Mol | Failed | None, *, name: str = "", properties: Mapping[str, str | int | float] | None = None) -> None:
        """Append one record, and push it to the file system.

        Args:
            item: a molecule; or a failed one (an object with ``mol`` and ``reason``); or None for one of which nothing is left.
                A molecule that RDKit cannot sanitise is written as failed.
            name: the record's title line.
            properties: data fields. The molecule's own properties are written too; these take precedence. Names are reduced
                to letters, digits, ``_``, ``.`` and ``-``; values to one line.
        """
        if self._file is None:
            raise ValueError("SdfWriter.write outside of its with block")
        mol, reason = unpack(item)
        block, fault = mol_block(mol, reason)
        fields: dict[str, object] = {}
        if mol is not None:
            fields |= mol.GetPropsAsDict(includePrivate=False, includeComputed=False)
            name = name or (mol.GetProp("_Name") if mol.HasProp("_Name") else "")
        fields |= dict(properties or {}) | {STATUS: status_of(fault)}
        data = "".join(f">  <{_clean_name(key)}>\n{one_line(value)}\n\n" for key, value in fields.items())
        body = block.split("\n", 1)[1]
        self._file.write(f"{one_line(name)[:80]}\n{body}{data}$$$$\n")
        self._file.flush()
        self.written += 1
        self.failed += fault is not None


def mol_block(mol: Chem.Mol | None, reason: str | None) -> tuple[str, str | None]:
    """Mol block, bonds and charges as they stand, and what is wrong with the molecule."""
    if mol is None:
        return Chem.MolToMolBlock(Chem.Mol()), reason or "no molecule"
    fault = reason or ("no atoms" if mol.GetNumAtoms() == 0 else sanitize_fault(Chem.Mol(mol)))
    if fault is None and mol.GetNumConformers():
        fault = coordinate_fault(mol.GetConformer().GetPositions())
    plain = Chem.Mol(mol)
    plain.UpdatePropertyCache(strict=False)
    for atom in plain.GetAtoms():
        # The valence field that RDKit writes for explicit atoms is undefined for a charge larger than the atomic number: it raises.
        if atom.GetFormalCharge() > atom.GetAtomicNum():
            atom.SetNoImplicit(False)
    with rdBase.BlockLogs(), suppress(ValueError):
        Chem.Kekulize(plain, clearAromaticFlags=True)
    return Chem.MolToMolBlock(plain, kekulize=False, includeStereo=False), fault


def _clean_name(name: object) -> str:
    return re.sub(r"[^A-Za-z0-9_.\-]", "_", str(name))[:64] or "_"


def one_line(value: object) -> str:
    """A value as one printable line that no reader of the file takes for anything else; bounded."""
    line = "".join(c if c.isprintable() else " " for c in str(value))[:_MAX_VALUE]
    return f" {line}" if line.startswith(("$$$$", ">")) else line
