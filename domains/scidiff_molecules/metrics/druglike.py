"""Drug-like molecules: stability with aromatic bonds counted as such, and the usual descriptors.

*Corrected stability.* Older scripts for drug-like sets (GEOM-Drugs) round aromatic bonds to order one before they sum a valence, and
then allow what the rounding makes: a carbon of valence 3. With the rounding mended and the table made anew, one published model's
molecule stability falls from 99.3 to 77.6 % (Nikitin et al., *GEOM-Drugs revisited*, 2025, arXiv:2505.00169). Here an atom is *stable*
when its entry::

    (element, formal charge, number of aromatic bonds, sum of the orders of its other bonds)

occurs in ``data_reference/druglike_valences.json``, counted from the ligands of the chemical component dictionary by
``scripts/make_druglike_valences.py``. Nothing falls back to another charge. Aromaticity is what RDKit perceives on the sanitised molecule,
however the bonds were stated; RDKit's clean-up is left out of the sanitising, as it would mend charges (a neutral nitro group) before they
are judged. A molecule that does not sanitise is counted with its bonds as stated (order 1.5 is aromatic): the atoms at fault find no
entry, the others keep theirs.

*Descriptors* are RDKit's: QED (Bickerton et al., 2012), the synthetic accessibility score (Ertl and Schuffenhauer, 2009; from 1, easy,
to 10), Crippen's logP, the Bemis-Murcko scaffold, and the ring sizes of a smallest set of smallest rings.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

from rdkit import Chem, RDConfig, rdBase
from rdkit.Chem import QED, rdMolDescriptors
from rdkit.Chem.Scaffolds import MurckoScaffold

from scidiff_molecules.sdf.structure import AS_STATED, Structure, build_mol, without_hydrogens

Entry = tuple[int, int, int, float]
"""(atomic number, formal charge, number of aromatic bonds, sum of the orders of the other bonds) of one atom."""


@cache
def corrected_table() -> frozenset[Entry]:
    """The allowed entries, read from the shipped JSON file."""
    text = files("scidiff_molecules").joinpath("data_reference/druglike_valences.json").read_text(encoding="utf-8")
    counts: dict[str, dict[str, dict[str, int]]] = json.loads(text)["counts"]
    number = Chem.GetPeriodicTable().GetAtomicNumber
    entries = ((symbol, charge, *entry.split("+")) for symbol, row in counts.items() for charge, kinds in row.items() for entry in kinds)
    return frozenset((number(symbol), int(charge), int(aromatic), float(other)) for symbol, charge, aromatic, other in entries)


def aromatic_entries(structure: Structure) -> tuple[list[Entry], Chem.RWMol | None]:
    """Each atom's entry, and the sanitised molecule that told which bonds are aromatic; None where it does not sanitise."""
    mol: Chem.RWMol | None = build_mol(structure)
    bonds = structure.bonds
    with rdBase.BlockLogs():
        try:
            Chem.SanitizeMol(mol, AS_STATED)
            bonds = tuple((b.GetBeginAtomIdx(), b.GetEndAtomIdx(), b.GetBondTypeAsDouble()) for b in mol.GetBonds())
        except ValueError:
            mol = None
    aromatic, other = [0] * len(structure), [0.0] * len(structure)
    for i, j, order in bonds:
        for end in (i, j):
            if order == 1.5:
                aromatic[end] += 1
            else:
                other[end] += order
    return list(zip(structure.numbers.tolist(), structure.charges.tolist(), aromatic, other, strict=True)), mol


def corrected_stable_atoms(structure: Structure) -> int:
    """How many atoms are stable by the corrected definition; the molecule is when all are and there is at least one."""
    return sum(entry in corrected_table() for entry in aromatic_entries(structure)[0])


@dataclass(frozen=True)
class Descriptors:
    """What a drug-like molecule is described by.

    Attributes:
        qed: quantitative estimate of drug-likeness, 0 to 1.
        sa: synthetic accessibility score, 1 (easy) to 10.
        logp: Crippen's estimate of the octanol-water partition coefficient.
        scaffold: canonical SMILES of the Bemis-Murcko scaffold, no stereochemistry; empty when there is no ring.
        ring_sizes: sizes of a smallest set of smallest rings, ascending.
    """

    qed: float
    sa: float
    logp: float
    scaffold: str
    ring_sizes: tuple[int, ...]


def describe(mol: Chem.Mol) -> Descriptors:
    """Describe a sanitised molecule; explicit hydrogens are made implicit on a copy first, so they change nothing.

    Raises:
        ValueError: it has no atoms, or RDKit cannot make its hydrogens implicit.
    """
    if mol.GetNumAtoms() == 0:
        raise ValueError("a molecule without atoms has no descriptors")
    with rdBase.BlockLogs():
        bare = without_hydrogens(mol)
        return Descriptors(
            qed=float(QED.qed(bare)),
            sa=float(_sa_scorer()(bare)),
            logp=float(rdMolDescriptors.CalcCrippenDescriptors(bare)[0]),
            scaffold=str(MurckoScaffold.MurckoScaffoldSmiles(mol=bare)),
            ring_sizes=tuple(sorted(len(ring) for ring in Chem.GetSSSR(bare))),
        )


@cache
def _sa_scorer() -> Callable[[Chem.Mol], float]:
    """RDKit ships the score outside of its package; its fragment table is a file of RDKit's own wheel, read by RDKit's own code."""
    path = Path(RDConfig.RDContribDir) / "SA_Score" / "sascorer.py"
    spec = importlib.util.spec_from_file_location("scidiff_molecules_sascorer", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path}: RDKit's synthetic accessibility score is missing from this installation")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.calculateScore
