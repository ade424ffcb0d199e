"""What is observed of molecules, as numbers of histogram cells: bond lengths, angles, torsions, rings, elements, descriptors.

An observation is one 64-bit number, ``(kind, type, bin)``: a kind has fixed bins, and bond lengths, angles and torsions have types:

- *bond lengths* by both elements and the order, ``C-H``, ``C:N`` (``-=#:`` single, double, triple, aromatic as RDKit perceives it);
- *angles* by the three elements and both orders, ``C-C=O``;
- *torsions* by the four elements and the order of the middle bond, ``H~C-C~O``, as absolute value: mirror images count as the same, and the
  circle folded at 0 and 180 degrees is a line, on which distances are those on the circle. A torsion about an end that is bent by
  less than 5 degrees from straight is undefined and left out.

Both directions of a type are one. A value beyond the last bin counts as in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem

_BIN_BITS, _TYPE_BITS = 10, 31
_STRAIGHT = np.sin(np.radians(5.0))
_ORDER = {1.0: 1, 2.0: 2, 3.0: 3, 1.5: 4}
_SIGN = {1: "-", 2: "=", 3: "#", 4: ":"}
_OTHER = "~"  # a bond of another kind, and one whose kind does not matter


@dataclass(frozen=True)
class Kind:
    """A kind of observation: bins of equal width from ``low`` on; ``unit`` of the values; values of one kind, or types of them."""

    number: int
    name: str
    low: float
    width: float
    bins: int
    unit: str

    def keys(self, types: NDArray[np.int64] | int, values: NDArray[np.float64] | Sequence[float | int]) -> NDArray[np.int64]:
        """Cells of values (N,) of types (N,)."""
        # + 1e-9: a value on an edge, such as 0.15 of a descriptor or a whole number, must not fall by its last bit
        place = np.floor((np.asarray(values, dtype=np.float64) - self.low) / self.width + 1e-9)
        head = self.number << _TYPE_BITS | np.asarray(types, dtype=np.int64)
        return head << _BIN_BITS | np.clip(place, 0, self.bins - 1).astype(np.int64)

    def centres(self) -> NDArray[np.float64]:
        """The value that each bin stands for (bins,): its middle, or the whole number itself."""
        return self.low + self.width * (np.arange(self.bins, dtype=np.float64) + (0.0 if self.width == 1.0 else 0.5))


BOND = Kind(0, "bond lengths", 0.5, 0.0025, 1000, "Å")
ANGLE = Kind(1, "angles", 0.0, 0.5, 360, "°")
TORSION = Kind(2, "torsions", 0.0, 2.0, 90, "°")
RING = Kind(3, "ring sizes", 0.0, 1.0, 32, "")
ELEMENT = Kind(4, "elements", 0.0, 1.0, 128, "")
QED = Kind(5, "QED", 0.0, 0.005, 200, "")
SA = Kind(6, "SA", 1.0, 0.02, 450, "")
LOGP = Kind(7, "logP", -20.0, 0.05, 1000, "")
KINDS = (BOND, ANGLE, TORSION, RING, ELEMENT, QED, SA, LOGP)


def split(keys: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Kind number, type and bin of cells."""
    return keys >> (_BIN_BITS + _TYPE_BITS), keys >> _BIN_BITS & ((1 << _TYPE_BITS) - 1), keys & ((1 << _BIN_BITS) - 1)


def type_name(kind: Kind, code: int) -> str:
    """``C-H``, ``C-C=O``, ``H~C-C~O``."""
    symbol = Chem.GetPeriodicTable().GetElementSymbol
    elements, orders = _parts(kind, code)
    names = [symbol(z) if z else "*" for z in elements]
    signs = [_SIGN.get(o, _OTHER) for o in orders]
    if kind is TORSION:
        signs = [_OTHER, signs[0], _OTHER]
    return names[0] + "".join(sign + name for sign, name in zip(signs, names[1:], strict=True))


def _parts(kind: Kind, code: int) -> tuple[list[int], list[int]]:
    """Elements and orders of a type, as :func:`_code` packed them."""
    atoms, many = {BOND.number: (2, 1), ANGLE.number: (3, 2), TORSION.number: (4, 1)}[kind.number]
    fields = [code >> shift & mask for shift, mask in _layout(atoms, many)]
    return fields[:atoms], fields[atoms:]


def _layout(atoms: int, orders: int) -> list[tuple[int, int]]:
    return [(3 * orders + 7 * (atoms - 1 - k), 127) for k in range(atoms)] + [(3 * (orders - 1 - k), 7) for k in range(orders)]


