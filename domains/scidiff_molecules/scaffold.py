"""A part of the molecules that are to be made: given atoms and bonds, and positions where they are known, that come back as they are.

Written as SMILES (its topology is kept) or taken from a molecule with a 3D conformer (its geometry too, in its own frame). Hydrogens of the
part are not given: any of them may give way to what grows. Dummy atoms (``*``) mark the only places where something may grow; the other
atoms then keep the hydrogens they have. Several fragments are the ends of linkers, of one atom at least.

The part's entries have t = 0 from the start (:mod:`scidiff.layout`), so every molecule holds it, atoms first and in the given order.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rdkit import Chem, rdBase
from torch import Tensor

from scidiff.errors import UserError
from scidiff.layout import Layout
from scidiff.process import State
from scidiff_molecules.sdf import ReadFailure, in_space, read_sdf, sanitize_fault, without_hydrogens
from scidiff_molecules.sdf.structure import coordinate_fault
from scidiff_molecules.tokens import BONDS, ELEMENTS, HYDROGENS, POSITIONS, Token, Vocabulary

MAX_SMILES = 1000
_ORDERS = {Chem.BondType.SINGLE: 1, Chem.BondType.DOUBLE: 2, Chem.BondType.TRIPLE: 3}
_OR_AROMATIC = {Chem.BondType.SINGLE: "*-,:*", Chem.BondType.DOUBLE: "*=,:*"}


@dataclass(frozen=True)
class Scaffold:
    """A part of k heavy atoms.

    Attributes:
        mol: the part as a query for substructure search: heavy atoms, dummies removed. Bonds are kept in their Kekule form, so a single or
            double one also finds the aromatic bond that it becomes where a ring grows around it (``C=C`` in toluene).
        smiles: its SMILES in the given order of atoms, dummies included.
        numbers, charges: [k] atomic numbers and formal charges.
        hydrogens: [k], those that each atom has in the part as given.
        bonds: [k, k] Kekule orders, symmetric.
        closed: [k], atoms at which nothing may grow.
        positions: [k, 3] in Angstrom, or None where only the topology is given.
    """

    mol: Chem.Mol
    smiles: str
    numbers: NDArray[np.int64]
    charges: NDArray[np.int64]
    hydrogens: NDArray[np.int64]
    bonds: NDArray[np.int64]
    closed: NDArray[np.bool_]
    positions: NDArray[np.float64] | None

    def __len__(self) -> int:
        return len(self.numbers)

    @classmethod
    def of(cls, part: str | Path | Chem.Mol) -> Scaffold:
        """From a molecule, a SMILES, or an SDF file of one record.

        Raises UserError for what cannot be read or sanitised, has no atom, one that is a radical or an isotope, a fragment on which nothing
        can grow, or stereochemistry without positions that hold it; or an SDF file of several records.
        """
        if isinstance(part, Chem.Mol):
            return cls._of(part, "scaffold")
        text = str(part)
        if isinstance(part, Path) or text.lower().endswith((".sdf", ".mol")):
            return cls._of(_record(Path(part)), f"scaffold {part}")
        return cls.of_smiles(text)

    @classmethod
    def of_smiles(cls, text: str) -> Scaffold:
        """From a SMILES alone: what looks like a file's name is not opened. Raises UserError as :meth:`of` does."""
        if len(text) > MAX_SMILES or not text.isascii() or not text.isprintable() or not text:
            raise UserError(f"scaffold {text[:40]!r}: a SMILES of 1 to {MAX_SMILES} printable ASCII characters is needed, or an .sdf file")
        with rdBase.BlockLogs():
            mol = Chem.MolFromSmiles(text)
        if mol is None:
            raise UserError(f"scaffold {text!r}: RDKit cannot read this SMILES; or, if it is a file, its name must end in .sdf")
        return cls._of(mol, f"scaffold {text!r}")

    @classmethod
    def _of(cls, given: Chem.Mol, name: str) -> Scaffold:
        mol = Chem.Mol(given)
        if fault := sanitize_fault(mol):
            raise UserError(f"{name}: {fault}")
        # Explicit hydrogens are counted by their atoms; with sanitising off nothing but that changes.
        mol = without_hydrogens(mol, sanitize=False)
        mol.UpdatePropertyCache(strict=False)
        heavy, placed = [atom for atom in mol.GetAtoms() if atom.GetAtomicNum() > 0], in_space(given)
        if fault := _fault(mol, heavy, placed):
            raise UserError(f"{name}: {fault}")
        smiles = Chem.MolToSmiles(mol, canonical=False)  # its atoms in the given order
        kekule = Chem.Mol(mol)
        Chem.Kekulize(kekule, clearAromaticFlags=True)
        order = [atom.GetIdx() for atom in heavy]
        closed = _closed(mol, name)
        place = {index: row for row, index in enumerate(order)}
        bonds = np.zeros((len(order), len(order)), dtype=np.int64)
        for bond in kekule.GetBonds():
            i, j = (place.get(end) for end in (bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()))
            if i is None or j is None:
                continue
            if bond.GetBondType() not in _ORDERS:
                raise UserError(f"{name}: a bond is neither single, double nor triple (nor aromatic)")
            bonds[i, j] = bonds[j, i] = _ORDERS[bond.GetBondType()]
        return cls(
            mol=_query(kekule),
            smiles=smiles,
            numbers=np.array([atom.GetAtomicNum() for atom in heavy]),
            charges=np.array([atom.GetFormalCharge() for atom in heavy]),
            hydrogens=np.array([atom.GetTotalNumHs() for atom in heavy]),
            bonds=bonds,
            closed=closed[order],
            positions=_positions(mol, order, name) if placed else None,
        )

    def state(self, like: State, layouts: dict[str, Layout], vocabulary: Vocabulary, scale: float) -> dict[str, Layout]:
        """Write the part into the first k atoms of every sample of ``like`` (in place); the layouts with it known.

        Raises UserError for an atom that the vocabulary lacks.
        """
        k = len(self)
        labels = vocabulary.encode(*self._tokens(vocabulary))
        like[ELEMENTS][:, :k] = labels.to(like[ELEMENTS].device)
        like[BONDS][:, :k, :k] = torch.from_numpy(self.bonds).to(like[BONDS].device)
        like[HYDROGENS][:, :k] = torch.from_numpy(self.hydrogens).to(like[HYDROGENS].device)
        known = {name: torch.zeros_like(layout.mask) for name, layout in layouts.items() if name in like}
        known[ELEMENTS][:, :k] = True
        known[BONDS][:, :k, :k] = torch.from_numpy(self._joined()).to(known[BONDS].device)
        closed = torch.from_numpy(self.closed).to(known[HYDROGENS].device)
        known[HYDROGENS][:, :k] = closed
        known[BONDS][:, :k] |= closed[:, None]
        known[BONDS][:, :, :k] |= closed
        if self.positions is not None:
            placed = torch.from_numpy((self.positions - self.origin) / scale).to(like[POSITIONS])
            like[POSITIONS][:, :k] = placed
            known[POSITIONS][:, :k] = True
        return {name: one if name not in known else replace(one, known=known[name] & one.mask) for name, one in layouts.items()}

    def check(self, vocabulary: Vocabulary) -> None:
        """Raises UserError for an atom that the vocabulary lacks."""
        self._tokens(vocabulary)

    def to_json(self) -> dict[str, object]:
        """What it is, to the last bit of its geometry."""
        return {"smiles": self.smiles, "positions": None if self.positions is None else self.positions.tolist()}

    @property
    def origin(self) -> NDArray[np.float64]:
        """Where the model's origin lies in the part's own frame: at its centre, or nowhere in particular."""
        return np.zeros(3) if self.positions is None else self.positions.mean(0)

    def _tokens(self, vocabulary: Vocabulary) -> tuple[Tensor, Tensor, Tensor]:
        keys = (torch.from_numpy(self.numbers), torch.from_numpy(self.charges), torch.zeros(len(self), dtype=torch.int64))
        missing = (~vocabulary.covers(*keys)).nonzero()[:, 0].tolist()
        if missing:
            symbols = Chem.GetPeriodicTable()
            has = ", ".join(f"{symbols.GetElementSymbol(t.number)}{t.charge:+d}" if t.charge else _symbol(t) for t in vocabulary.tokens)
            atom = f"{symbols.GetElementSymbol(int(self.numbers[missing[0]]))} with charge {int(self.charges[missing[0]]):+d}"
            raise UserError(f"scaffold {self.smiles}: atom {missing[0] + 1} is {atom}, which this model does not know; it knows {has}")
        return keys

    def _joined(self) -> NDArray[np.bool_]:
        """Pairs within one fragment: whether they are bonded is known. Between fragments it is open, as in training, where all that is
        bonded together is one piece: so a model puts atoms between them and no bond of their own."""
        fragments = Chem.GetMolFrags(self.mol)
        joined = np.zeros((len(self), len(self)), dtype=bool)
        for atoms in fragments:
            joined[np.ix_(atoms, atoms)] = True
        return joined & ~np.eye(len(self), dtype=bool)


