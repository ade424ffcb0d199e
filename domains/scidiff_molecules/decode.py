"""From states to RDKit molecules: atoms, formal charges, Kekule bonds and a conformer, exactly as generated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem, rdBase
from rdkit.Geometry import Point3D

from scidiff.process import Layouts, State
from scidiff_molecules.data.hydrogens import add_hydrogens
from scidiff_molecules.sdf import AS_STATED, STATUS, without_hydrogens
from scidiff_molecules.sdf.reading import status_of
from scidiff_molecules.tokens import BONDS, ELEMENTS, HYDROGENS, POSITIONS, Vocabulary

_ORDERS = {1: Chem.BondType.SINGLE, 2: Chem.BondType.DOUBLE, 3: Chem.BondType.TRIPLE}


@dataclass(frozen=True)
class Generated:
    """One generated molecule with its hydrogens. ``reason`` is empty if RDKit sanitises it; else it is RDKit's, and ``mol`` is as the
    model made it. Of one that is withheld ``mol`` has no atoms, ``reason`` names the class, and ``withheld`` the rule, and
    the version and SHA-256 of the rules.

    The molecule's property ``scidiff_status`` says the same: ``ok``, ``failed: `` and the reason, or ``withheld: `` and the class.
    """

    id: int
    mol: Chem.Mol
    reason: str = ""
    withheld: Mapping[str, str] | None = None

    def __post_init__(self) -> None:
        self.mol.SetProp(STATUS, status_of(self.reason))
        self.mol.SetProp("_Name", f"molecule {self.id}")

    @property
    def whole(self) -> bool:
        """Whether it sanitises and is one piece."""
        return not self.reason and len(Chem.GetMolFrags(self.mol)) == 1

    @property
    def smiles(self) -> str:
        """Canonical SMILES without explicit hydrogens; empty if the molecule does not sanitise."""
        return "" if self.reason else Chem.MolToSmiles(without_hydrogens(self.mol))


def decode(state: State, layouts: Layouts, vocabulary: Vocabulary, scale: float, ids: list[int]) -> list[Generated]:
    """A batch of clean states as molecules. Labels that need hydrogens get them, placed around heavy atoms that keep their positions."""
    positions = (state[POSITIONS].double() * scale).cpu().numpy()
    elements, bonds = state[ELEMENTS].cpu().numpy(), state[BONDS].cpu().numpy()
    hydrogens = state[HYDROGENS].cpu().numpy() if HYDROGENS in state else np.zeros_like(elements)
    sizes = layouts[ELEMENTS].mask.sum(1).tolist()
    parts = (
        build(positions[b, :n], elements[b, :n], hydrogens[b, :n], bonds[b, :n, :n], vocabulary) for b, n in enumerate(sizes)
    )
    return [finish(number, mol) for number, mol in zip(ids, parts, strict=True)]


def build(
    positions: NDArray[np.float64],
    labels: NDArray[np.int64],
    hydrogens: NDArray[np.int64],
    bonds: NDArray[np.int64],
    vocabulary: Vocabulary,
) -> Chem.RWMol:
    """An unsanitised molecule with a conformer: what the model stated and nothing else. ``hydrogens``: at each atom, besides those that its
    token counts."""
    mol = Chem.RWMol()
    conformer = Chem.Conformer(len(labels))
    for i, (label, extra) in enumerate(zip(labels.tolist(), hydrogens.tolist(), strict=True)):
        token = vocabulary.tokens[label]
        atom = Chem.Atom(token.number)
        atom.SetFormalCharge(token.charge)
        atom.SetNumExplicitHs(token.hydrogens + extra)
        atom.SetNoImplicit(True)
        mol.AddAtom(atom)
        conformer.SetAtomPosition(i, Point3D(*positions[i].tolist()))
    for i, j in zip(*np.nonzero(np.triu(bonds, 1)), strict=True):
        mol.AddBond(int(i), int(j), _ORDERS[int(bonds[i, j])])
    mol.AddConformer(conformer, assignId=True)
    return mol


def finish(number: int, mol: Chem.RWMol) -> Generated:
    """Complete the hydrogens and sanitise; a molecule that RDKit refuses comes back as it is, with RDKit's reason."""
    with rdBase.BlockLogs():
        try:
            full = add_hydrogens(mol.GetMol())
        except (RuntimeError, ValueError) as error:
            return Generated(number, mol.GetMol(), f"hydrogens: {error}")
        clean = Chem.Mol(full)
        try:
            Chem.SanitizeMol(clean, AS_STATED)
        except (ValueError, RuntimeError) as error:
            return Generated(number, full, " ".join(str(error).split()))
        Chem.AssignStereochemistryFrom3D(clean)
    return Generated(number, clean)
