"""A molecule as the report shows it: what was generated, whether it holds, and if not, why and at which atoms."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from rdkit import Chem, rdBase
from rdkit.Chem import rdMolDescriptors

from scidiff_molecules.metrics.valence import as_generated
from scidiff_molecules.report.depict import drawing_svg
from scidiff_molecules.sdf import Failed, Structure, build_mol, structure_of, unpack, with_conformer

MAX_V2000 = 999  # atoms or bonds: the counts line has three columns for each


@dataclass(frozen=True)
class MoleculeView:
    """One molecule of the page.

    Attributes:
        caption: what stands under it, as given; any text is safe.
        smiles: its SMILES, or an empty string where there is none.
        formula: Hill formula with charge, such as ``C2H6N+``.
        atoms: number of atoms, hydrogens included.
        block: V2000 mol block with the atoms, formal charges, bonds and positions as generated (Angstrom, to 1e-4), or None
            where there are none to show (no atoms, no finite coordinates, more than 999 atoms or bonds).
        reason: None for a molecule that RDKit sanitises as generated and that is one fragment; otherwise why it is not.
        faulty: indices from 0 of the atoms that RDKit's complaint names.
        drawing: the 2D drawing, SVG reduced to shapes (see :mod:`.depict`), or an empty string.
    """

    caption: str
    smiles: str
    formula: str
    atoms: int
    block: str | None
    reason: str | None
    faulty: tuple[int, ...]
    drawing: str

    @property
    def valid(self) -> bool:
        """Valid and connected: sanitised as generated, one fragment (metric B's ``valid_and_connected``)."""
        return self.reason is None

    @classmethod
    def of(cls, item: Chem.Mol | Failed | None, caption: str = "", *, smiles: str | None = None, reason: str | None = None) -> MoleculeView:
        """View of a generated molecule: an RDKit molecule with explicit hydrogens and a conformer, or a failed one.

        Args:
            item: a molecule; or an object with ``mol`` and ``reason``; or None where nothing is left. It is not changed.
            caption: what stands under it.
            smiles: its SMILES; default: hydrogens implicit, no stereo, as the metrics count it.
            reason: why it fails; default: the object's reason, or what sanitising says, or the number of fragments.
        """
        mol = item if isinstance(item, Chem.Mol) else None if item is None else item.mol
        reason = reason or (item.reason if item is not None and not isinstance(item, Chem.Mol) else None)
        if mol is None or mol.GetNumAtoms() == 0:
            return cls(caption, smiles or "", "", 0, None, reason or unpack(item)[1] or "no atoms", (), "")
        structure = structure_of(mol)
        graph = as_generated(structure)
        disconnected = f"not connected: {graph.fragments} fragments" if graph.fragments > 1 else None
        reason = reason or structure.coordinate_fault() or graph.fault or disconnected
        faulty = faulty_atoms(structure)
        return cls(
            caption=caption,
            smiles=(graph.smiles or "") if smiles is None else smiles,
            formula=_formula(structure),
            atoms=len(structure),
            block=_mol_block(structure),
            reason=reason,
            faulty=faulty,
            drawing=drawing_svg(structure, faulty, sanitised=graph.fault is None),
        )


def faulty_atoms(structure: Structure) -> tuple[int, ...]:
    """Indices from 0, ascending, of the atoms named by RDKit's chemistry problems (valence, kekulisation)."""
    found: set[int] = set()
    with rdBase.BlockLogs():
        for problem in Chem.DetectChemistryProblems(build_mol(structure)):
            if problem.GetType() == "KekulizeException":
                found.update(problem.GetAtomIndices())
            elif hasattr(problem, "GetAtomIdx"):
                found.add(problem.GetAtomIdx())
    return tuple(sorted(found))


def _formula(structure: Structure) -> str:
    mol = build_mol(structure)
    mol.UpdatePropertyCache(strict=False)
    return rdMolDescriptors.CalcMolFormula(mol)


def _mol_block(structure: Structure) -> str | None:
    """Rebuilt from the structure, so neither a title nor a property of the molecule reaches the page."""
    if structure.coordinate_fault() is not None or max(len(structure), len(structure.bonds)) > MAX_V2000:
        return None
    mol = with_conformer(build_mol(structure), structure)
    mol.UpdatePropertyCache(strict=False)
    with rdBase.BlockLogs(), suppress(ValueError, RuntimeError):  # RuntimeError: an H with charge 2
        return Chem.MolToMolBlock(mol, kekulize=False, includeStereo=False)
    return None
