"""One factor at a time around the recipe: noise per field, alignment, loss, time law, backbone, hydrogens, at one small budget.

    python benchmarks/molecules_ablation.py --folder runs/ablation [--steps 1500] [--samples 500] [--only NAME ...]

Every run trains the same small model on the same molecules for the same number of steps from the same seed, then generates with
the same noise.
Finished runs are skipped, killed ones continue. Prints a markdown table; quality is of --samples molecules at the default sampler, which
are kept in each run's folder (samples.sdf); the relaxation energy (GFN2-xTB, median) is of 100 random valid and connected ones.
"""

from __future__ import annotations

import argparse
import copy
import json
from pathlib import Path
from typing import Any

import torch
from molecules_quality import cell  # beside this file
from rich.console import Console

from scidiff.config import Document, apply_overrides, validate
from scidiff.errors import UserError
from scidiff.train.loop import NoLog, fit
from scidiff_molecules.generator import MoleculeGenerator
from scidiff_molecules.metrics import Evaluation, Plan, evaluate
from scidiff_molecules.model import SamplerConfig
from scidiff_molecules.output import writer
from scidiff_molecules.recipe import Recipe
from scidiff_molecules.task import MoleculeTask

BASE = {
    "domain": "molecules",
    "data": {"source": "qm9", "limit": 20000, "bucket": 9},
    "noise": {"elements": "marginal", "bonds": "marginal"},
    "backbone": {"width": 96, "pair_width": 32, "blocks": 4, "irreps": "8x1o"},
    "loss": {"alignment": "permutation_rotation"},
    "train": {"batch_size": 64, "warmup": 100, "clip_norm": 20, "ema_decay": 0.995, "save_every": 500, "preview_every": 10**9},
}
FACTORS: dict[str, list[str]] = {
    "base": [],
    "base, seed 1": ["train.seed=1"],  # what chance alone does
    "base, seed 2": ["train.seed=2"],
    "no self-conditioning": ["backbone.self_conditioning=false", "train.self_conditioning=0"],
    "alignment: none": ["loss.alignment=none"],
    "alignment: rotation": ["loss.alignment=rotation"],
    "elements: absorbing": ["noise.elements=absorbing"],
    "elements: uniform": ["noise.elements=uniform"],
    "bonds: absorbing": ["noise.bonds=absorbing"],
    "bonds: uniform": ["noise.bonds=uniform"],
    "positions: VP": ["noise.positions=vp"],
    "positions: EDM": ["noise.positions=edm", "loss.positions=edm"],
    "labels: clean for longer (power 2)": ["noise.elements_power=2", "noise.bonds_power=2"],
    "l = 1 and 2": ["backbone.irreps=8x1o+8x2e"],
    "positions weighted as EDM": ["loss.positions=edm"],
    "labels: kl_rate instead of cross-entropy": ["loss.labels=elbo"],
    "time law: logit-normal": ["loss.time_law=logit_normal"],
    "bonds weighted twice": ["loss.bonds_scale=2"],
    "backbone: tensor products": ["backbone.kind=tensor_product", "backbone.irreps=32x0e+8x1o+8x2e"],
    "hydrogens: a field of their own": ["noise.hydrogens=field"],
    "parts known in a third": ["noise.hydrogens=field", "known.substructure=0.33"],
    "the shipped recipe: power 2, l = 1 and 2, parts known": [
        "noise.elements_power=2",
        "noise.bonds_power=2",
        "backbone.irreps=8x1o+8x2e",
        "noise.hydrogens=field",
        "known.substructure=0.33",
    ],
    "hydrogens explicit": ["data.hydrogens=explicit", "data.bucket=4"],
}


class Quiet(NoLog):
    """A run that is not tracked."""

    def __init__(self) -> None:
        self.last: dict[str, float] = {}

    def log_metrics(self, metrics: Any, step: int) -> None:
        self.last |= dict(metrics)


def recipe_of(changes: list[str], steps: int) -> Recipe:
    budget = [f"train.steps={steps}", f"train.validate_every={steps}"]
    return validate(Recipe, apply_overrides(Document("the ablation's base", copy.deepcopy(BASE)), [*budget, *changes]))


def folder_of(name: str, options: argparse.Namespace) -> Path:
    return options.folder / name.replace(" ", "-").replace(":", "")


def run(name: str, changes: list[str], options: argparse.Namespace) -> dict[str, Any]:
    """Train, generate; seconds. A run that was made by another recipe or with other samples is not taken for this one."""
    folder = folder_of(name, options)
    done = folder / "result.json"
    recipe = recipe_of(changes, options.steps)
    made = {"recipe": recipe.model_dump(mode="json"), "samples": options.samples, "threads": options.threads}
    made["sampler"] = SamplerConfig().model_dump(mode="json")
    if done.is_file():
        result = json.loads(done.read_text())
        if any(result.get(key) != value for key, value in made.items()):
            raise UserError(f"{folder}: it holds a run of another recipe or budget; give another --folder, or remove it")
        return result
    folder.mkdir(parents=True, exist_ok=True)
    log = Quiet()
    weights = fit(MoleculeTask(recipe), recipe.train, folder, log, device="cpu")
    generator = MoleculeGenerator.load(weights)
    with writer(folder / "samples.sdf") as file:
        for one in generator.stream(options.samples, seed=1):
            file.write(one, {"seed": 1, "model": name, "calls": generator.calls()})
    done.write_text(json.dumps({"seconds": round(log.last["train/seconds"]), **made}))
    return json.loads(done.read_text())


def judged(folder: Path) -> Evaluation:
    """The samples of a finished run, judged now: a run made before the judge learnt something need not be made again."""
    return evaluate(folder / "samples.sdf", "qm9", plan=Plan(poses=0, energies=100, fcd=0, neighbours=0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--samples", type=int, default=500)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", nargs="*", choices=list(FACTORS))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print("| changed | valid and connected | A molecule | A atom | relaxation, kcal/mol | seconds |")
    print("|---" * 6 + "|")
    for name in options.only or FACTORS:
        result = run(name, FACTORS[name], options)
        found = judged(folder_of(name, options))
        cells = [cell(found[key]) for key in ("B/valid_and_connected", "A/molecule_stability", "A/atom_stability", "E/energy_median")]
        print(f"| {name} | {' | '.join(cells)} | {result['seconds']} |", flush=True)
    budget = f"{options.steps:,} steps of 64 molecules, {options.samples} samples at {SamplerConfig().steps} calls"
    Console(stderr=True).print(budget)


if __name__ == "__main__":
    main()
