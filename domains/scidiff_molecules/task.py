"""The molecule domain's training task: QM9 (or the shipped sample) as batches, the objective, validation and previews."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import torch
from torch import Tensor

from scidiff.denoiser import Denoiser
from scidiff.errors import UserError
from scidiff.layout import Layout
from scidiff.objective import Objective, Term, TimeLaw, Weight
from scidiff.random import Noise
from scidiff.tracking import DataInfo
from scidiff.train.session import TrainWarning
from scidiff.train.start import read_start
from scidiff.train.task import Batch, Preview
from scidiff_molecules.couplings import COUPLINGS
from scidiff_molecules.data import MoleculeDataset, half_of, load_ligands, load_qm9, load_sample, to_implicit
from scidiff_molecules.data.own import describe_left_out, load_own, split
from scidiff_molecules.generator import MoleculeGenerator
from scidiff_molecules.known import Known
from scidiff_molecules.model import MoleculeBackbone, build_denoiser
from scidiff_molecules.properties import values_of
from scidiff_molecules.provenance import data_info
from scidiff_molecules.recipe import DataConfig, Recipe
from scidiff_molecules.registry import find_model
from scidiff_molecules.sdf.reading import STATUS
from scidiff_molecules.statistics import Statistics, covered, measure, property_law, standardised
from scidiff_molecules.tokens import BONDS, ELEMENTS, HYDROGENS, POSITIONS, PROPERTIES, Vocabulary, state

if TYPE_CHECKING:
    from scidiff_molecules.memorisation import TrainingSet

_VALIDATION_BATCH = 256


def _usable(dataset: MoleculeDataset, vocabulary: Vocabulary | None = None, *, hydrogens: bool = False) -> Tensor:
    """The molecules with bonds assigned; with a vocabulary, those of them whose every atom has a token (a rare one of the validation
    split may be in no training molecule). ``hydrogens``: they are a field of their own."""
    good = dataset.fields["assigned"]
    if vocabulary is not None:
        good = good & covered(dataset, vocabulary, hydrogens=hydrogens)
    return torch.arange(len(dataset))[good[dataset.rows]]


def load_data(data: DataConfig) -> tuple[MoleculeDataset, MoleculeDataset]:
    """(training, validation), whole."""
    if data.path is not None:
        whole = load_own(data.path, hydrogens=data.hydrogens, cache=data.cache)
        if told := describe_left_out(whole):
            warnings.warn(told, TrainWarning, stacklevel=2)
        return split(whole, data.valid)
    # Halves are of the split itself: what of it has no implicit hydrogens is left out afterwards.
    whole = _load(data, "train", "explicit" if data.half else data.hydrogens)
    if data.half is not None:
        half = whole.select(half_of(len(whole), data.half))
        whole = to_implicit(half) if data.hydrogens == "implicit" else half
    return whole, _load(data, "valid", data.hydrogens)


def _load(data: DataConfig, part: str, hydrogens: str) -> MoleculeDataset:
    if data.source == "sample":
        return load_sample(part, hydrogens=hydrogens)
    load = load_qm9 if data.source == "qm9" else load_ligands
    return load(part, hydrogens=hydrogens, cache=data.cache)


class MoleculeTask:
    """Implements :class:`scidiff.train.task.Task`."""

    monitor = "loss"
    monitor_goal: Literal["minimise", "maximise"] = "minimise"

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        start = None if recipe.init is None else read_start(recipe.init, find_model, "molecules")
        known = None if start is None else Statistics.from_json(start.metadata["statistics"])
        whole, valid = load_data(recipe.data)
        self._hydrogens = recipe.noise.hydrogens == "field"
        usable = _usable(whole, known and known.vocabulary, hydrogens=self._hydrogens)
        if start is not None and len(usable) < len(whole):
            lost = f"{len(whole) - len(usable):,} of {len(whole):,} molecules are left out"
            warnings.warn(f"init = {start.model}: {lost}: they hold atoms for which it has no token", TrainWarning, stacklevel=2)
        if not len(usable):
            raise UserError("no molecule can be trained on: their bonds are not assigned, or init has no token for their atoms")
        self.dataset = whole.select(usable[: recipe.data.limit])
        self.sizes = self.dataset.sizes
        measured = measure(self.dataset, hydrogens=self._hydrogens, properties=recipe.data.properties)
        self.statistics = measured if known is None else replace(known, sizes=measured.sizes)
        self.valid = valid.select(_usable(valid, self.statistics.vocabulary, hydrogens=self._hydrogens)[: recipe.data.valid])
        self._described = [standardised(part, self.statistics.properties) for part in (self.dataset, self.valid)]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.train.seed)  # initial weights: torch's own initialisers draw from its global generator
            self.denoiser = build_denoiser(recipe.noise, recipe.backbone, self.statistics)
        self._start = start and start.about()
        if start is not None:
            self.denoiser.load_state_dict(start.tensors)
        elif self.statistics.properties:
            cast("MoleculeBackbone", self.denoiser.backbone).law.copy_(property_law(self.dataset, self.statistics.properties))
        self.objective = self._objective()
        self._known: TrainingSet | None = None

    def _objective(self) -> Objective:
        loss, known, fields = self.recipe.loss, self.recipe.known, self.denoiser.process.fields
        labels = {ELEMENTS: loss.elements_scale, HYDROGENS: loss.elements_scale, BONDS: loss.bonds_scale}
        terms = {f: Term(score=loss.labels, scale=scale) for f, scale in labels.items() if f in fields}
        terms[POSITIONS] = Term(Weight(loss.positions), scale=loss.positions_scale)
        if PROPERTIES in fields:
            terms[PROPERTIES] = Term(score="squared_error", scale=loss.properties_scale)
        law = TimeLaw(loss.time_law, mean=loss.time_mean, std=loss.time_std)
        couplings = {} if loss.alignment == "none" else {POSITIONS: COUPLINGS[loss.alignment]}
        gives = known.molecule or known.substructure > 0 or PROPERTIES in fields
        reveal = Known(**known.model_dump()) if gives else None
        return Objective(self.denoiser.process, terms, law, couplings, reveal, {PROPERTIES: 1.0} if PROPERTIES in fields else {})

    def batch(self, examples: Tensor) -> Batch:
        return self._batch(self.dataset, examples, self._described[0])

    def _batch(self, dataset: MoleculeDataset, examples: Tensor, described: Tensor) -> Batch:
        bucket = self.recipe.data.bucket
        atoms = -(-int(dataset.sizes[examples].max()) // bucket) * bucket
        law = self.statistics
        x, layouts = state(dataset.dense(examples, atoms), law.vocabulary, law.scale, hydrogens=self._hydrogens)
        if law.properties:
            x[PROPERTIES] = described[examples][..., None]
            layouts[PROPERTIES] = Layout(torch.ones(len(examples), len(law.properties), dtype=torch.bool))
        return Batch(x, layouts)

    @torch.no_grad()
    def validate(self, denoiser: Denoiser, training: bool = False) -> dict[str, float]:
        """Training losses and ELBO rates in nats a molecule on validation molecules (or as many of the training's), with the same noise
        every time."""
        count = min(len(self.valid), len(self.dataset))
        dataset, described = self.valid, self._described[1]
        if training:
            chosen = torch.arange(count) * len(self.dataset) // count
            dataset, described = self.dataset.select(chosen), self._described[0][chosen]
        sums: dict[str, Tensor] = {}
        device = next(denoiser.parameters()).device
        for examples in torch.arange(len(dataset)).split(_VALIDATION_BATCH):
            batch = self._batch(dataset, examples, described)
            u = (torch.arange(len(examples)).double() + 0.5) / len(examples)
            loss = self.objective(
                denoiser,
                {k: v.to(device) for k, v in batch.state.items()},
                {k: v.to(device) for k, v in batch.layouts.items()},
                Noise(self.recipe.train.seed, examples.to(device)),
                u.to(device),
                step=2**31,  # apart from every training epoch
            )
            parts = {f"loss/{k}": v for k, v in loss.terms.items()} | {f"nats/{k}": v for k, v in loss.nats.items()} | {"loss": loss.total}
            for name, value in parts.items():
                sums[name] = sums.get(name, torch.zeros(())) + value.sum().cpu()
        return {name: float(value) / len(dataset) for name, value in sums.items()}

    def preview(self, denoiser: Denoiser, folder: Path, step: int) -> Preview:
        if self.recipe.known.molecule:
            return self._preview_judge(denoiser, folder, step)
        # Statistics and drawing take a second to import, which every start of a command would pay.
        from scidiff_molecules.memorisation import TrainingSet
        from scidiff_molecules.metrics import evaluate
        from scidiff_molecules.preview import preview_files

        generator, asked = MoleculeGenerator(denoiser, self.statistics, self.metadata()), self.recipe.preview
        molecules = generator.generate(asked.molecules, seed=1, steps=asked.steps)
        evaluation = evaluate(molecules, reference=None)
        facts = {"seed": "1", "network calls a molecule": str(generator.calls(asked.steps))}
        if self._known is None:
            self._known = TrainingSet.of(self.dataset, self.valid)
        measured = evaluation.to_metrics() | self._known.measure([mol for mol in molecules if mol.GetProp(STATUS) == "ok"])
        return Preview(measured, preview_files(molecules, evaluation, facts, folder, step))

    def _preview_judge(self, denoiser: Denoiser, folder: Path, step: int) -> Preview:
        """Of a judge: its mean absolute errors on validation molecules, in users' units, and a picture of true against predicted."""
        from scidiff.report.pictures import figure_png
        from scidiff_molecules.predict import PropertyJudge
        from scidiff_molecules.report.targets import asked_against_got

        judge = PropertyJudge(MoleculeGenerator(denoiser, self.statistics, self.metadata()))
        true, said = values_of(self.valid, judge.names), judge.of(self.valid)
        errors = (true - said).abs().mean(0).tolist()
        pairs = {
            name: [((t, t), s) for t, s in zip(true[:, k].tolist(), said[:, k].tolist(), strict=True)] for k, name in enumerate(judge.names)
        }
        folder.mkdir(parents=True, exist_ok=True)
        picture = folder / f"step-{step:07d}.png"
        figure_png(asked_against_got(pairs), picture)
        return Preview({f"mae/{name}": error for name, error in zip(judge.names, errors, strict=True)}, (picture,))

    def finish(self, denoiser: Denoiser) -> dict[str, Any]:
        return {}

    def data(self) -> DataInfo:
        return data_info(self.recipe.data, self.dataset, self.valid)

    def metadata(self) -> dict[str, Any]:
        recipe = self.recipe
        return {
            "domain": "molecules",
            "name": recipe.name,
            "noise": recipe.noise.model_dump(mode="json"),
            "backbone": recipe.backbone.model_dump(mode="json"),
            "statistics": self.statistics.to_json(),
            "data": recipe.data.model_dump(mode="json", exclude={"cache", "path"}),
            "loss": recipe.loss.model_dump(mode="json"),
            "known": recipe.known.model_dump(mode="json"),
            "sampler": recipe.sampler.model_dump(mode="json"),
            "molecules": len(self.dataset),
            **({"init": self._start} if self._start else {}),
        }
