"""How near molecules come to property targets, after the protocol of EDM, GeoLDM and JODO, one property at a time.

    python benchmarks/molecules_targets.py --model qm9_targets --judge qm9_judge [-n 2000] [--guidance 1 2 4]
        [--candidates 1] [--plot FOLDER]

Targets and numbers of heavy atoms are drawn together from the generator's training molecules, one a molecule; a judge that was trained on
the other half of them predicts what was made. Mean absolute errors over the molecules that can be judged (sanitised and connected; their
share is printed), with 95 % bootstrap intervals; beside them the judge's own error on QM9's test molecules, that of shuffled targets
("random"), and that of the median of the test molecules with as many atoms, hydrogens included ("atoms alone"), all by the same judge.

EDM's numbers of atoms count hydrogens, which tells a generator more of a property than heavy atoms do.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress

from scidiff.random import Noise
from scidiff.report.pictures import figure_png
from scidiff_molecules.data import MoleculeDataset, load_qm9
from scidiff_molecules.generator import MoleculeGenerator
from scidiff_molecules.predict import PropertyJudge
from scidiff_molecules.properties import PROPERTIES, values_of
from scidiff_molecules.report.targets import asked_against_got
from scidiff_molecules.targets import Targets
from scidiff_molecules.wish import CANDIDATES, Wish, Wishes

EVERYTHING = (-1e9, 1e9)
MILLI = {"gap", "homo", "lumo"}  # published in meV


def interval(errors: NDArray[np.float64]) -> str:
    """``1.42 [1.39, 1.45]``: the mean and its 95 % bootstrap interval."""
    rng = np.random.default_rng(0)
    means = [errors[rng.integers(0, len(errors), len(errors))].mean() for _ in range(1000)]
    low, high = np.quantile(means, (0.025, 0.975))
    mean, low, high = (f"{value:,.0f}" if value >= 100 else f"{value:.3g}" for value in (errors.mean(), low, high))
    return f"{mean} [{low}, {high}]"


def made(generator: MoleculeGenerator, name: str, options: argparse.Namespace, guidance: float) -> tuple[NDArray[np.float64], list[Any]]:
    """(what was asked of each molecule, the molecules; None for one that does not sanitise)."""
    targets = Targets({name: EVERYTHING})
    wish = Wish(targets=targets, guidance=guidance)
    law = wish.law(generator.denoiser, generator.statistics, targets)
    column = [one.name for one in generator.statistics.properties].index(name)
    scale = generator.statistics.properties[column]
    asked = law.draw(Noise(options.seed, torch.arange(options.n))).values[:, column].double().numpy() * scale.std + scale.mean
    with Progress(console=Console(stderr=True), transient=True) as bar:
        asks: Wishes = {"targets": targets, "guidance": guidance, "candidates": options.candidates}
        stream = generator.stream(options.n, seed=options.seed, steps=options.steps, **asks)
        shown = bar.track(stream, total=options.n, description=f"{name}, guidance {guidance:g}")
        return asked, [one.mol if one.whole else None for one in shown]


def label(name: str) -> str:
    return f"{name}, {'meV' if name in MILLI else PROPERTIES[name].unit}"


def unit(name: str) -> int:
    return 1000 if name in MILLI else 1


def bounds(name: str, said: NDArray[np.float64], test: MoleculeDataset) -> tuple[str, str, str]:
    """Errors that frame a generator's, on test molecules: the judge's own, atoms alone, random. ``said``: what the judge says of them."""
    true = values_of(test, [name])[:, 0].numpy()
    sizes = test.sizes.clone()
    sizes.index_add_(0, torch.repeat_interleave(torch.arange(len(sizes)), sizes), test.fields["num_h"])
    by_size = {size: float(np.median(said[sizes.numpy() == size])) for size in sizes.unique().tolist()}
    rng = np.random.default_rng(0)
    errors = (true - said, said - np.array([by_size[size] for size in sizes.tolist()]), said - rng.permutation(said))
    own, alone, random = (interval(unit(name) * np.abs(error)) for error in errors)
    return own, alone, random


def compare(judge: PropertyJudge, options: argparse.Namespace) -> None:
    """What was asked of molecules beside what the judge says they got: a row for each property and guidance, and the pictures."""
    generator = MoleculeGenerator.load(options.model)
    pairs: dict[float, dict[str, list[tuple[tuple[float, float], float]]]] = {guidance: {} for guidance in options.guidance}
    print("\n| property | guidance | candidates | mean absolute error | judged |\n|---|---|---|---|---|")
    for name, guidance in itertools.product(options.properties, options.guidance):
        asked, molecules = made(generator, name, options, guidance)
        got = judge.predict(molecules)[:, judge.names.index(name)].numpy()
        known = ~np.isnan(got)
        error = interval(unit(name) * np.abs(got - asked)[known])
        print(f"| {label(name)} | {guidance:g} | {options.candidates} | {error} | {known.mean():.1%} |", flush=True)
        pairs[guidance][name] = [((a, a), g) for a, g in zip(asked[known], got[known], strict=True)]
    if options.plot is not None:
        options.plot.mkdir(parents=True, exist_ok=True)
        for guidance, some in pairs.items():
            figure_png(asked_against_got(some), options.plot / f"asked-against-got-guidance-{guidance:g}.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="qm9_targets")
    parser.add_argument("--judge", default="qm9_judge")
    parser.add_argument("-n", type=int, default=2000, help="molecules a property (%(default)s); 0: the judge alone")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--guidance", type=float, nargs="+", default=[1.0])
    parser.add_argument("--candidates", type=int, default=CANDIDATES, help="for each molecule, of which the best is kept (%(default)s)")
    parser.add_argument("--properties", nargs="+", default=list(PROPERTIES), choices=list(PROPERTIES))
    parser.add_argument("--plot", type=Path, help="a folder for pictures of asked against got, one for each guidance")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    judge = PropertyJudge.load(options.judge)
    heavy = load_qm9("test", hydrogens="implicit")
    test = heavy.select(torch.arange(len(heavy))[judge.knows(heavy)[heavy.rows] & heavy.fields["assigned"][heavy.rows]])
    said = judge.of(test).numpy()
    print("| property | judge's own | atoms alone | random |\n|---|---|---|---|")
    for name in options.properties:
        print(f"| {label(name)} | {' | '.join(bounds(name, said[:, judge.names.index(name)], test))} |", flush=True)
    if options.n:
        compare(judge, options)


if __name__ == "__main__":
    main()
