"""One form for all the ways to write a molecule, before the rules look at it."""

from __future__ import annotations

from functools import cache

from rdkit import Chem, rdBase
from rdkit.Chem.MolStandardize import rdMolStandardize


def fragments(mol: Chem.Mol) -> list[Chem.Mol]:
    """The fragments of a molecule (of a salt: each of its ions), largest first, as the rules know them.

    Isotopes, stereochemistry, atom maps and explicit hydrogens are gone, covalently written bonds between metals and N, O or F are cut, and
    charges are neutralised where a proton does it. Atoms keep no trace of how the molecule was written.

    Raises:
        ValueError, RuntimeError: RDKit does not sanitise the molecule.
    """
    with rdBase.BlockLogs():
        plain = Chem.RWMol(Chem.Mol(mol, True))  # without conformers and properties
        for atom in plain.GetAtoms():
            atom.SetIsotope(0)  # also of [2H], which would not be taken for a hydrogen
            atom.SetAtomMapNum(0)
        Chem.SanitizeMol(plain)
        Chem.RemoveStereochemistry(plain)
        cut, neutral = _standards()
        ions: Chem.Mol = cut.Disconnect(Chem.RemoveHs(plain))
        found = [neutral.uncharge(part) for part in Chem.GetMolFrags(ions, asMols=True)]
    return sorted(found, key=lambda part: -part.GetNumAtoms())


@cache
def _standards() -> tuple[rdMolStandardize.MetalDisconnector, rdMolStandardize.Uncharger]:
    """Making them takes as long as using them."""
    # Forced: else an anion that balances a quaternary nitrogen keeps its charge, and a rule would depend on it.
    return rdMolStandardize.MetalDisconnector(), rdMolStandardize.Uncharger(canonicalOrder=True, force=True)
