"""Count the valences of drug-like molecules: ``data_reference/druglike_valences.json``, the table of corrected stability.

    python scripts/make_druglike_valences.py [--out FILE]

Source: the wwPDB's chemical component dictionary (public domain, CC0 1.0), of which the package biotite (``pip install
biotite==1.6.0``) carries a copy. Counted are its non-polymer components that are released, consist of one fragment with carbon in it
and of no other elements than ``ELEMENTS``, state all their hydrogens (no atom is a radical), and that RDKit sanitises; aromaticity is
RDKit's. An entry is (element, formal charge, aromatic bonds, sum of the other bonds' orders); its count is the number of *components*
it occurs in, not of atoms, so that one odd component with many such atoms weighs as one. Entries of fewer than ``MIN_COMPONENTS``
components are left out, and listed: rare ions (pyrylium, hexafluorophosphate) and misdrawn charges. Takes a minute.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import numpy as np
import rdkit
from biotite.structure.info import get_ccd
from rdkit import Chem
from rich.progress import track

import scidiff_molecules
from scidiff_molecules.metrics.druglike import Entry, aromatic_entries
from scidiff_molecules.sdf import Structure, atomic_text

ELEMENTS = ("H", "B", "C", "N", "O", "F", "Si", "P", "S", "Cl", "Br", "I")
MIN_COMPONENTS = 5
_ORDERS = {"SING": 1.0, "DOUB": 2.0, "TRIP": 3.0}


def components() -> Iterator[Structure]:
    """The released non-polymer components made of ``ELEMENTS`` alone, in the dictionary's order."""
    ccd = get_ccd()
    table = {key: ccd["chem_comp"][key].as_array() for key in ("id", "type", "pdbx_release_status")}
    wanted = (np.char.upper(table["type"]) == "NON-POLYMER") & (table["pdbx_release_status"] == "REL")
    names = table["id"][wanted]
    atom = {key: ccd["chem_comp_atom"][key].as_array() for key in ("comp_id", "atom_id", "type_symbol", "charge")}
    bond = {key: ccd["chem_comp_bond"][key].as_array() for key in ("comp_id", "atom_id_1", "atom_id_2", "value_order")}
    atoms_of, bonds_of = _runs(atom["comp_id"]), _runs(bond["comp_id"])
    number = {symbol.upper(): Chem.GetPeriodicTable().GetAtomicNumber(symbol) for symbol in ELEMENTS}
    for name in track(names.tolist(), description="components"):
        at, edge = atoms_of.get(name), bonds_of.get(name, slice(0, 0))
        symbols = [] if at is None else [symbol.upper() for symbol in atom["type_symbol"][at].tolist()]
        if not symbols or not number.keys() >= set(symbols):
            continue
        place = {label: i for i, label in enumerate(atom["atom_id"][at].tolist())}
        ends = zip(*(bond[key][edge].tolist() for key in ("atom_id_1", "atom_id_2", "value_order")), strict=True)
        bonds = tuple((place[a], place[b], _ORDERS[order]) for a, b, order in ends)
        yield Structure(np.array([number[s] for s in symbols], dtype=np.int64), atom["charge"][at].astype(np.int64), None, bonds)


def _runs(names: np.ndarray) -> dict[str, slice]:
    """Where each name's rows stand; they are contiguous."""
    starts = np.flatnonzero(np.r_[True, names[1:] != names[:-1]])
    return {names[a]: slice(a, b) for a, b in zip(starts.tolist(), [*starts[1:].tolist(), len(names)], strict=True)}


def usable_entries(structure: Structure) -> set[Entry] | None:
    """The entries of one component, or None where it is not usable."""
    entries, mol = aromatic_entries(structure)
    if mol is None or 6 not in structure.numbers or len(Chem.GetMolFrags(mol)) != 1:
        return None
    return None if any(atom.GetNumRadicalElectrons() for atom in mol.GetAtoms()) else set(entries)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(scidiff_molecules.__path__[0]) / "data_reference/druglike_valences.json")
    out: Path = parser.parse_args().out
    found = [usable_entries(structure) for structure in components()]
    counts = Counter(entry for entries in found for entry in entries or ())
    table: dict[str, dict[str, dict[str, int]]] = defaultdict(lambda: defaultdict(dict))
    left_out: dict[str, int] = {}
    for (number, charge, aromatic, other), count in sorted(counts.items()):
        symbol = Chem.GetPeriodicTable().GetElementSymbol(number)
        if count >= MIN_COMPONENTS:
            table[symbol][str(charge)][f"{aromatic}+{other:g}"] = count
        else:
            left_out[f"{symbol} {charge} {aromatic}+{other:g}"] = count
    about = {
        "source": f"wwPDB chemical component dictionary in biotite {version('biotite')}; aromaticity by RDKit {rdkit.__version__}",
        "components": sum(entries is not None for entries in found),
        "unusable": sum(entries is None for entries in found),
        "min_components": MIN_COMPONENTS,
        "counts": table,
        "left_out": left_out,
    }
    with atomic_text(out) as file:
        file.write(json.dumps(about, indent=1) + "\n")
    print(f"{about['components']:,} components, {sum(len(v) for row in table.values() for v in row.values())} entries")


if __name__ == "__main__":
    main()
