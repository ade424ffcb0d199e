"""One molecule as a record of training data, or why it cannot be one: the checks of users' files and of the ligand dictionary.

What is kept is one fragment without radicals, of atoms with elements, at least one of them heavy and no two closer than 0.5 Angstrom, whose
bonds are single, double or triple once aromatic rings are written as Kekule structures. Hydrogens that lack are added.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from rdkit import Chem, rdBase

from scidiff_molecules.sdf import without_hydrogens

from .bonds import Bonds
from .sources import Record

MIN_DISTANCE = 0.5
"""Angstrom: no two atoms of a molecule are nearer (H-H is 0.74)."""
LISTED = 100
"""Records left out that are listed one by one."""
KINDS = 50
"""Reasons that are told apart; what a hostile file can add to them is bounded."""

_ORDERS = {Chem.BondType.SINGLE: 1, Chem.BondType.DOUBLE: 2, Chem.BondType.TRIPLE: 3}
_VARIES = re.compile(r"'[^']*'|(?<![\w.])-?\d[\d,]*(?:\.\d+)?(?!\w)")


@dataclass(frozen=True)
class Taken:
    """A usable molecule: record and bonds; ``key``, 16 hexadecimal digits for its graph and 16 for its graph with stereochemistry;
    whether its coordinates are RDKit's."""

    record: Record
    bonds: Bonds
    key: str
    embedded: bool = False


@dataclass(frozen=True)
class LeftOut:
    """A record that cannot be used: its index or line, and why."""

    index: int
    reason: str


@dataclass
class Tally:
    """What was left out: counts by kind of reason, and the first hundred records."""

    reasons: Counter[str] = field(default_factory=Counter[str])
    records: list[tuple[int, str]] = field(default_factory=list[tuple[int, str]])

    def add(self, item: LeftOut) -> None:
        kind = kind_of(item.reason)
        self.reasons[kind if kind in self.reasons or len(self.reasons) < KINDS else "other reasons"] += 1
        if len(self.records) < LISTED:
            self.records.append((item.index, item.reason[:200]))

    def merge(self, other: Tally) -> None:
        """Add what another worker has counted."""
        self.reasons.update(other.reasons)
        self.records = sorted([*self.records, *other.records])[:LISTED]

    def facts(self) -> dict[str, object]:
        """For a dataset's metadata."""
        return {"left_out": dict(sorted(self.reasons.items())), "left_out_records": [list(pair) for pair in self.records]}


def kind_of(reason: str) -> str:
    """A reason without what differs from record to record: numbers and quoted text.

    >>> kind_of("a coordinate of atom 17 is not finite or out of range: 'nan'")
    'a coordinate of atom ... is not finite or out of range: ...'
    """
    return re.sub(r"\.\.\.(?:,? \.\.\.)+", "...", _VARIES.sub("...", reason))[:200]


def graph_fault(mol: Chem.Mol, max_atoms: int | None = None) -> str | None:
    """Why a sanitised molecule's graph cannot be trained on, or None; ``max_atoms`` is the limit of heavy atoms."""
    if mol.GetNumAtoms() == 0:
        return "no atoms"
    if len(Chem.GetMolFrags(mol)) > 1:
        return "several fragments: strip salts and solvents, or take the largest (`scidiff molecules data add --largest-fragment`)"
    if any(atom.GetNumRadicalElectrons() for atom in mol.GetAtoms()):
        return "a radical"
    if any(atom.GetAtomicNum() == 0 for atom in mol.GetAtoms()):
        return "an atom without an element"
    heavy = sum(atom.GetAtomicNum() > 1 for atom in mol.GetAtoms())
    if heavy == 0:
        return "no heavy atom"
    if max_atoms is not None and heavy > max_atoms:
        return f"too many atoms: {heavy} heavy atoms, the limit is {max_atoms}"
    return None


def take(index: int, mol: Chem.Mol, *, max_atoms: int | None = None, embedded: bool = False) -> Taken | LeftOut:
    """Check a sanitised molecule with a 3D conformer, its stereochemistry assigned, and make a record of it."""
    if fault := graph_fault(mol, max_atoms):
        return LeftOut(index, fault)
    if fault := _clash(mol.GetConformer().GetPositions()):
        return LeftOut(index, fault)
    try:
        with rdBase.BlockLogs():
            whole = Chem.AddHs(mol, addCoords=True)
            Chem.Kekulize(whole, clearAromaticFlags=True)
        key = key_of(mol)
    except (RuntimeError, ValueError) as error:  # one record of many must not end the rest
        return LeftOut(index, f"RDKit: {str(error).strip().splitlines()[0]}")
    if any(bond.GetBondType() not in _ORDERS for bond in whole.GetBonds()):
        return LeftOut(index, "a bond that is neither single, double nor triple")
    z = np.array([atom.GetAtomicNum() for atom in whole.GetAtoms()], dtype=np.int64)
    charges = np.array([atom.GetFormalCharge() for atom in whole.GetAtoms()], dtype=np.int64)
    if np.abs(charges).max() > 8:
        return LeftOut(index, "a formal charge beyond 8")
    pairs = [(*sorted((bond.GetBeginAtomIdx(), bond.GetEndAtomIdx())), _ORDERS[bond.GetBondType()]) for bond in whole.GetBonds()]
    table = np.array(sorted(pairs), dtype=np.int64).reshape(-1, 3)
    record = Record(index, (), z, whole.GetConformer().GetPositions(), np.zeros(0))
    return Taken(record, Bonds(table[:, :2], table[:, 2], charges, "smiles"), key, embedded)


def _clash(pos: np.ndarray) -> str | None:
    squared = ((pos[:, None] - pos[None]) ** 2).sum(-1)
    np.fill_diagonal(squared, np.inf)
    i, j = (int(k) for k in np.unravel_index(int(squared.argmin()), squared.shape))
    if squared[i, j] >= MIN_DISTANCE**2:
        return None
    return f"atoms {min(i, j) + 1} and {max(i, j) + 1} are closer than {MIN_DISTANCE} Angstrom"


def smiles_of(mol: Chem.Mol, *, stereo: bool = True) -> str:
    """RDKit's canonical SMILES of a sanitised molecule, hydrogens implicit."""
    with rdBase.BlockLogs():
        return Chem.MolToSmiles(without_hydrogens(mol, sanitize=False), isomericSmiles=stereo)


def key_of(mol: Chem.Mol) -> str:
    """See `Taken`."""
    return "".join(digest(smiles_of(mol, stereo=stereo)) for stereo in (False, True))


def digest(text: str) -> str:
    """The first 64 bits of SHA-256, in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]
