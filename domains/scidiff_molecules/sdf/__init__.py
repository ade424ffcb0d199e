"""SDF files: reading and writing, streamed, bounded, and with nothing lost on the way."""

from __future__ import annotations

from scidiff_molecules.sdf.reading import STATUS, ReadFailure, count_records, read_sdf, sanitize_fault
from scidiff_molecules.sdf.structure import Structure, build_mol, structure_of, with_conformer
from scidiff_molecules.sdf.writing import Failed, SdfWriter, atomic_text, mol_block, unpack

__all__ = [
    "STATUS",
    "Failed",
    "ReadFailure",
    "SdfWriter",
    "Structure",
    "atomic_text",
    "build_mol",
    "count_records",
    "mol_block",
    "read_sdf",
    "sanitize_fault",
    "structure_of",
    "unpack",
    "with_conformer",
]
