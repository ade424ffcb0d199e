"""What each figure is, word for word; printed beside every value."""

from __future__ import annotations

from typing import Final

DEFINITIONS: Final[dict[str, tuple[str, str]]] = {
    "A/atom_stability": (
        "A atom stability",
        "share of atoms whose bond orders, looked up from distances (EDM's table), sum to H1 C4 N3 O2 F1; over all atoms",
    ),
    "A/molecule_stability": (
        "A molecule stability",
        "share of molecules whose atoms are all stable by A; over all molecules",
    ),
    "A/validity": (
        "A validity",
        "share of molecules that RDKit sanitises with the looked-up bonds, uncharged; over all molecules",
    ),
    "A/uniqueness": (
        "A uniqueness",
        "distinct SMILES (largest fragment, looked-up bonds); over the molecules valid by A",
    ),
    "A/valid_unique": (
        "A valid x unique",
        "distinct SMILES (largest fragment, looked-up bonds); over all molecules",
    ),
    "A/novelty": (
        "A novelty",
        "share of the distinct SMILES that are not in the reference, whose SMILES come from 3D in the same way",
    ),
    "B/strict_atom_stability": (
        "B strict atom stability",
        "share of atoms whose (element, charge, valence), bonds as generated, occurs in QM9's training set; over all atoms",
    ),
    "B/strict_molecule_stability": (
        "B strict molecule stability",
        "share of molecules whose atoms are all stable by B strict; over all molecules",
    ),
    "B/lenient_atom_stability": (
        "B lenient (MiDi) atom stability",
        "share of atoms whose valence, bonds as generated, MiDi's table allows (among others neutral C 3 and N 2); over all atoms",
    ),
    "B/lenient_molecule_stability": (
        "B lenient (MiDi) molecule stability",
        "share of molecules whose atoms are all stable by B lenient; over all molecules",
    ),
    "B/validity": (
        "B validity",
        "share of molecules that RDKit sanitises as generated; over all molecules",
    ),
    "B/valid_and_connected": (
        "B valid and connected",
        "share of molecules that RDKit sanitises as generated and that are one fragment; over all molecules",
    ),
    "B/uniqueness": (
        "B uniqueness",
        "distinct SMILES (bonds as generated, hydrogens implicit, no stereo); over the valid and connected molecules",
    ),
    "B/novelty": (
        "B novelty",
        "share of the distinct SMILES that are not in the reference (its assigned bonds)",
    ),
    "readable": (
        "readable",
        "share of records that hold at least one atom and finite coordinates; the others fail every metric; over all records",
    ),
}
"""Key -> (name, exact definition), in the order of printing."""
