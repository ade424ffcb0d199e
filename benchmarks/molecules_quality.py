"""Quality of generated molecules against network calls, for any weights: one markdown row a setting, with 95 % intervals.

    python benchmarks/molecules_quality.py --model qm9 -n 1000 --steps 10 20 50 100 [--rule first heun] [--grid uniform power]
        [--energies 200] [--json FILE [--picture FILE.png]]

The same seed, so the same noise, everywhere; figures as `scidiff molecules evaluate` defines them, metrics A and B over all generated
molecules. With --energies N also the median GFN2-xTB relaxation energy and RMSD of N random valid and connected molecules, and how far
the angles are from QM9's test split: few steps may buy topology with strained geometry.
With --json every row is kept in a file as soon as it is measured, and one that the file has is not measured again; --picture draws all
that the file has against calls: stability by A, and the energy.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import Progress

from scidiff.files import atomic_write, file_sha256
from scidiff.report.pictures import figure_png
from scidiff_molecules.generator import MoleculeGenerator
from scidiff_molecules.metrics import QUICK, Metric, Plan, evaluate
from scidiff_molecules.model import SamplerConfig
from scidiff_molecules.registry import find_model

DEFAULT = SamplerConfig()
GEOMETRY = ("E/energy_median", "E/rmsd_median", "W/angles")
SHOWN = ("A/atom_stability", "A/molecule_stability", "A/validity", "B/valid_and_connected", "B/uniqueness", "B/novelty")
TICKS = (5, 10, 20, 50, 100, 250)
DRAWN = (
    ("A/molecule_stability", "stable molecules by A, %", 100, "linear"),
    ("E/energy_median", "relaxation energy (GFN2-xTB), median, kcal/mol", 1, "log"),
)


def cell(metric: Metric) -> str:
    """``81.2 [78.6, 83.5]``: shares in per cent."""
    if metric.value is None or metric.low is None or metric.high is None:
        return "-"
    if metric.unit != "%":
        return f"{metric.value:.2f} [{metric.low:.2f}, {metric.high:.2f}]"
    return f"{100 * metric.value:.1f} [{100 * metric.low:.1f}, {100 * metric.high:.1f}]"


def measure(asked: Mapping[str, Any]) -> dict[str, Any]:
    """What one row shows: the model, the sampler, its network calls, and the figures by key."""
    generator = MoleculeGenerator.load(asked["model"])
    generator.sampler = sampler = SamplerConfig.model_validate(asked["sampler"])
    name = f"{sampler.rule}, {sampler.grid}, churn {sampler.churn_positions:g} / {sampler.churn_labels:g}"
    with Progress(console=Console(stderr=True), transient=True) as bar:
        stream = generator.stream(asked["n"], seed=asked["seed"])
        molecules = [one.mol for one in bar.track(stream, total=asked["n"], description=f"{asked['model']} {name}")]
    plan = Plan(poses=0, energies=asked["energies"], fcd=0, neighbours=0) if asked["energies"] else QUICK
    judged = evaluate(molecules, "qm9", plan=plan, name=asked["model"])
    model = f"{generator.metadata['name']}, {generator.metadata['step']:,}"
    figures = {key: judged[key].model_dump(mode="json") for key in columns(asked["energies"])}
    return {"model": model, "sampler": name, "calls": generator.calls(), "figures": figures}


def columns(energies: int) -> tuple[str, ...]:
    return (*SHOWN, *GEOMETRY) if energies else SHOWN


def draw(rows: Sequence[Mapping[str, Any]], file: Path) -> None:
    """The figures of DRAWN against calls: a line for each sampler, with 95 % intervals."""
    lines: dict[str, list[Mapping[str, Any]]] = {}
    for row in sorted(rows, key=lambda row: row["calls"]):
        lines.setdefault(row["sampler"], []).append(row)
    figure = Figure(figsize=(12.8, 4.4), dpi=100, layout="constrained")
    for axes, (key, label, unit, scale) in zip(figure.subplots(1, len(DRAWN)), DRAWN, strict=True):
        for name, points in lines.items():
            known = [(row["calls"], row["figures"][key]) for row in points if row["figures"].get(key, {}).get("value") is not None]
            low, value, high = ([unit * one[edge] for _, one in known] for edge in ("low", "value", "high"))
            errors = [[v - x for v, x in zip(value, low, strict=True)], [x - v for v, x in zip(value, high, strict=True)]]
            axes.errorbar([calls for calls, _ in known], value, errors, label=name, marker="o", ms=3, lw=1.2, elinewidth=0.6)
        axes.set(xscale="log", yscale=scale, xlabel="network calls", ylabel=label)
        axes.set_xticks(TICKS, TICKS)
        axes.xaxis.minorticks_off()
        axes.grid(which="both", color="#dfe4ec")
    figure.axes[0].legend(frameon=False, fontsize=8)
    figure_png(figure, file)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", nargs="+", default=["qm9"])
    parser.add_argument("-n", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, nargs="+", default=[DEFAULT.steps])
    parser.add_argument("--rule", nargs="+", default=[DEFAULT.rule])
    parser.add_argument("--grid", nargs="+", default=[DEFAULT.grid])
    parser.add_argument("--churn-positions", type=float, nargs="+", default=[DEFAULT.churn_positions])
    parser.add_argument("--churn-labels", type=float, nargs="+", default=[DEFAULT.churn_labels])
    parser.add_argument("--energies", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep every row there")
    parser.add_argument("--picture", type=Path, metavar="FILE.png", help="draw all rows of --json")
    options = parser.parse_args()
    if options.picture and not options.json:
        parser.error("--picture draws the rows of --json FILE: give both")
    torch.set_num_threads(options.threads)
    kept: list[dict[str, Any]] = json.loads(options.json.read_text()) if options.json and options.json.is_file() else []
    shown, sample = columns(options.energies), {key: vars(options)[key] for key in ("n", "seed", "energies")}
    weights = {model: file_sha256(find_model(model)) for model in options.model}
    print(f"| model, step | sampler | calls | {' | '.join(key.replace('_', ' ') for key in shown)} |")
    print("|---" * (len(shown) + 3) + "|")
    settings = itertools.product(options.model, options.rule, options.grid, options.steps, options.churn_positions, options.churn_labels)
    for model, rule, grid, steps, positions, labels in settings:
        sampler = {"steps": steps, "rule": rule, "grid": grid, "churn_positions": positions, "churn_labels": labels}
        asked = {"model": model, "weights": weights[model], "sampler": sampler, **sample}
        row = next((one for one in kept if one["asked"] == asked), None)
        if row is None:
            row = {"asked": asked, **measure(asked)}
            kept.append(row)
            if options.json:
                atomic_write(options.json, json.dumps(kept, indent=1).encode())
        cells = " | ".join(cell(Metric.model_validate(row["figures"][key])) for key in shown)
        print(f"| {row['model']} | {row['sampler']} | {row['calls']} | {cells} |", flush=True)
    if options.picture:
        draw(kept, options.picture)


if __name__ == "__main__":
    main()
