"""Quality of generated molecules against network calls, for any weights: one markdown row a setting, with 95 % intervals.

    python benchmarks/molecules_quality.py --model qm9 -n 1000 --steps 10 20 50 100 [--rule first heun] [--grid uniform quadratic]

The same seed, so the same noise, everywhere; metrics A and B as `scidiff molecules evaluate` defines them, over all generated molecules.
"""

from __future__ import annotations

import argparse
import itertools

import torch
from rich.console import Console
from rich.progress import Progress

from scidiff_molecules.generator import MoleculeGenerator, SamplerConfig
from scidiff_molecules.metrics import Metric, evaluate

SHOWN = ("A/atom_stability", "A/molecule_stability", "A/validity", "B/valid_and_connected", "B/uniqueness", "B/novelty")


def percent(metric: Metric) -> str:
    """``81.2 [78.6, 83.5]``."""
    if metric.value is None or metric.low is None or metric.high is None:
        return "-"
    return f"{100 * metric.value:.1f} [{100 * metric.low:.1f}, {100 * metric.high:.1f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", nargs="+", default=["qm9"])
    parser.add_argument("-n", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, nargs="+", default=[50])
    parser.add_argument("--rule", nargs="+", default=["first"])
    parser.add_argument("--grid", nargs="+", default=["uniform"])
    parser.add_argument("--churn-positions", type=float, nargs="+", default=[0.0])
    parser.add_argument("--churn-labels", type=float, nargs="+", default=[1.0])
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"| model, step | sampler | calls | {' | '.join(key.replace('_', ' ') for key in SHOWN)} |")
    print("|---" * (len(SHOWN) + 3) + "|")
    settings = itertools.product(options.model, options.rule, options.grid, options.steps, options.churn_positions, options.churn_labels)
    for model, rule, grid, steps, positions, labels in settings:
        generator = MoleculeGenerator.load(model)
        values = {"steps": steps, "rule": rule, "grid": grid, "churn_positions": positions, "churn_labels": labels}
        generator.sampler = SamplerConfig.model_validate(values)
        with Progress(console=Console(stderr=True), transient=True) as bar:
            stream = generator.stream(options.n, seed=options.seed)
            molecules = [one.mol for one in bar.track(stream, total=options.n, description=f"{model} {rule} {grid} {steps}")]
        judged = evaluate(molecules, "qm9", name=model)
        sampler = f"{rule}, {grid}, churn {positions:g} / {labels:g}"
        cells = " | ".join(percent(judged[key]) for key in SHOWN)
        print(f"| {generator.metadata['name']}, {generator.metadata['step']:,} | {sampler} | {generator.calls()} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
