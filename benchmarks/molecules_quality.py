"""Quality of generated molecules against network calls, for any weights: one markdown row a setting, with 95 % intervals.

    python benchmarks/molecules_quality.py --model qm9 -n 1000 --steps 10 20 50 100 [--rule first heun] [--grid uniform power]
        [--energies 200]

The same seed, so the same noise, everywhere; figures as `scidiff molecules evaluate` defines them, metrics A and B over all generated
molecules. With --energies N also the median GFN2-xTB relaxation energy and RMSD of N random valid and connected molecules, and how far
the angles are from QM9's test split: few steps may buy topology with strained geometry.
"""

from __future__ import annotations

import argparse
import itertools

import torch
from rich.console import Console
from rich.progress import Progress

from scidiff_molecules.generator import MoleculeGenerator, SamplerConfig
from scidiff_molecules.metrics import QUICK, Metric, Plan, evaluate

DEFAULT = SamplerConfig()
GEOMETRY = ("E/energy_median", "E/rmsd_median", "W/angles")
SHOWN = ("A/atom_stability", "A/molecule_stability", "A/validity", "B/valid_and_connected", "B/uniqueness", "B/novelty")


def cell(metric: Metric) -> str:
    """``81.2 [78.6, 83.5]``: shares in per cent."""
    if metric.value is None or metric.low is None or metric.high is None:
        return "-"
    if metric.unit != "%":
        return f"{metric.value:.2f} [{metric.low:.2f}, {metric.high:.2f}]"
    return f"{100 * metric.value:.1f} [{100 * metric.low:.1f}, {100 * metric.high:.1f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", nargs="+", default=["qm9"])
    parser.add_argument("-n", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, nargs="+", default=[DEFAULT.steps])
    parser.add_argument("--rule", nargs="+", default=[DEFAULT.rule])
    parser.add_argument("--grid", nargs="+", default=[DEFAULT.grid])
    parser.add_argument("--churn-positions", type=float, nargs="+", default=[0.0])
    parser.add_argument("--churn-labels", type=float, nargs="+", default=[1.0])
    parser.add_argument("--energies", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    shown = (*SHOWN, *GEOMETRY) if options.energies else SHOWN
    plan = Plan(poses=0, energies=options.energies, fcd=0, neighbours=0) if options.energies else QUICK
    print(f"| model, step | sampler | calls | {' | '.join(key.replace('_', ' ') for key in shown)} |")
    print("|---" * (len(shown) + 3) + "|")
    settings = itertools.product(options.model, options.rule, options.grid, options.steps, options.churn_positions, options.churn_labels)
    for model, rule, grid, steps, positions, labels in settings:
        generator = MoleculeGenerator.load(model)
        values = {"steps": steps, "rule": rule, "grid": grid, "churn_positions": positions, "churn_labels": labels}
        generator.sampler = SamplerConfig.model_validate(values)
        with Progress(console=Console(stderr=True), transient=True) as bar:
            stream = generator.stream(options.n, seed=options.seed)
            molecules = [one.mol for one in bar.track(stream, total=options.n, description=f"{model} {rule} {grid} {steps}")]
        judged = evaluate(molecules, "qm9", plan=plan, name=model)
        sampler = f"{rule}, {grid}, churn {positions:g} / {labels:g}"
        cells = " | ".join(cell(judged[key]) for key in shown)
        print(f"| {generator.metadata['name']}, {generator.metadata['step']:,} | {sampler} | {generator.calls()} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
