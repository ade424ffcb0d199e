"""How a `MoleculeDataset` lies on disk: one safetensors file, small integer types, facts as JSON in its header."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from torch import Tensor

from scidiff.errors import UserError
from scidiff.files import atomic_write

FORMAT = "scidiff.molecules/1"
REMEDY = "delete it and make it again with `scidiff molecules data`"
MAX_ATOMS = 10_000
"""Atoms a stored molecule may have: a corrupted count must not allocate memory."""

_WIDE = {
    "pos": torch.float32,
    "z": torch.int64,
    "charge": torch.int64,
    "num_h": torch.int64,
    "bond_index": torch.int64,
    "bond_order": torch.int64,
    "y": torch.float32,
    "index": torch.int64,
    "assigned": torch.bool,
}
_SMALL = {"z": np.uint8, "charge": np.int8, "num_h": np.uint8, "bond_order": np.uint8, "index": np.int32, "assigned": np.uint8}


def validate(fields: Mapping[str, Tensor], nodes: Tensor, edges: Tensor) -> None:
    """Check types, lengths and bounds of a collated dataset: finite numbers, 1 <= z <= 118, |charge| <= 8, 0 <= num_h <= 8,
    orders 1 to 3, bonds 0 <= i < j < n, at least one atom a molecule.

    Raises
    ------
    UserError
        naming the field, and the first molecule at fault where there is one.
    """
    if set(fields) != set(_WIDE):
        raise UserError(f"dataset: expected the fields {sorted(_WIDE)}, got {sorted(fields)}")
    molecules, atoms, bonds = nodes.numel(), int(nodes.sum()), int(edges.sum())
    shapes = dict.fromkeys(("z", "charge", "num_h"), (atoms,)) | dict.fromkeys(("index", "assigned"), (molecules,))
    shapes |= {"pos": (atoms, 3), "bond_index": (2, bonds), "bond_order": (bonds,), "y": (molecules, fields["y"].shape[-1])}
    for key, shape in shapes.items():
        if tuple(fields[key].shape) != shape or fields[key].dtype != _WIDE[key]:
            raise UserError(f"dataset: {key} should be {_WIDE[key]} {shape}, is {fields[key].dtype} {tuple(fields[key].shape)}")
    if edges.shape != nodes.shape or (edges < 0).any():
        raise UserError("dataset: the numbers of bonds do not fit the molecules")
    _all((nodes >= 1) & (nodes <= MAX_ATOMS), None, f"atoms must be 1 to {MAX_ATOMS}")
    _all(torch.isfinite(fields["pos"]).all(-1), nodes, "pos must be finite")
    _all(torch.isfinite(fields["y"]).all(-1), None, "y must be finite")
    for key, low, high, count in (("z", 1, 118, nodes), ("charge", -8, 8, nodes), ("num_h", 0, 8, nodes), ("bond_order", 1, 3, edges)):
        _all((fields[key] >= low) & (fields[key] <= high), count, f"{key} must be {low} to {high}")
    i, j = fields["bond_index"]
    _all((i >= 0) & (i < j) & (j < torch.repeat_interleave(nodes, edges)), edges, "bond_index must hold 0 <= i < j < atoms")


def _all(good: Tensor, count: Tensor | None, law: str) -> None:
    if not bool(good.all()):
        at = int((~good).nonzero()[0])
        if count is not None:
            at = int(torch.searchsorted(count.cumsum(0), at, right=True))
        raise UserError(f"dataset: {law}; molecule {at} breaks it")


def write(path: Path, fields: Mapping[str, Tensor], nodes: Tensor, edges: Tensor, metadata: Mapping[str, Any]) -> None:
    """Write atomically; folders that lack are made."""
    width = np.uint8 if nodes.numel() and int(nodes.max()) <= 256 else np.uint16
    arrays = {key: value.numpy().astype(_SMALL.get(key, value.numpy().dtype)) for key, value in fields.items()}
    arrays["bond_index"] = fields["bond_index"].numpy().astype(width)
    arrays |= {"nodes": nodes.numpy().astype(np.uint16), "edges": edges.numpy().astype(np.uint16)}
    for key, value in fields.items():
        if not np.array_equal(arrays[key], value.numpy()):
            raise UserError(f"{path}: {key} does not fit the file's small integers; molecules this large cannot be stored")
    header = {"format": FORMAT, "metadata": json.dumps(dict(metadata), sort_keys=True)}
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, _stable(save({key: np.ascontiguousarray(value) for key, value in arrays.items()}, header)))


def _stable(payload: bytes) -> bytes:
    """The same file with its header sorted: safetensors writes metadata in random order, and equal data should be equal bytes."""
    end = 8 + int.from_bytes(payload[:8], "little")
    header = json.dumps(json.loads(payload[8:end]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + payload[end:]


def read(path: Path) -> tuple[dict[str, Tensor], Tensor, Tensor, dict[str, Any]]:
    """Fields in their wide types, atoms and bonds per molecule, metadata. Raises UserError naming the file."""
    if not path.is_file():
        raise UserError(f"{path}: no such dataset file; make it with `scidiff molecules data`")
    try:
        with safe_open(path, "pt") as file:
            header = file.metadata() or {}
            raw = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  (not a dict)
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{path}: not a readable safetensors file ({error}); {REMEDY}") from None
    if header.get("format") != FORMAT:
        raise UserError(f"{path}: not a molecule dataset of format {FORMAT} (its format: {header.get('format')!r}); {REMEDY}")
    if set(raw) != {*_WIDE, "nodes", "edges"}:
        raise UserError(f"{path}: holds {sorted(raw)} instead of {sorted([*_WIDE, 'nodes', 'edges'])}; {REMEDY}")
    try:
        metadata = json.loads(header["metadata"])
        if not isinstance(metadata, dict):
            raise TypeError
    except (KeyError, TypeError, ValueError):
        raise UserError(f"{path}: its metadata is not a JSON object; {REMEDY}") from None
    fields = {key: raw[key].to(dtype) for key, dtype in _WIDE.items()}
    return fields, raw["nodes"].long(), raw["edges"].long(), metadata


@contextmanager
def blame(path: Path) -> Iterator[None]:
    """Prefix a UserError with the file it came from."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{path}: {error}; {REMEDY}") from None
