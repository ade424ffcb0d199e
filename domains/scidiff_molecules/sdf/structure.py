"""A molecule as the metrics see it: elements, charges, bonds and positions as they were stated, and nothing inferred.

Every molecule, whether it comes from memory or from a file, is first reduced to a :class:`Structure`. The RDKit
molecules that the metrics sanitise are built anew from it, so flags that a reader or a builder left behind (aromaticity,
implicit hydrogens, stereo marks) cannot change a verdict.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import nan

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem

MAX_COORDINATE = 1e5  # Angstrom; a V2000 file cannot state more, and squares of it stay far from overflow

BOND_TYPES: dict[float, Chem.BondType] = {
    1.0: Chem.BondType.SINGLE,
    2.0: Chem.BondType.DOUBLE,
    3.0: Chem.BondType.TRIPLE,
    1.5: Chem.BondType.AROMATIC,
}
_ORDERS: dict[Chem.BondType, float] = {kind: order for order, kind in BOND_TYPES.items()}

AS_STATED = Chem.SANITIZE_ALL ^ Chem.SANITIZE_CLEANUP ^ Chem.SANITIZE_CLEANUP_ORGANOMETALLICS ^ Chem.SANITIZE_CLEANUPATROPISOMERS
"""RDKit's sanitising without its clean-ups, which mend bonds and charges (of a neutral nitro group) before they could be judged."""


@dataclass(frozen=True)
class Structure:
    """Elements, charges, bonds and positions of one molecule of N atoms.

    Attributes:
        numbers: atomic numbers, int64 of shape (N,); 0 is a dummy atom.
        charges: formal charges, int64 of shape (N,).
        positions: Cartesian coordinates in Angstrom, float64 of shape (N, 3), or None when the molecule has none.
        bonds: tuple of (i, j, order) with order 1, 2, 3, or 1.5 where a bond stayed aromatic; NaN for any other
            kind (dative, query), so that no sum over it ever equals a valence.
    """

    numbers: NDArray[np.int64]
    charges: NDArray[np.int64]
    positions: NDArray[np.float64] | None
    bonds: tuple[tuple[int, int, float], ...]

    def __len__(self) -> int:
        return len(self.numbers)

    def coordinate_fault(self) -> str | None:
        """Why the positions cannot be used, or None: missing, not finite, or beyond 1e5 Angstrom."""
        return "no coordinates" if self.positions is None else coordinate_fault(self.positions)


def coordinate_fault(positions: NDArray[np.float64]) -> str | None:
    """Why positions (N, 3) in Angstrom cannot be used, or None; atoms are named from 1."""
    finite = np.isfinite(positions).all(axis=1)
    if not finite.all():
        return f"a coordinate of atom {int(np.argmin(finite)) + 1} is not finite"
    inside = (np.abs(positions) <= MAX_COORDINATE).all(axis=1)
    if not inside.all():
        return f"a coordinate of atom {int(np.argmin(inside)) + 1} lies beyond {MAX_COORDINATE:g} Angstrom"
    return None


def extent_fault(mol: Chem.Mol, most: int) -> str | None:
    """Why nothing can be calculated for a molecule of this size, or None: no atoms, more than ``most``, or no conformer."""
    if mol.GetNumAtoms() == 0:
        return "no atoms"
    if mol.GetNumAtoms() > most:
        return f"{mol.GetNumAtoms()} atoms; the limit is {most}"
    return None if mol.GetNumConformers() else "no coordinates"


def in_space(mol: Chem.Mol) -> bool:
    """Has it a conformer, and is that 3D?"""
    return mol.GetNumConformers() > 0 and mol.GetConformer().Is3D()


def without_hydrogens(mol: Chem.Mol, *, sanitize: bool = True) -> Chem.Mol:
    """A copy with hydrogens implicit, also the one that tells the geometry of a C=NH: RDKit's default keeps it, as an atom of its own, in a
    molecule whose stereochemistry is assigned, and so one graph would have two SMILES, fingerprints and scores."""
    how = Chem.RemoveHsParameters()
    how.removeDefiningBondStereo = True
    return Chem.RemoveHs(mol, how, sanitize=sanitize)


def structure_of(mol: Chem.Mol) -> Structure:
    """Reduce an RDKit molecule (sanitised or not) to what it states; aromatic bonds are kekulised where possible.

    An aromatic system that has no Kekule structure keeps order 1.5, never 1: rounding aromatic bonds to one is a known
    fault of older evaluation scripts.
    """
    if any(bond.GetIsAromatic() or bond.GetBondType() == Chem.BondType.AROMATIC for bond in mol.GetBonds()):
        kekulised = Chem.RWMol(mol)
        try:
            Chem.Kekulize(kekulised, clearAromaticFlags=True)
            mol = kekulised
        except ValueError:
            pass
    bonds = tuple((bond.GetBeginAtomIdx(), bond.GetEndAtomIdx(), _ORDERS.get(bond.GetBondType(), nan)) for bond in mol.GetBonds())
    atoms = [(atom.GetAtomicNum(), atom.GetFormalCharge()) for atom in mol.GetAtoms()]
    table = np.array(atoms, dtype=np.int64).reshape(-1, 2)
    positions = mol.GetConformer().GetPositions() if mol.GetNumConformers() else None
    return Structure(table[:, 0], table[:, 1], positions, bonds)


def build_mol(structure: Structure, *, implicit_hydrogens: bool = False) -> Chem.RWMol:
    """An unsanitised RDKit molecule with exactly the atoms, charges and bonds of ``structure``, without a conformer.

    With ``implicit_hydrogens=False`` an atom with too few bonds stays a radical; with True RDKit may complete it.
    Bonds of a kind other than single, double, triple or aromatic become ``UNSPECIFIED``.
    """
    mol = Chem.RWMol()
    for number, charge in zip(structure.numbers.tolist(), structure.charges.tolist(), strict=True):
        atom = Chem.Atom(number)
        atom.SetFormalCharge(charge)
        atom.SetNoImplicit(not implicit_hydrogens)
        mol.AddAtom(atom)
    for i, j, order in structure.bonds:
        mol.AddBond(i, j, BOND_TYPES.get(order, Chem.BondType.UNSPECIFIED))
        if order == 1.5:
            mol.GetBondBetweenAtoms(i, j).SetIsAromatic(True)
            mol.GetAtomWithIdx(i).SetIsAromatic(True)
            mol.GetAtomWithIdx(j).SetIsAromatic(True)
    return mol


def with_conformer(mol: Chem.RWMol, structure: Structure) -> Chem.RWMol:
    """Attach the positions of ``structure`` as a 3D conformer, in place; returns the same molecule."""
    if structure.positions is not None and len(structure):
        conformer = Chem.Conformer(len(structure))
        conformer.Set3D(True)
        conformer.SetPositions(np.ascontiguousarray(structure.positions, dtype=np.float64))
        mol.AddConformer(conformer, assignId=True)
    return mol
