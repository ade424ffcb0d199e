"""How near to a minimum the ligand dictionary's coordinates are: GFN2-xTB forces and energies of ideal, model and RDKit's conformers.

    python benchmarks/ligand_geometry.py [--molecules 50]

Of the first components, by the hash of their names, that pass the rules of `scidiff_molecules.data.ligands`, have at most 45 atoms and both
kinds of coordinates. Prints a markdown table: median and quartiles of the root mean square force on an atom, and of the energy above that
of the conformer by ETKDGv3 and MMFF94. Needs tblite and biotite; some seconds a molecule.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem, rdBase
from rdkit.Chem import rdForceFieldHelpers as ForceFields
from rich.console import Console
from rich.progress import track
from tblite.interface import Calculator

from scidiff_molecules.data.components import Dictionary
from scidiff_molecules.data.embed import embed
from scidiff_molecules.data.ligands import judge
from scidiff_molecules.data.records import LeftOut, digest, smiles_of
from scidiff_molecules.sdf import Structure, build_mol, structure_of, with_conformer

BOHR, HARTREE = 0.529177210903, 627.509474  # Angstrom; kcal/mol
ATOMS = 45
NAMES = ("ideal", "model", "ETKDGv3 + MMFF94", "ideal + MMFF94")


def molecules(count: int) -> Iterator[dict[str, Structure]]:
    """Each kind of coordinates of the same molecule."""
    ideal, model = Dictionary("ideal"), Dictionary("model")
    for name in sorted(ideal.names, key=digest):
        first, second = ideal[name].structure, model[name].structure
        if first is None or second is None or len(first) > ATOMS or second.coordinate_fault() or isinstance(judge(ideal[name]), LeftOut):
            continue
        mol = with_conformer(build_mol(first), first).GetMol()
        Chem.SanitizeMol(mol)
        Chem.AssignStereochemistryFrom3D(mol)
        made = embed(smiles_of(mol))
        if isinstance(made, str) or not ForceFields.MMFFHasAllMoleculeParams(mol):
            continue
        ForceFields.MMFFOptimizeMolecule(mol, maxIters=1000)
        yield dict(zip(NAMES, (first, second, structure_of(made), structure_of(mol)), strict=True))
        count -= 1
        if not count:
            return


def gfn2(structure: Structure) -> tuple[float, float]:
    """(energy in kcal/mol, root mean square force on an atom in kcal/mol/Angstrom)."""
    calculator = Calculator("GFN2-xTB", structure.numbers, structure.positions / BOHR, charge=float(structure.charges.sum()))
    calculator.set("verbosity", 0)
    result = calculator.singlepoint()
    return result.get("energy") * HARTREE, float(np.sqrt((result.get("gradient") ** 2).sum(1).mean())) * HARTREE / BOHR


def told(values: NDArray[np.float64]) -> str:
    low, middle, high = np.percentile(values, [25, 50, 75])
    return f"{middle:.1f} ({low:.1f} to {high:.1f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--molecules", type=int, default=50)
    count = parser.parse_args().molecules
    with rdBase.BlockLogs():
        bar = track(molecules(count), "GFN2-xTB", total=count, console=Console(stderr=True))
        rows = [[gfn2(one[name]) for name in NAMES] for one in bar]
    table = np.array(rows)
    above = table[:, :, 0] - table[:, 2, None, 0]
    sys.stdout.write(f"| coordinates of {len(rows)} ligands | force, kcal/mol/A | energy above {NAMES[2]}, kcal/mol |\n|---|---|---|\n")
    for k, name in enumerate(NAMES):
        sys.stdout.write(f"| {name} | {told(table[:, k, 1])} | {told(above[:, k])} |\n")


if __name__ == "__main__":
    main()