def _symbol(token: Token) -> str:
    return Chem.GetPeriodicTable().GetElementSymbol(token.number)


def _record(path: Path) -> Chem.Mol:
    records = [item for _, item in zip(range(2), read_sdf(path), strict=False)]
    if len(records) > 1:
        raise UserError(f"scaffold {path}: the file holds several records; give one with a single record")
    _, item = records[0] if records else (0, None)
    if item is None or isinstance(item, ReadFailure):
        raise UserError(f"scaffold {path}: {'no record' if item is None else item.reason}")
    return item


def _query(mol: Chem.Mol) -> Chem.Mol:
    """The Kekule form without dummies, single and double bonds perhaps aromatic: so it is found in what does not sanitise, too."""
    part = Chem.RWMol(mol)
    for index in sorted((atom.GetIdx() for atom in mol.GetAtoms() if atom.GetAtomicNum() == 0), reverse=True):
        part.RemoveAtom(index)
    bare = part.GetMol()
    for atom in bare.GetAtoms():  # as a query it asks for elements, charges and bonds, not for hydrogens
        atom.SetNoImplicit(False)
        atom.SetNumExplicitHs(0)
        atom.SetNumRadicalElectrons(0)
    bare.UpdatePropertyCache(strict=False)
    query = Chem.RWMol(bare)
    for bond in bare.GetBonds():
        if (smarts := _OR_AROMATIC.get(bond.GetBondType())) is not None:
            query.ReplaceBond(bond.GetIdx(), Chem.MolFromSmarts(smarts).GetBondWithIdx(0))
    return query.GetMol()


