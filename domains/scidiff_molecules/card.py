"""What a model card says of molecule models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rdkit import Chem

from scidiff.card import DATA, DOES, LIMITS, MISUSE, USE, CardSection, code, measured, table
from scidiff_molecules.registry import WEIGHTS

CITATION = (
    "R. Ramakrishnan, P. O. Dral, M. Rupp, O. A. von Lilienfeld, Scientific Data 1, 140022 (2014), https://doi.org/10.1038/sdata.2014.22"
)
LIGANDS_CITATION = "J. D. Westbrook et al., Bioinformatics 31, 1274 (2015), https://doi.org/10.1093/bioinformatics/btu789"
SOURCES = {
    "qm9": "QM9 (through the package qm9pack): the training split of 100,000 molecules that EDM's permutation draws",
    "sample": "the sample of QM9 in the package: 3,000 molecules of its training split",
    "ligands": "the drug-like ligands of the PDB's Chemical Component Dictionary (through the package biotite), training split",
}


def sections(metadata: Mapping[str, Any], weights_sha256: str) -> Sequence[CardSection]:
    """For :class:`scidiff.card.DescribesModels`."""
    return [
        CardSection(DOES, _does(metadata)),
        CardSection(DATA, _data(metadata)),
        CardSection(LIMITS, _limits(metadata)),
        CardSection(USE, USES_OF_A_JUDGE if _judges(metadata) else USES),
        CardSection(MISUSE, _misuses(metadata)),
        *measured(WEIGHTS, weights_sha256),
    ]


def _judges(metadata: Mapping[str, Any]) -> bool:
    """Whether it predicts properties of given molecules, and generates none."""
    return bool(metadata.get("known", {}).get("molecule"))


def _does(metadata: Mapping[str, Any]) -> str:
    counted = "their number is a label of its own" if metadata.get("noise", {}).get("hydrogens") == "field" else "its label counts them"
    hydrogens = (
        f"An atom's hydrogens are implicit: {counted}, and they are placed afterwards, at QM9's mean lengths."
        if metadata.get("data", {}).get("hydrogens") == "implicit"
        else "Hydrogens are atoms like all others."
    )
    kind = "tensor-product (e3nn)" if metadata.get("backbone", {}).get("kind") == "tensor_product" else "attention"
    known, names = metadata.get("known", {}), [one["name"] for one in metadata.get("statistics", {}).get("properties", [])]
    if _judges(metadata):
        return (
            f"Predicts properties of given 3D molecules ({', '.join(names)}) from their heavy atoms, hydrogen counts, charges, bonds and "
            f"positions, by an E(3)-equivariant {kind} network. It generates nothing."
        )
    asked = [f"properties ({', '.join(names)}), as values or ranges"] * bool(names)
    asked += ["a part that every molecule holds, with or without its geometry"] * (known.get("substructure", 0) > 0)
    none = "Nothing else is asked for: it knows no property, no target and no scaffold."
    may = f"May be asked for: {'; '.join(asked)}." if asked else none
    return (
        "Generates 3D molecules from noise: positions, elements, charges and bonds from one joint diffusion, by an E(3)-equivariant "
        f"{kind} network. {hydrogens} The number of atoms is drawn as often as it occurs in the training data, or given. {may}"
    )


def _data(metadata: Mapping[str, Any]) -> str:
    said = metadata.get("data", {})
    source = SOURCES.get(said.get("source"))
    half = said.get("half")
    if source is not None and half is not None:
        source += f"; {HALVES[half]}"
    rows = [("source", source or f"the user's own molecules, {code(Path(str(said.get('path') or 'unknown')).name)}")]
    rows += [("molecules trained on", f"{metadata.get('molecules', 0):,}"), ("hydrogens", code(said.get("hydrogens", "unknown")))]
    if source is None:
        rows.append(("licence", "not known here: whoever passes the model on states that of the data"))
    else:
        paper = LIGANDS_CITATION if said.get("source") == "ligands" else CITATION
        rows += [("licence", "CC0 1.0 (public domain); please cite the paper"), ("paper", paper)]
    return table(("", ""), rows)


def _misuses(metadata: Mapping[str, Any]) -> str:
    if _judges(metadata):
        return MISUSES_OF_A_JUDGE
    of_qm9 = metadata.get("data", {}).get("source") in ("qm9", "sample")
    other = "Other elements, larger molecules, salts, proteins" if not of_qm9 else "Drug-like or larger molecules, salts, metals, proteins"
    return MISUSES.format(outside=other)


def _limits(metadata: Mapping[str, Any]) -> str:
    statistics = metadata.get("statistics", {})
    tokens, sizes = statistics.get("tokens", []), statistics.get("sizes", [])
    atoms = "heavy atoms" if metadata.get("data", {}).get("hydrogens") == "implicit" else "atoms"
    symbols = Chem.GetPeriodicTable().GetElementSymbol
    elements = ", ".join(symbols(number) for number in sorted({int(token[0]) for token in tokens}))
    charges = ", ".join(f"{charge:+d}" if charge else "0" for charge in sorted({int(token[1]) for token in tokens}))
    seen = [size for size, count in enumerate(sizes) if count]
    sizes_seen = f"Trained on {min(seen)} to {max(seen)} {atoms}." if seen else "Sizes are unknown."
    if _judges(metadata):
        lines = [f"Elements {elements}; formal charges {charges}. Molecules with others get no values.", sizes_seen, *LIMITS_OF_A_JUDGE]
        return _listed(lines)
    limits = LIMITS_OF.get(metadata.get("data", {}).get("source"), OWN)
    lines = [
        f"Elements {elements}; formal charges {charges}. No other atom can come out.",
        f"{sizes_seen} More can be asked for (up to four times as many); that was not tested." if seen else sizes_seen,
        *limits,
        "Not tested: energies and forces of what it makes, stereochemistry, ring strain, toxicity, synthesis; molecules unlike its data's.",
        "Some molecules fail (see what was measured). They are returned marked, never dropped.",
    ]
    return _listed(lines)


def _listed(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


HALVES = {"judge": "the half of it that trains judges of properties", "generator": "the half of it that trains no judge of properties"}


QM9 = (
    "Molecules are like QM9's: small, neutral as a whole, each in one minimum of the gas phase. A stable molecule need not be one that can "
    "be made.",
    "Much of what it makes is in QM9, whose training set is a large part of all such molecules: novelty is no merit here.",
)
OWN = (
    "What it makes is like the molecules of that file; with few of them it may repeat them. A stable molecule need not be one that can be "
    "made.",
)

LIGANDS = (
    "Molecules are like ligands of proteins: 6 to 50 heavy atoms, net charge -2 to 2, in one conformer that a program has computed. A "
    "stable molecule need not be one that can be made, nor bind anything.",
)
LIMITS_OF = {"qm9": QM9, "sample": QM9, "ligands": LIGANDS}

LIMITS_OF_A_JUDGE = (
    "Its errors are those of molecules like QM9's in the geometry of their own minimum (B3LYP/6-31G(2df,p)). Of strained geometries, as "
    "generators make them, it says what it says of relaxed ones, and how well is unknown.",
    "It says nothing of its own uncertainty.",
)
USES_OF_A_JUDGE = "- To measure how near generated molecules come to targets, by a network that has not seen the generator's molecules."
MISUSES_OF_A_JUDGE = """- Values for publication or decisions: it is less exact than the method that it was trained on.
- Drug-like or larger molecules, salts, metals, radicals: they are outside its data."""

USES = """- Research on generative models: a baseline that is measured, a start for fine-tuning, a subject for samplers.
- Teaching, and tests of software that takes molecules."""

MISUSES = """- Decisions about what to make, take or release. It predicts no property of a molecule. What it makes is screened for a few
  listed hazardous classes alone; that a molecule passes says nothing else of it.
- {outside}: they are outside its data.
- The search for harmful substances. A user who publishes molecules answers for what they are."""
