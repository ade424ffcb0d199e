"""Make the two small tables that the molecule metrics ship, from QM9's training split (100,000 molecules):

- ``data_reference/qm9_valences.json``: how often each (element, formal charge, valence) occurs; metric B's strict table;
- ``data_reference/qm9_reference.safetensors``: 64-bit hashes of the SMILES that metrics A and B derive; what novelty is measured against.

    python scripts/make_qm9_reference.py [--out FOLDER]

takes about three minutes on one core. Needs the package qm9pack, or a cache made by ``scidiff molecules data qm9``.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

import rdkit
from rdkit import Chem
from rich.progress import track

import scidiff_molecules
from scidiff_molecules.data import MoleculeDataset, load_qm9
from scidiff_molecules.metrics.adapter import structures
from scidiff_molecules.metrics.reference import make_reference, write_reference
from scidiff_molecules.metrics.valence import strict_table, valences
from scidiff_molecules.metrics.verdict import judge_structures
from scidiff_molecules.sdf import Structure, atomic_text

SPLIT = "QM9 train: numpy.random.seed(0); permutation(130831)[:100000]"


def valence_counts(molecules: Iterable[Structure]) -> dict[str, dict[str, dict[str, int]]]:
    """Occurrences per element symbol, formal charge and valence, in a fixed order."""
    counts: Counter[tuple[int, int, int]] = Counter()
    for molecule in molecules:
        around = valences(molecule).astype(int).tolist()
        counts.update(zip(molecule.numbers.tolist(), molecule.charges.tolist(), around, strict=True))
    table: dict[str, dict[str, dict[str, int]]] = defaultdict(lambda: defaultdict(dict))
    symbol = Chem.GetPeriodicTable().GetElementSymbol
    for (number, charge, valence), count in sorted(counts.items()):
        table[symbol(number)][str(charge)][str(valence)] = count
    return table


def write_valences(train: MoleculeDataset, path: Path) -> None:
    assigned = train.select(train.fields["assigned"][train.rows].nonzero().flatten())
    about = {
        "source": SPLIT,
        "molecules": len(assigned),
        "unassigned": len(train) - len(assigned),
        "counts": valence_counts(structures(assigned)),
    }
    with atomic_text(path) as out:
        out.write(json.dumps(about, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(scidiff_molecules.__path__[0]) / "data_reference")
    out: Path = parser.parse_args().out
    train = load_qm9("train")
    write_valences(train, out / "qm9_valences.json")
    strict_table.cache_clear()
    verdicts = judge_structures(track(structures(train), total=len(train), description="SMILES of the training set"))
    reference = make_reference("qm9", verdicts)
    write_reference(out / "qm9_reference.safetensors", reference, source=SPLIT)
    print(f"rdkit {rdkit.__version__}: {reference.molecules:,} molecules")
    print(f"{len(reference.a_hashes):,} SMILES by metric A, {len(reference.b_hashes):,} by metric B")
    print(f"sha256 {reference.sha256}")


if __name__ == "__main__":
    main()
