"""Make what the judge compares distributions with, from QM9, into ``data_reference``:

- ``qm9_distributions.safetensors``: histograms of the test split (13,083 molecules), ChemNet's moments, relaxation energies of some, what
  the test split itself scores on every figure, and hashes of the training split's scaffolds;
- ``qm9_train_smiles.txt.xz``: the SMILES of the training split that metric B writes, for nearest neighbours.

    python scripts/make_qm9_distributions.py [--out FOLDER] [--poses N] [--energies N] [--workers N]

takes about twenty minutes of one core. Needs the package qm9pack, or a cache made by ``scidiff molecules data qm9``, and the extra xtb.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import rdkit
from numpy.typing import NDArray
from rdkit import Chem, rdBase
from rdkit.Chem.Scaffolds import MurckoScaffold
from rich.progress import track

import scidiff_molecules
from scidiff_molecules.data import load_qm9
from scidiff_molecules.metrics.adapter import molecules, structures
from scidiff_molecules.metrics.calculations import calculate, frechet_distance
from scidiff_molecules.metrics.collect import collect, progress_bar
from scidiff_molecules.metrics.crew import Lost
from scidiff_molecules.metrics.figures import basic_metrics, distance_metrics, judge_metrics
from scidiff_molecules.metrics.histograms import CHUNK, Weighing
from scidiff_molecules.metrics.plan import MAX_SUBSET, Plan
from scidiff_molecules.metrics.reference import load_reference
from scidiff_molecules.metrics.references import column_of, with_moments
from scidiff_molecules.metrics.standard import SMILES_FILE, STANDARD_FILE, Own, Standard, write_smiles, write_standard
from scidiff_molecules.metrics.tally import Tally
from scidiff_molecules.metrics.valence import as_generated
from scidiff_molecules.metrics.verdict import smiles_hash

SIZES = (100, 300, 1000, 3000)
"""Numbers of molecules, besides half of the split, at which the reference's own distances are measured."""


def known() -> tuple[list[str], NDArray[np.uint64]]:
    """Distinct SMILES of the training split, and sorted hashes of their scaffolds."""
    train, smiles, scaffolds = load_qm9("train"), set[str](), set[int]()
    for structure in track(structures(train), total=len(train), description="SMILES of the training set"):
        found = as_generated(structure)
        if found.valid_and_connected and found.smiles is not None and found.smiles not in smiles:
            smiles.add(found.smiles)
            with rdBase.BlockLogs():
                scaffolds.add(smiles_hash(MurckoScaffold.MurckoScaffoldSmiles(mol=Chem.MolFromSmiles(found.smiles))))
    return sorted(smiles), np.array(sorted(scaffolds), dtype=np.uint64)


def samples(count: int) -> NDArray[np.int64]:
    """Which of ``count`` molecules are in each sample of the first half, in all of it, and in the second half (count, 6)."""
    order = np.random.RandomState(0).permutation(count)
    half = count // 2
    members = np.zeros((count, len(SIZES) + 2), dtype=np.int64)
    for column, size in enumerate((*SIZES, half)):
        members[order[:size], column] = 1
    members[order[half:], -1] = 1
    return members


def weighing(members: NDArray[np.int64]) -> Weighing:
    """Column 0 counts all, those after it the samples."""
    padded = np.concatenate([members, np.zeros((CHUNK, members.shape[1]), dtype=np.int64)])

    def weigh(chunk: int) -> NDArray[np.int64]:
        return np.concatenate([np.ones((CHUNK, 1), dtype=np.int64), padded[chunk * CHUNK : (chunk + 1) * CHUNK]], axis=1)

    return weigh


def own_distances(tally: Tally, standard: Standard, members: NDArray[np.int64], activations: NDArray[np.float64]) -> dict[str, list[Own]]:
    """Distances of each sample from the second half, and its own diversity, which falls with its size."""
    assert tally.histograms is not None
    own: dict[str, list[Own]] = {}
    last = members.shape[1]
    index = np.array([one.index for one in tally.compared.items()])
    second = with_moments(standard, activations[members[index, -1] == 1])
    for column in range(1, last):
        size = int(members[:, column - 1].sum())
        for metric in distance_metrics(column_of(tally.histograms, column), standard, column=last):
            if metric.value is not None:
                own.setdefault(metric.key, []).append(Own(metric.value, size))
        own.setdefault("W/fcd", []).append(Own(frechet_distance(activations[members[index, column - 1] == 1], second), size))
        scaffolds = tally.table["scaffold"][members[:, column - 1] == 1]
        own.setdefault("D/scaffold_diversity", []).append(Own(len(np.unique(scaffolds)) / size, size))
    return own


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(scidiff_molecules.__path__[0]))
    parser.add_argument("--poses", type=int, default=1000)
    parser.add_argument("--energies", type=int, default=300)
    parser.add_argument("--workers", type=int, default=None)
    options = parser.parse_args()
    out: Path = options.out
    smiles, scaffolds = known()
    write_smiles(out / SMILES_FILE, smiles)
    test = load_qm9("test")
    members = samples(len(test))
    plan = Plan(poses=options.poses, energies=options.energies, fcd=MAX_SUBSET, workers=options.workers)
    with progress_bar(True) as bar:
        tally = collect(list(molecules(test)), plan, bar, weighing=weighing(members), description="the test split")
        assert tally.histograms is not None
        described = int(tally.table["described"].sum())
        bare = Standard("QM9 test", "QM9 train", described, tally.histograms, scaffolds, smiles)
        found = calculate(tally, bare, plan, bar)
    assert found.activations is not None
    assert len(found.activations) == len(tally.compared.items())
    assert not found.notes, found.notes
    own = own_distances(tally, bare, members, found.activations)
    for metric in [*basic_metrics(tally.table, load_reference("qm9")), *judge_metrics(tally, bare, found)]:
        if metric.value is not None and metric.key not in own:
            own[metric.key] = [Own(metric.value, metric.denominator)]
    energies: Sequence[float] = [a["energy"] for _, a in found.energies if not isinstance(a, Lost) and a["converged"]]
    standard = replace(with_moments(bare, found.activations), own=own, energies=energies)
    about = {"source": "QM9 test: numpy.random.seed(0); permutation(130831)[-13083:]", "rdkit": rdkit.__version__}
    about |= {package: version(package) for package in ("posebusters", "tblite", "fcd_torch")}
    write_standard(out / STANDARD_FILE, standard, about)
    for name in (STANDARD_FILE, SMILES_FILE):
        print(f"{out / name}: {(out / name).stat().st_size / 1e6:.2f} MB")
    for key, scores in own.items():
        print(key, ", ".join(f"{one.value:.5g} (n {one.molecules:,})" for one in scores))


if __name__ == "__main__":
    main()
