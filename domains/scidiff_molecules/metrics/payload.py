"""A molecule on its way to the process that judges it: plain JSON, so that nothing has to be pickled.

One of three forms: ``{"sdf": text}``, a record of a file as it stands; ``{"z", "q", "x", "b", "reason"}``, a structure (numbers, charges,
positions in Angstrom or None, bonds) and why it failed, if anybody says so; ``{"nothing": reason, "atoms": count}``.
Numbers survive to the bit, NaN and infinities included.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from rdkit import Chem, rdBase

from scidiff_molecules.metrics.verdict import Item, Reduced, reduce_item, reduce_nothing, reduce_structure
from scidiff_molecules.sdf import STATUS, UNSANITISED, ReadFailure, Structure, structure_of, unpack
from scidiff_molecules.sdf.reading import MAX_RECORD_BYTES, parse_record, raw_records

Payload = dict[str, Any]
_PROVENANCE = "scidiff_"
_MAX_PROVENANCE = 20


def payloads_of(source: str | Path | Iterable[Item], properties: dict[str, str]) -> Iterator[tuple[Payload, int]]:
    """(payload, bytes of the file it took) of every molecule of a source, in its order.

    ``properties`` takes up how molecules in memory were made; those of a file are read where they are judged.
    """
    if isinstance(source, str | Path):
        for record in raw_records(source):
            if record is None:
                yield {"nothing": f"the record is larger than {MAX_RECORD_BYTES:,} bytes", "atoms": 0}, MAX_RECORD_BYTES
            else:
                yield {"sdf": record.decode("utf-8", errors="replace")}, len(record)
        return
    for item in source:
        mol, _ = unpack(item)
        if mol is not None:
            merge(properties, provenance(mol))
        yield pack(item), 0


def pack(item: Item) -> Payload:
    """The payload of a molecule in memory."""
    mol, reason = unpack(item)
    if mol is None or mol.GetNumAtoms() == 0:
        return {"nothing": reason or "no atoms", "atoms": item.atoms if isinstance(item, ReadFailure) else 0}
    return pack_structure(structure_of(mol), reason)


def pack_structure(structure: Structure, reason: str | None = None) -> Payload:
    """The payload of a structure."""
    return {
        "z": structure.numbers.tolist(),
        "q": structure.charges.tolist(),
        "x": None if structure.positions is None else structure.positions.tolist(),
        "b": [list(bond) for bond in structure.bonds],
        "reason": reason,
    }


def reduced(index: int, payload: Payload) -> tuple[Reduced, dict[str, str]]:
    """What is to be judged, and how it was made (for a record of a file)."""
    if "nothing" in payload:
        return reduce_nothing(index, payload["nothing"], payload["atoms"]), {}
    if "sdf" in payload:
        with rdBase.BlockLogs():
            item = parse_record(index, payload["sdf"])
        mol, _ = unpack(item)
        return reduce_item(index, item), provenance(mol) if mol is not None else {}
    positions = None if payload["x"] is None else np.array(payload["x"], dtype=np.float64).reshape(-1, 3)
    bonds = tuple((int(i), int(j), float(order)) for i, j, order in payload["b"])
    structure = Structure(np.array(payload["z"], dtype=np.int64), np.array(payload["q"], dtype=np.int64), positions, bonds)
    return reduce_structure(index, structure, payload["reason"]), {}


def structure_in(payload: Payload) -> Structure | None:
    """The structure of a payload, where one can be read."""
    (structure, _), _ = reduced(0, payload)
    return structure


def provenance(mol: Chem.Mol) -> dict[str, str]:
    """How a molecule was made: its ``scidiff_`` fields (seed, steps, model, ...)."""
    fields = [name for name in mol.GetPropNames() if name.startswith(_PROVENANCE) and name not in (_PROVENANCE, STATUS)]
    made = {name.removeprefix(_PROVENANCE): mol.GetProp(name)[:80] for name in fields[:_MAX_PROVENANCE]}
    return {key: value for key, value in made.items() if value != UNSANITISED}  # that is of this molecule, not of how all were made


def merge(properties: dict[str, str], more: dict[str, str]) -> None:
    """Note fields in ``properties``: a value that is not the same everywhere ``varies``; twenty fields at most."""
    for key, value in more.items():
        if key in properties or len(properties) < _MAX_PROVENANCE:
            properties[key] = value if properties.get(key, value) == value else "varies"
