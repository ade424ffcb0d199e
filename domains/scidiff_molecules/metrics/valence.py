"""Metric B: bonds and formal charges as they were generated, judged by two valence tables, each with its name.

*Strict*: (element, charge, valence) must occur in QM9's training set. The table is counted from the 100,000 training
molecules by ``scripts/make_qm9_reference.py`` and shipped as ``data_reference/qm9_valences.json``.

*Lenient*: the table of MiDi (Vignac et al., 2023, arXiv:2302.09048), which EQGAT-diff, SemlaFlow and others report by. It
allows a neutral carbon of valence 3 and a neutral nitrogen of valence 2, and judges a charge that it does not list as if
the atom were neutral. Published figures by it are not comparable with the strict ones, nor with metric A.

The valence of an atom is the sum of the orders of its bonds, aromatic systems kekulised first; implicit hydrogens do not count.
An atom is *stable* when its table allows its valence, a molecule when all its atoms are and it has at least one.

*Valid*: RDKit sanitises the molecule as generated: an atom with too few bonds is a radical, not completed with hydrogens, and RDKit's
clean-up is left out, which would give a neutral nitro group its charges.
*Valid and connected*: that, and one fragment. Its SMILES has hydrogens made implicit and no stereochemistry.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem, rdBase

from scidiff_molecules.sdf.structure import AS_STATED, Structure, build_mol, without_hydrogens

Table = Mapping[int, Mapping[int, frozenset[int]]]
"""Allowed valences: atomic number -> formal charge -> set of valences."""

_ANY_CHARGE: dict[str, tuple[int, ...]] = {
    "B": (3,), "Al": (3,), "Si": (4,), "Cl": (1,), "As": (3,), "I": (1,), "Hg": (1, 2), "Bi": (3, 5), "Se": (2, 4, 6),
}  # fmt: skip
_BY_CHARGE: dict[str, dict[int, tuple[int, ...]]] = {
    "H": {0: (1,), 1: (0,), -1: (0,)},
    "C": {0: (3, 4), 1: (3,), -1: (3,)},
    "N": {0: (2, 3), 1: (2, 3, 4), -1: (2,)},
    "O": {0: (2,), 1: (3,), -1: (1,)},
    "F": {0: (1,), -1: (0,)},
    "P": {0: (3, 5), 1: (4,)},
    "S": {0: (2, 6), 1: (2, 3), 2: (4,), 3: (5,), -1: (3,)},
    "Br": {0: (1,), 1: (2,)},
}


def _table(entries: Mapping[str, Mapping[int, Iterable[int]]]) -> Table:
    number = Chem.GetPeriodicTable().GetAtomicNumber
    return {number(symbol): {charge: frozenset(v) for charge, v in row.items()} for symbol, row in entries.items()}


LENIENT: Table = _table({**_BY_CHARGE, **{symbol: {0: valences} for symbol, valences in _ANY_CHARGE.items()}})
"""MiDi's table; a charge without an entry falls back to the entry of charge 0."""


@cache
def strict_table() -> Table:
    """The valences that QM9's training set shows, per element and charge; read from the shipped JSON file."""
    text = files("scidiff_molecules").joinpath("data_reference/qm9_valences.json").read_text(encoding="utf-8")
    counts: dict[str, dict[str, dict[str, int]]] = json.loads(text)["counts"]
    return _table({s: {int(c): map(int, valences) for c, valences in row.items()} for s, row in counts.items()})


def valences(structure: Structure) -> NDArray[np.float64]:
    """Sum of bond orders around each atom, shape (N,)."""
    total = np.zeros(len(structure))
    for i, j, order in structure.bonds:
        total[i] += order
        total[j] += order
    return total


def stable_atoms(structure: Structure, table: Table, *, neutral_fallback: bool) -> int:
    """How many atoms have a valence that ``table`` allows.

    Args:
        structure: the molecule, with bonds and charges as generated.
        table: allowed valences per element and charge.
        neutral_fallback: judge a charge that the table lacks by the entry of charge 0 (MiDi's rule) instead of rejecting it.
    """
    count = 0
    for number, charge, valence in zip(structure.numbers.tolist(), structure.charges.tolist(), valences(structure).tolist(), strict=True):
        row = table.get(number, {})
        allowed = row.get(charge, row.get(0) if neutral_fallback else None)
        count += allowed is not None and valence in allowed
    return count


@dataclass(frozen=True)
class AsGenerated:
    """Metric B's verdict on a molecule's graph.

    Attributes:
        fault: why RDKit rejects it, or None when it is valid.
        fragments: number of connected pieces of its bond graph.
        smiles: canonical SMILES when valid, hydrogens implicit, no stereochemistry.
    """

    fault: str | None
    fragments: int
    smiles: str | None

    @property
    def valid(self) -> bool:
        return self.fault is None

    @property
    def valid_and_connected(self) -> bool:
        return self.fault is None and self.fragments == 1


def as_generated(structure: Structure) -> AsGenerated:
    """Sanitise the molecule exactly as it was generated; an empty one is not valid."""
    if len(structure) == 0:
        return AsGenerated("no atoms", 0, None)
    mol = build_mol(structure)
    fragments = len(Chem.GetMolFrags(mol))
    with rdBase.BlockLogs():
        try:
            Chem.SanitizeMol(mol, AS_STATED)
            return AsGenerated(None, fragments, Chem.MolToSmiles(without_hydrogens(mol)))
        except ValueError as error:
            return AsGenerated(f"{error}".strip().splitlines()[0], fragments, None)
