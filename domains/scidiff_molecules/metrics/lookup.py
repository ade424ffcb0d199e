"""Metric A: bonds looked up from interatomic distances, as in EDM (Hoogeboom et al., 2022, arXiv:2203.17003).

For a pair of atoms at distance d (in picometres) and element-pair tables s (single), m (double), u (triple)::

    order = 0                       unless d < s + 10
            1                       unless d < m + 5
            2                       unless d < u + 3
            3                       otherwise

Every comparison is strict, and a pair without a double (triple) entry stops at single (double). An atom is *stable* when the
orders around it sum to its valence, H 1, C 4, N 3, O 2, F 1, charges not considered; a molecule when all its atoms are.

*Validity* sanitises, with RDKit, the molecule these bonds make (neutral atoms; an atom with too few bonds is completed with
implicit hydrogens, as in EDM); the SMILES compared afterwards is that of its largest fragment, explicit hydrogens kept.

Distances are computed in float64 and rounded to 1e-9 pm, so that one exactly at a threshold is no bond, whatever the last bit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem, rdBase

from scidiff_molecules.sdf.structure import Structure, build_mol

MARGINS = {1: 10.0, 2: 5.0, 3: 3.0}
VALENCE = {1: 1, 6: 4, 7: 3, 8: 2, 9: 1}
_SYMBOLS = {"H": 1, "C": 6, "N": 7, "O": 8, "F": 9}
_LENGTHS: dict[int, dict[str, float]] = {
    1: {
        "HH": 74, "HC": 109, "HN": 101, "HO": 96, "HF": 92, "CC": 154, "CN": 147, "CO": 143, "CF": 135,
        "NN": 145, "NO": 140, "NF": 136, "OO": 148, "OF": 142, "FF": 142,
    },
    2: {"CC": 134, "CN": 129, "CO": 120, "NN": 125, "NO": 121, "OO": 121},
    3: {"CC": 120, "CN": 116, "CO": 113, "NN": 110},
}  # fmt: skip

_MAX_Z = max(VALENCE)
_PAIR_BUDGET = 1_000_000  # atom pairs held at once; bounds the memory of a batch with a large molecule in it


def _threshold_table() -> NDArray[np.float64]:
    table = np.full((4, _MAX_Z + 1, _MAX_Z + 1), -np.inf)
    for order, pairs in _LENGTHS.items():
        for pair, length in pairs.items():
            a, b = (_SYMBOLS[symbol] for symbol in pair)
            table[order, a, b] = table[order, b, a] = length + MARGINS[order]
    return table


def _valence_table() -> NDArray[np.int64]:
    table = np.full(_MAX_Z + 1, -1, dtype=np.int64)
    for number, valence in VALENCE.items():
        table[number] = valence
    return table


THRESHOLDS = _threshold_table()
"""Thresholds in pm, indexed [order, Z, Z']; -inf where the definition has no entry."""
_VALENCES = _valence_table()


def bond_orders(positions: NDArray[np.floating], numbers: NDArray[np.integer]) -> NDArray[np.int8]:
    """Bond orders of metric A.

    Args:
        positions: coordinates in Angstrom, shape (B, N, 3).
        numbers: atomic numbers, shape (B, N); 0 pads, and an element outside H, C, N, O, F has no bonds.

    Returns:
        int8 of shape (B, N, N), symmetric with a zero diagonal.

    Raises:
        ValueError: the shapes do not fit each other.
    """
    if positions.ndim != 3 or positions.shape[2] != 3 or numbers.shape != positions.shape[:2]:
        raise ValueError(f"positions (B, N, 3) and numbers (B, N) expected, got {positions.shape} and {numbers.shape}")
    x = positions.astype(np.float64)
    delta = x[:, :, None, :] - x[:, None, :, :]
    distance = np.round(100.0 * np.sqrt(np.einsum("bijk,bijk->bij", delta, delta)), 9)
    z = np.where((numbers > 0) & (numbers <= _MAX_Z), numbers, 0)
    below = [distance < THRESHOLDS[order][z[:, :, None], z[:, None, :]] for order in (1, 2, 3)]
    orders = below[0].astype(np.int8)
    orders += below[0] & below[1]
    orders += below[0] & below[1] & below[2]
    diagonal = np.arange(orders.shape[1])
    orders[:, diagonal, diagonal] = 0
    return orders


def stable_atoms(orders: NDArray[np.int8], numbers: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Which atoms have exactly their valence: orders (B, N, N) and numbers (B, N) give bool (B, N); padding is False."""
    z = np.where((numbers > 0) & (numbers <= _MAX_Z), numbers, 0)
    wanted = _VALENCES[z]
    return (orders.sum(axis=2, dtype=np.int64) == wanted) & (wanted > 0)


@dataclass(frozen=True)
class LookupResult:
    """Metric A of one molecule: how many atoms are stable, whether all are, and its bonds as (i, j, order), i < j."""

    stable_atoms: int
    stable: bool
    bonds: tuple[tuple[int, int, float], ...]


def lookup(structures: Sequence[Structure]) -> list[LookupResult]:
    """Metric A of many molecules with usable coordinates, computed in padded batches.

    Memory is bounded: similar sizes are put together, at most a million atom pairs at a time (one molecule alone may exceed that).
    A molecule of no atoms is not stable.
    """
    results: list[LookupResult | None] = [None] * len(structures)
    for batch in _batches([len(s) for s in structures]):
        for place, result in zip(batch, _lookup_batch([structures[i] for i in batch]), strict=True):
            results[place] = result
    return [result for result in results if result is not None]


def _batches(sizes: Sequence[int]) -> Iterator[list[int]]:
    batch: list[int] = []
    for place in sorted(range(len(sizes)), key=sizes.__getitem__):
        if batch and (len(batch) + 1) * sizes[place] ** 2 > _PAIR_BUDGET:
            yield batch
            batch = []
        batch.append(place)
    if batch:
        yield batch


def _lookup_batch(structures: Sequence[Structure]) -> Iterator[LookupResult]:
    width = max(len(s) for s in structures)
    positions = np.zeros((len(structures), width, 3))
    numbers = np.zeros((len(structures), width), dtype=np.int64)
    for row, structure in enumerate(structures):
        if structure.positions is None:
            raise ValueError("metric A needs coordinates")
        positions[row, : len(structure)] = structure.positions
        numbers[row, : len(structure)] = structure.numbers
    orders = bond_orders(positions, numbers)
    counts = stable_atoms(orders, numbers).sum(axis=1)
    for row, structure in enumerate(structures):
        i, j = np.nonzero(np.triu(orders[row]))
        bonds = tuple(zip(i.tolist(), j.tolist(), orders[row][i, j].astype(float).tolist(), strict=True))
        count = int(counts[row])
        yield LookupResult(count, count == len(structure) > 0, bonds)


def lookup_smiles(structure: Structure, bonds: tuple[tuple[int, int, float], ...]) -> str | None:
    """SMILES of the largest fragment of the molecule that metric A's bonds make, or None when RDKit rejects it.

    Charges are not considered; hydrogens stay explicit; no stereochemistry. An empty molecule, or one with an element
    outside H, C, N, O, F, is None.
    """
    if len(structure) == 0 or not all(number in VALENCE for number in structure.numbers.tolist()):
        return None
    bare = Structure(structure.numbers, np.zeros_like(structure.charges), None, bonds)
    mol = build_mol(bare, implicit_hydrogens=True)
    with rdBase.BlockLogs():
        try:
            Chem.SanitizeMol(mol)
        except ValueError:
            return None
        fragments = Chem.GetMolFrags(mol, asMols=True)
        return Chem.MolToSmiles(max(fragments, key=lambda fragment: fragment.GetNumAtoms()))
