"""SDF files: reading and writing, streamed, bounded, and with nothing lost on the way."""

from __future__ import annotations

from scidiff_molecules.sdf.reading import (
    SCREEN,
    STATUS,
    UNSANITISED,
    WITHHELD,
    ReadFailure,
    checked,
    count_records,
    read_sdf,
    sanitize_fault,
    status_of,
)
from scidiff_molecules.sdf.structure import AS_STATED, Structure, build_mol, in_space, structure_of, with_conformer, without_hydrogens
from scidiff_molecules.sdf.writing import Failed, SdfWriter, atomic_text, mol_block, one_line, unpack

__all__ = [
    "AS_STATED",
    "SCREEN",
    "STATUS",
    "UNSANITISED",
    "WITHHELD",
    "Failed",
    "ReadFailure",
    "SdfWriter",
    "Structure",
    "atomic_text",
    "build_mol",
    "checked",
    "count_records",
    "in_space",
    "mol_block",
    "one_line",
    "read_sdf",
    "sanitize_fault",
    "status_of",
    "structure_of",
    "unpack",
    "with_conformer",
    "without_hydrogens",
]