def _code(elements: Sequence[NDArray[np.int64]], orders: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """The type read in one direction or in the other, whichever is the smaller number."""

    def packed(columns: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
        whole = np.zeros(len(columns[0]), dtype=np.int64)
        for column, (shift, _) in zip(columns, _layout(len(elements), len(orders)), strict=True):
            whole |= column << shift
        return whole

    return np.minimum(packed([*elements, *orders]), packed([*elements[::-1], *orders[::-1]]))


def geometry_cells(mols: Sequence[Chem.Mol]) -> list[NDArray[np.int64]]:
    """Bond lengths, angles and torsions of sanitised molecules with conformers, hydrogens included: the cells of each."""
    if not mols:
        return []
    x = np.concatenate([mol.GetConformer().GetPositions() for mol in mols])
    z = np.array([atom.GetAtomicNum() for mol in mols for atom in mol.GetAtoms()], dtype=np.int64)
    bonds, angles, torsions = _tuples(mols)
    owner = np.repeat(np.arange(len(mols)), [mol.GetNumAtoms() for mol in mols])
    found: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []
    for measure, tuples, width in ((_bond_cells, bonds, 3), (_angle_cells, angles, 5), (_torsion_cells, torsions, 5)):
        table = np.array(tuples, dtype=np.int64).reshape(-1, width)
        keys, defined = measure(x, z, table)
        found.append((keys[defined], owner[table[:, 0]][defined]))
    keys, owners = (np.concatenate(column) for column in zip(*found, strict=True))
    order = np.argsort(owners, kind="stable")
    return np.split(keys[order], np.cumsum(np.bincount(owners, minlength=len(mols)))[:-1])


def _tuples(mols: Sequence[Chem.Mol]) -> tuple[list[tuple[int, ...]], ...]:
    """Bonds (i, j, order), angles (a, centre, b, order, order) and torsions (a, b, c, d, order of b-c) of molecules end to end."""
    bonds: list[tuple[int, ...]] = []
    angles: list[tuple[int, ...]] = []
    torsions: list[tuple[int, ...]] = []
    first = 0
    for mol in mols:
        around: list[list[tuple[int, int]]] = [[] for _ in range(mol.GetNumAtoms())]
        mine: list[tuple[int, int, int]] = []
        for bond in mol.GetBonds():
            i, j, order = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx(), _ORDER.get(bond.GetBondTypeAsDouble(), 0)
            mine.append((first + i, first + j, order))
            around[i].append((first + j, order))
            around[j].append((first + i, order))
        bonds += mine
        angles += [(a, first + c, b, p, q) for c, ends in enumerate(around) for k, (a, p) in enumerate(ends) for b, q in ends[:k]]
        for b, c, o in mine:
            ends = around[c - first]
            torsions += [(a, b, c, d, o) for a, _ in around[b - first] if a != c for d, _ in ends if d not in (a, b)]
        first += len(around)
    return bonds, angles, torsions


_Measured = tuple[NDArray[np.int64], NDArray[np.bool_]]
"""Cells, and where they are defined."""


def _bond_cells(x: NDArray[np.float64], z: NDArray[np.int64], bonds: NDArray[np.int64]) -> _Measured:
    i, j, order = bonds.T
    return BOND.keys(_code([z[i], z[j]], [order]), np.linalg.norm(x[i] - x[j], axis=1)), np.ones(len(i), dtype=np.bool_)


def _angle_cells(x: NDArray[np.float64], z: NDArray[np.int64], angles: NDArray[np.int64]) -> _Measured:
    a, c, b, p, q = angles.T
    u, v = x[a] - x[c], x[b] - x[c]
    sine, cosine = np.linalg.norm(np.cross(u, v), axis=1), np.sum(u * v, axis=1)
    defined = (sine > 0) | (cosine != 0)  # not where atoms coincide
    keys = ANGLE.keys(_code([z[a], z[c], z[b]], [p, q]), np.degrees(np.arctan2(sine, cosine)))
    return keys, defined


def _torsion_cells(x: NDArray[np.float64], z: NDArray[np.int64], torsions: NDArray[np.int64]) -> _Measured:
    a, b, c, d, order = torsions.T
    u, v, w = x[b] - x[a], x[c] - x[b], x[d] - x[c]
    m, n = np.cross(u, v), np.cross(v, w)
    size_m, size_n, size_v = (np.linalg.norm(one, axis=1) for one in (m, n, v))
    bent = (size_m > _STRAIGHT * size_v * np.linalg.norm(u, axis=1)) & (size_n > _STRAIGHT * size_v * np.linalg.norm(w, axis=1))
    angle = np.degrees(np.arctan2(np.linalg.norm(np.cross(m, n), axis=1), np.sum(m * n, axis=1)))
    return TORSION.keys(_code([z[a], z[b], z[c], z[d]], [order]), angle), bent


def descriptor_cells(mol: Chem.Mol, descriptors: Any) -> NDArray[np.int64]:
    """Elements (hydrogens included), ring sizes, QED, SA and logP of a molecule, as cells."""
    elements = [atom.GetAtomicNum() for atom in mol.GetAtoms()]
    parts = [ELEMENT.keys(0, elements), QED.keys(0, [descriptors.qed]), SA.keys(0, [descriptors.sa]), LOGP.keys(0, [descriptors.logp])]
    if descriptors.ring_sizes:
        parts.append(RING.keys(0, descriptors.ring_sizes))
    return np.concatenate(parts)