def _closed(mol: Chem.Mol, name: str) -> NDArray[np.bool_]:
    """Of each atom, whether dummies say that nothing grows there. Raises UserError for a fragment without any place: in training all
    pieces of a part are marked or none."""
    marked = np.array([any(n.GetAtomicNum() == 0 for n in atom.GetNeighbors()) for atom in mol.GetAtoms()], dtype=bool)
    some = bool(marked.any())
    places = marked if some else np.array([atom.GetTotalNumHs() > 0 for atom in mol.GetAtoms()], dtype=bool)
    for fragment in map(list, Chem.GetMolFrags(mol)):
        if not places[fragment].any():
            atoms = Chem.MolFragmentToSmiles(mol, fragment)
            marks = f"{atoms} has no place to grow at: mark one with * on every fragment, or on none"
            raise UserError(f"{name}: {marks if some else f'nothing can grow on {atoms}, which has no hydrogen to give way: leave it out'}")
    return ~marked if some else np.zeros(len(marked), dtype=bool)


def _fault(mol: Chem.Mol, heavy: list[Chem.Atom], placed: bool) -> str | None:
    """Why this is no part, or None; ``heavy``: its atoms without dummies, ``placed``: whether their positions are given."""
    if not placed and (mark := _stereo(mol)):
        return f"{mark}, which a model cannot hold by topology alone: leave it out, or give 3D coordinates"
    if not heavy:
        return "it has no atom but dummies; give a part of at least one"
    if any(atom.GetAtomicNum() == 1 for atom in heavy):
        return "it holds a hydrogen that cannot be implied (alone, an isotope, or bonded to *): leave it out"
    if any(atom.GetNumRadicalElectrons() for atom in heavy):
        return "an atom is a radical: write its hydrogens, or leave brackets away; mark where to grow with *"
    if any(atom.GetIsotope() for atom in heavy):
        return "it holds an isotope, of which no model knows: leave the number out"
    return None


def _stereo(mol: Chem.Mol) -> str | None:
    """The stereochemistry that is stated, in words, or None."""
    if any(atom.GetChiralTag() != Chem.ChiralType.CHI_UNSPECIFIED for atom in mol.GetAtoms()):
        return "it states the handedness of an atom"
    if any(bond.GetStereo() > Chem.BondStereo.STEREOANY for bond in mol.GetBonds()):
        return "it states the geometry of a double bond"
    return None


def _positions(mol: Chem.Mol, order: list[int], name: str) -> NDArray[np.float64]:
    positions = mol.GetConformer().GetPositions()
    if fault := coordinate_fault(positions):
        raise UserError(f"{name}: {fault}")
    return positions[order]
