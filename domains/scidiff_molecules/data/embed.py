"""Conformers for molecules that come without: RDKit's ETKDGv3, relaxed by MMFF94 (UFF where MMFF94 lacks parameters).

One conformer a molecule, of low energy but hardly the lowest. It is a function of the canonical SMILES and the seed (and of RDKit's
version): the same molecule gets the same one wherever it stands and in whatever process. A stereocentre that the SMILES leaves open gets
one of its forms.

Riniker, Landrum, J. Chem. Inf. Model. 55, 2562 (2015); Wang, Witek, Landrum, Riniker, ibid. 60, 2044 (2020); Halgren, J. Comput. Chem.
17, 490 (1996).
"""

from __future__ import annotations

import hashlib

import rdkit
from rdkit import Chem, rdBase
from rdkit.Chem import rdDistGeom
from rdkit.Chem import rdForceFieldHelpers as ForceFields

METHOD = f"RDKit {rdkit.__version__}: ETKDGv3, then MMFF94 (UFF where it lacks parameters)"
ATTEMPTS = 50
"""Of the embedding, from either start: its time guard, the same on every machine."""
SECONDS = 60
"""Wall clock of one embedding, for what a hostile molecule makes of an attempt."""
ITERATIONS = 1000


def embed(smiles: str, seed: int = 0) -> Chem.Mol | str:
    """The molecule of a canonical SMILES with explicit hydrogens and one conformer, or why it has none."""
    with rdBase.BlockLogs():
        flat = Chem.MolFromSmiles(smiles)
        if flat is None:
            return "RDKit cannot read the SMILES it writes for it"
        mol = Chem.AddHs(flat)
        params = rdDistGeom.ETKDGv3()
        params.randomSeed = int.from_bytes(hashlib.sha256(f"{seed}/{smiles}".encode()).digest()[:4], "little") >> 1
        params.maxIterations, params.timeout = ATTEMPTS, SECONDS
        try:
            for params.useRandomCoords in (False, True):
                if rdDistGeom.EmbedMolecule(mol, params) == 0:
                    return mol if _relax(mol) else "neither MMFF94 nor UFF has parameters for it"
        except (RuntimeError, ValueError):
            pass
    return "RDKit finds no conformer for it"


def _relax(mol: Chem.Mol) -> bool:
    if ForceFields.MMFFHasAllMoleculeParams(mol):
        ForceFields.MMFFOptimizeMolecule(mol, maxIters=ITERATIONS)
    elif ForceFields.UFFHasAllMoleculeParams(mol):
        ForceFields.UFFOptimizeMolecule(mol, maxIters=ITERATIONS)
    else:
        return False
    return True
