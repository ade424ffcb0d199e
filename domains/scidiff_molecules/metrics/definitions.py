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
"""Metrics A and B: key -> (name, exact definition), in the order of printing."""

_BOTH = "over the valid and connected molecules"
_DRAWN = "{n} random valid and connected molecules"
_TYPES = "mean over the types that both have at least {least} of, weighted by the reference's counts"
_SMALL = "few molecules read higher, see the reference's own"

JUDGE: Final[dict[str, tuple[str, str, str]]] = {
    "D/corrected_atom_stability": (
        "corrected atom stability",
        "%",
        "share of atoms whose (element, charge, aromatic bonds, other valence) occurs in the ligands of the chemical component dictionary; "
        "over all atoms",
    ),
    "D/corrected_molecule_stability": (
        "corrected molecule stability",
        "%",
        "share of molecules whose atoms are all stable by the corrected definition; over all molecules",
    ),
    "D/qed": ("QED", "", f"mean quantitative estimate of drug-likeness, 0 to 1; {_BOTH}"),
    "D/sa": ("SA", "", f"mean synthetic accessibility score, 1 (easy) to 10; {_BOTH}"),
    "D/logp": ("logP", "", f"mean of Crippen's logP; {_BOTH}"),
    "D/scaffold_diversity": ("scaffold diversity", "%", f"distinct Bemis-Murcko scaffolds (none, for no ring, is one); {_BOTH}"),
    "D/scaffold_novelty": ("scaffold novelty", "%", "share of the distinct scaffolds that no molecule of {known} has"),
    "W/bond_lengths": ("bond lengths", "Å", f"Wasserstein-1 per type (elements, order), bins of 0.0025 Å; {_TYPES}; {_SMALL}"),
    "W/angles": ("angles", "°", f"Wasserstein-1 per type (three elements, two orders), bins of 0.5°; {_TYPES}; {_SMALL}"),
    "W/torsions": (
        "torsions",
        "°",
        f"Wasserstein-1 of absolute values per type (four elements, middle order), bins of 2°; {_TYPES}; {_SMALL}",
    ),
    "W/ring_sizes": ("ring sizes", "%", f"total variation of the shares of ring sizes; {_SMALL}"),
    "W/elements": ("elements", "%", f"total variation of the shares of elements, hydrogen included; {_SMALL}"),
    "W/qed": ("QED", "", f"Wasserstein-1, bins of 0.005; {_SMALL}"),
    "W/sa": ("SA", "", f"Wasserstein-1, bins of 0.02; {_SMALL}"),
    "W/logp": ("logP", "", f"Wasserstein-1, bins of 0.05; {_SMALL}"),
    "W/fcd": ("FCD", "", f"Frechet ChemNet distance of SMILES; {_DRAWN}; few molecules read much higher, compare at equal numbers"),
    "N/similarity": (
        "nearest neighbour",
        "",
        f"mean Tanimoto similarity (Morgan, radius 2, 2048 bits) to the nearest molecule of {{known}}; {_DRAWN}",
    ),
    "N/twins": (
        "twins",
        "%",
        "share whose nearest neighbour has similarity 1: the same molecule or its twin in the fingerprint; the same molecules",
    ),
    "P/all": (
        "PoseBusters, all checks",
        "%",
        f"share that passes every check of PoseBusters {{version}}, configuration {{config}}; {_DRAWN}, one that cannot be checked fails",
    ),
    "E/energy_median": (
        "relaxation energy, median",
        "kcal/mol",
        f"energy as generated less energy at the nearest minimum, {{method}}; {_DRAWN}, those that converge",
    ),
    "E/energy_mean": ("relaxation energy, mean", "kcal/mol", "the same, its mean; a few bad geometries decide it"),
    "E/rmsd_median": ("relaxation RMSD, median", "Å", "root mean square displacement, {atoms}, after superposition; the same molecules"),
    "E/rmsd_mean": ("relaxation RMSD, mean", "Å", "the same, its mean"),
    "E/converged": ("relaxations that converge", "%", f"share of the {_DRAWN}; the others have no energy"),
}
"""What a judge adds: key -> (name, unit, definition), in the order of printing; ``{...}`` is filled in when it is known."""

GROUPS: Final[dict[str, str]] = {
    "A/": "Metric A: bonds looked up from distances",
    "B/": "Metric B: bonds as generated",
    "D/": "Drug-like molecules",
    "W/": "Distance to the reference's distributions",
    "N/": "Memory of the training data",
    "P/": "Physical plausibility",
    "E/": "Energy",
    "": "Other figures",
}
"""Prefix of the keys -> title of their table; metrics A and B are never in one column."""
