"""The verdicts of metrics A and B on single molecules; :mod:`.evaluation` only counts them.

A record of which nothing usable is left (unreadable, no atoms, coordinates that are not finite) fails every metric: it keeps
its place in the denominators, with as many unstable atoms as it is known to have.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from rdkit import Chem

from scidiff_molecules.metrics.lookup import VALENCE, lookup, lookup_smiles
from scidiff_molecules.metrics.valence import LENIENT, as_generated, stable_atoms, strict_table
from scidiff_molecules.sdf import Failed, ReadFailure, Structure, read_sdf, structure_of, unpack

_CHUNK = 1024

Item = Chem.Mol | Failed | None
"""What is judged: a molecule, an object with ``mol`` and ``reason`` (empty where it did not fail), or None where nothing is left."""


@dataclass(frozen=True)
class Verdict:
    """Metrics A and B of one molecule.

    Attributes:
        index: its place in the source, from 0.
        atoms: number of atoms (0 when unknown).
        a_atoms, a_stable, a_smiles: metric A: stable atoms, all stable, 64-bit hash of the SMILES when valid.
        strict_atoms, strict_stable, lenient_atoms, lenient_stable: metric B's valence tables.
        valid, connected, b_smiles: metric B: sanitised, one fragment, hash of the SMILES when both hold.
        fault: why it is not valid as generated, or None.
        usable: whether its atoms and coordinates could be used at all.
        hydrogens, foreign: whether it has a hydrogen, and an element outside H, C, N, O, F.
        flat: it lies in a plane though an atom of it has four bonds: a drawing.
    """

    index: int
    atoms: int
    fault: str | None
    usable: bool
    a_atoms: int = 0
    a_stable: bool = False
    a_smiles: int | None = None
    strict_atoms: int = 0
    strict_stable: bool = False
    lenient_atoms: int = 0
    lenient_stable: bool = False
    valid: bool = False
    connected: bool = False
    b_smiles: int | None = None
    hydrogens: bool = False
    foreign: bool = False
    flat: bool = False


Reduced = tuple[Structure | None, Verdict]
"""A molecule's structure, where there is one, and the verdict on it as far as it is known before judging."""


def smiles_hash(smiles: str) -> int:
    """The first 8 bytes of the SMILES' SHA-256, big-endian: 100,000 SMILES collide with probability 3e-10."""
    return int.from_bytes(hashlib.sha256(smiles.encode()).digest()[:8], "big")


def items_of(source: str | Path | Iterable[Item]) -> Iterator[tuple[int, Item]]:
    """Enumerate a source: the records of an SDF file, as they stand in it, or the molecules of an iterable."""
    if isinstance(source, str | Path):
        return read_sdf(source, sanitize=False)
    return enumerate(source)


def judge(items: Iterable[tuple[int, Item]]) -> Iterator[Verdict]:
    """Verdicts in the order of ``items``, computed in chunks; memory does not grow with the number of molecules."""
    stream = iter(items)
    while chunk := list(islice(stream, _CHUNK)):
        yield from judge_reduced([reduce_item(index, item) for index, item in chunk])


def judge_reduced(reduced: Sequence[Reduced]) -> Iterator[Verdict]:
    """Verdicts on what :func:`reduce_item` and :func:`reduce_structure` made of molecules, in their order."""
    usable = [structure for structure, verdict in reduced if structure is not None and verdict.usable]
    results = iter(zip(usable, lookup(usable), strict=True))
    for structure, verdict in reduced:
        if structure is None or not verdict.usable:
            yield verdict
            continue
        _, found = next(results)
        smiles = lookup_smiles(structure, found.bonds)
        yield _graph_verdict(structure, verdict, found.stable_atoms, found.stable, smiles)


def judge_structures(structures: Iterable[Structure]) -> Iterator[Verdict]:
    """The same for molecules already reduced to structures with usable coordinates."""
    stream = iter(structures)
    index = 0
    while chunk := list(islice(stream, _CHUNK)):
        for structure, found in zip(chunk, lookup(chunk), strict=True):
            smiles = lookup_smiles(structure, found.bonds)
            blank = Verdict(index, len(structure), None, usable=True)
            yield _graph_verdict(structure, blank, found.stable_atoms, found.stable, smiles)
            index += 1


def reduce_item(index: int, item: Item) -> Reduced:
    """A molecule as the metrics see it, and the blank verdict on it: its atoms, its fault, whether it can be used."""
    mol, reason = unpack(item)
    if mol is None or mol.GetNumAtoms() == 0:
        return reduce_nothing(index, reason or "no atoms", item.atoms if isinstance(item, ReadFailure) else 0)
    return reduce_structure(index, structure_of(mol), reason)


def reduce_structure(index: int, structure: Structure, reason: str | None) -> Reduced:
    """The same for a structure of at least one atom; ``reason``: why it failed, if anybody says so."""
    fault = structure.coordinate_fault()
    return structure, Verdict(index, len(structure), fault or reason, usable=fault is None)


def reduce_nothing(index: int, reason: str, atoms: int = 0) -> Reduced:
    """The same where no structure is left, of so many atoms if that is known."""
    return None, Verdict(index, atoms, reason, usable=False)


def _graph_verdict(structure: Structure, verdict: Verdict, a_atoms: int, a_stable: bool, a_smiles: str | None) -> Verdict:
    graph = as_generated(structure)
    valid = graph.valid and verdict.fault is None
    strict = stable_atoms(structure, strict_table(), neutral_fallback=False)
    lenient = stable_atoms(structure, LENIENT, neutral_fallback=True)
    numbers = set(structure.numbers.tolist())
    connected = graph.fragments == 1
    return Verdict(
        index=verdict.index,
        atoms=verdict.atoms,
        fault=verdict.fault or graph.fault,
        usable=True,
        a_atoms=a_atoms,
        a_stable=a_stable,
        a_smiles=None if a_smiles is None else smiles_hash(a_smiles),
        strict_atoms=strict,
        strict_stable=strict == len(structure),
        lenient_atoms=lenient,
        lenient_stable=lenient == len(structure),
        valid=valid,
        connected=connected,
        b_smiles=smiles_hash(graph.smiles) if valid and connected and graph.smiles is not None else None,
        hydrogens=1 in numbers,
        foreign=not numbers <= VALENCE.keys(),
        flat=_flat(structure),
    )


def _flat(structure: Structure) -> bool:
    bonds = Counter(end for i, j, _ in structure.bonds for end in (i, j))
    if structure.positions is None or max(bonds.values(), default=0) < 4:
        return False
    return bool(np.linalg.svd(structure.positions - structure.positions.mean(0), compute_uv=False)[-1] < 1e-3)
