"""``scidiff demo``: molecules from the shipped model, judged, in a section where they turn; a short training; some grown around a ring."""

from __future__ import annotations

import platform
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import rdkit
import torch
from rich.console import Console
from rich.progress import track

from scidiff import __version__
from scidiff.config import flatten
from scidiff.report import Curve, Picture, Section, Series
from scidiff.tracking import Tracker
from scidiff.train.loop import TrainConfig, fit
from scidiff_molecules.generator import MoleculeGenerator
from scidiff_molecules.metrics import Evaluation, evaluate
from scidiff_molecules.model import BackboneConfig
from scidiff_molecules.output import writer
from scidiff_molecules.recipe import DataConfig, Recipe
from scidiff_molecules.report import MoleculeView, metric_tables, molecule_grid, molecule_section
from scidiff_molecules.scaffold import Scaffold
from scidiff_molecules.task import MoleculeTask

MOLECULES, SEED, TRAIN_SECONDS = 100, 0, 20.0
GROWN, PART = 12, "c1ccccc1"


@dataclass
class _Watched:
    """A tracker that also keeps the metrics, for the page's curve."""

    tracker: Tracker
    series: dict[str, list[tuple[int, float]]] = field(default_factory=lambda: defaultdict(list))

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        self.tracker.log_metrics(metrics, step)
        for name, value in metrics.items():
            self.series[name].append((step, value))

    def log_artifact(self, path: Path, artifact_path: str = "") -> None:
        self.tracker.log_artifact(path, artifact_path)

    def log_checkpoint(self, path: Path, step: int, metrics: Mapping[str, float]) -> None:
        self.tracker.log_checkpoint(path, step, metrics)


def demo(folder: Path, tracker: Tracker) -> list[Section]:
    """The tour; see the module. Everything is written to ``folder``."""
    console = Console()
    folder.mkdir(parents=True, exist_ok=True)
    recipe = _recipe()
    tracker.log_params({f"molecules.{name}": value for name, value in flatten(recipe).items()})
    generator = MoleculeGenerator.load("qm9")
    generated, evaluation, facts = _generate(generator, folder, console)
    tracker.log_metrics({f"generated/{key}": value for key, value in evaluation.to_metrics().items()}, 0)
    watched = _Watched(tracker)
    console.rule(f"training on the shipped sample for {TRAIN_SECONDS:.0f} seconds, from nothing")
    fit(MoleculeTask(recipe), recipe.train, folder / "training", watched, device="cpu", resume=False)
    for name in ("molecules.sdf", "molecules.png"):
        tracker.log_artifact(folder / name)
    section = molecule_section(
        title=f"{MOLECULES} molecules from the model qm9",
        molecules=generated,
        tables=metric_tables(evaluation),
        curves=[_curve(watched.series)],
        facts=facts,
        notes=evaluation.notes,
    )
    return [section, _grow(generator, folder, console)]


def _grow(generator: MoleculeGenerator, folder: Path, console: Console) -> Section:
    """Molecules that hold a part, as a picture."""
    part = Scaffold.of(PART)
    stream = generator.stream(GROWN, seed=SEED, scaffold=part)
    grown = list(track(stream, f"growing around {PART}", total=GROWN, console=console, transient=True))
    held = sum(one.mol.HasSubstructMatch(part.mol) for one in grown)
    said = f"{GROWN} molecules grown around {PART}: {held} hold it, {sum(not one.reason for one in grown)} sanitise"
    console.print(said)
    picture = molecule_grid([one.mol for one in grown], folder / "grown.png", columns=4)
    facts = {"command": f'scidiff molecules generate -n {GROWN} --seed {SEED} --scaffold "{PART}"'}
    return Section(f"{GROWN} molecules grown around {PART}", [Picture(picture, f"{said}.", f"Drawings: {said}.")], facts)


def _recipe() -> Recipe:
    """A small model on the sample: what twenty seconds of a laptop can show learning with."""
    return Recipe(
        name="demo",
        data=DataConfig(source="sample", valid=200),
        backbone=BackboneConfig(width=64, pair_width=32, blocks=3, irreps="8x1o"),
        train=TrainConfig(
            steps=400, batch_size=64, warmup=20, log_every=5, validate_every=100_000, save_every=100_000, preview_every=100_000,
            max_seconds=TRAIN_SECONDS, clip_norm=20,
        ),
    )  # fmt: skip


def _generate(generator: MoleculeGenerator, folder: Path, console: Console) -> tuple[list[MoleculeView], Evaluation, dict[str, str]]:
    """Molecules to SDF and to pictures, judged; and the facts that repeat the run."""
    console.rule(f"generating {MOLECULES} molecules with the model qm9")
    started = time.perf_counter()
    with writer(folder / "molecules.sdf") as file:
        stream = generator.stream(MOLECULES, seed=SEED)
        molecules = list(track(stream, "generating", total=MOLECULES, console=console, transient=True))
        for molecule in molecules:
            file.write(molecule, {"seed": SEED, "model": "qm9", "calls": generator.calls()})
    seconds = time.perf_counter() - started
    console.print(f"{MOLECULES} molecules in {seconds:.1f} s, {MOLECULES / seconds:.1f} a second, {generator.calls()} network calls each")
    evaluation = evaluate([molecule.mol for molecule in molecules], "qm9", name="molecules.sdf")
    evaluation.print(console)
    molecule_grid([molecule.mol for molecule in molecules[:25]], folder / "molecules.png")
    facts = {
        "command": f"scidiff molecules generate -n {MOLECULES} --seed {SEED}",
        "model": f"qm9, {generator.metadata['step']:,} training steps",
        "sampler": " ".join(f"{key}={value}" for key, value in generator.sampler.model_dump().items()),
        "network calls a molecule": str(generator.calls()),
        "time": f"{seconds:.1f} s on {torch.get_num_threads()} threads",
        "versions": f"scidiff {__version__}, rdkit {rdkit.__version__}, torch {torch.__version__}, Python {platform.python_version()}",
    }
    return [MoleculeView.of(molecule.mol, f"molecule {molecule.id}") for molecule in molecules], evaluation, facts


def _curve(series: Mapping[str, list[tuple[int, float]]]) -> Curve:
    parts = {name: series[f"train/loss/{name}"] for name in ("positions", "elements", "bonds")}
    lines = [Series(name, [step for step, _ in points], [value for _, value in points]) for name, points in parts.items()]
    return Curve("Learning, twenty seconds from nothing", "step", "loss a molecule", lines)
