"""Generating molecules: fixed blocks of sample ids, so that any molecule of a run can be made again alone, to the bit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Unpack

import torch
from rdkit import Chem
from torch import Tensor

from scidiff.denoiser import Denoiser
from scidiff.device import choose_device
from scidiff.errors import UserError
from scidiff.guidance import steer
from scidiff.memory import Room, split_when_full
from scidiff.process import Layouts, State
from scidiff.random import Noise
from scidiff.sampling import RULES, Sample, sample, time_grid
from scidiff.train.weights import load_weights
from scidiff_molecules.candidates import Fit
from scidiff_molecules.decode import Generated, decode
from scidiff_molecules.described import molecules_alone
from scidiff_molecules.model import MAX_STEPS, BackboneConfig, NoiseConfig, SamplerConfig, Statistics, build_denoiser
from scidiff_molecules.registry import find_model
from scidiff_molecules.screening import Screen, screened
from scidiff_molecules.tokens import BONDS, ELEMENTS, HYDROGENS, POSITIONS, layouts
from scidiff_molecules.wish import NOTHING, Wish, Wishes

MAX_MOLECULES = 100_000_000
MAX_BATCH = 10_000
MAX_PAIRS = 2_000_000
"""Pairs of atoms in one network call: their features are the memory it takes, some 3 GB here."""
BLOCK = 50
"""Molecules that share a network call by default. Part of a result's identity: outputs are bit-equal for equal blocks only."""


class MoleculeGenerator:
    """A trained model, ready to generate.

    >>> molecules = MoleculeGenerator.load("qm9").generate(100, seed=0)  # doctest: +SKIP
    """

    def __init__(
        self, denoiser: Denoiser, statistics: Statistics, metadata: Mapping[str, Any], sampler: SamplerConfig | None = None
    ) -> None:
        self.denoiser = denoiser.eval()
        self.statistics = statistics
        self.metadata = dict(metadata)
        self.sampler = SamplerConfig.model_validate(metadata.get("sampler", {})) if sampler is None else sampler

    @classmethod
    def load(cls, model: str | Path = "qm9", *, device: str = "cpu") -> MoleculeGenerator:
        """A shipped model by name, or a safetensors file. Raises UserError for an unknown name (listing the known) or a bad file."""
        tensors, metadata = load_weights(find_model(model))
        if metadata.get("domain") != "molecules":
            raise UserError(f"{model}: these weights are not a molecule model (domain {metadata.get('domain')!r})")
        place = choose_device(device)
        try:
            statistics = Statistics.from_json(metadata["statistics"])
            noise, backbone = NoiseConfig.model_validate(metadata["noise"]), BackboneConfig.model_validate(metadata["backbone"])
            if backbone.blocks * backbone.width**2 > sum(tensor.numel() for tensor in tensors.values()):  # before it takes memory
                raise RuntimeError(f"{backbone.blocks} blocks of width {backbone.width} need more numbers than the file holds")
            generator = cls(build_denoiser(noise, backbone, statistics).to(place), statistics, metadata)
            generator.denoiser.load_state_dict(tensors)
        except KeyError as error:
            raise UserError(f"{model}: the header of these weights lacks {error}: write them with scidiff train") from error
        except (ValueError, TypeError) as error:
            raise UserError(f"{model}: the header of these weights describes no model that is known here: {error}") from error
        except RuntimeError as error:
            raise UserError(f"{model}: the weights do not fit the model that their header describes: {error}") from error
        return generator

    @property
    def device(self) -> torch.device:
        return next(self.denoiser.parameters()).device

    def calls(self, steps: int | None = None, wish: Wish = NOTHING) -> int:
        """Network calls that a molecule takes with the current sampler."""
        steps = self.sampler.steps if steps is None else steps
        calls = wish.calls_an_ask * (2 * steps - 1 if self.sampler.rule in ("heun", "corrector") else steps)
        return calls if wish.candidates == 1 else wish.candidates * (calls + 1)

    def provenance(self, model: str, seed: int, steps: int | None, asked: Wishes) -> dict[str, str | int | float]:
        """What is written beside every molecule: how it was made."""
        wish = Wish.of(asked)
        return {"seed": seed, "model": model, "calls": self.calls(steps, wish), **wish.properties()}

    def generate(
        self, n: int, *, seed: int = 0, steps: int | None = None, first: int = 0, batch_size: int = BLOCK, screen: Screen | bool = True,
        **asked: Unpack[Wishes],
    ) -> list[Chem.Mol]:  # fmt: skip
        """``n`` RDKit molecules with hydrogens and a conformer. One that does not sanitise is among them as the model made it, its property
        ``scidiff_status`` saying why; in the place of one that is withheld there is a molecule without atoms. See :meth:`stream` for the
        arguments and errors."""
        made = self.stream(n, seed=seed, steps=steps, first=first, batch_size=batch_size, screen=screen, **asked)
        return [one.mol for one in made]

    def stream(
        self, n: int, *, seed: int = 0, steps: int | None = None, first: int = 0, batch_size: int = BLOCK, screen: Screen | bool = True,
        **asked: Unpack[Wishes],
    ) -> Iterator[Generated]:  # fmt: skip
        """Molecules as they are made, in the order of their ids. ``asked``: what is wanted (:class:`~scidiff_molecules.wish.Wishes`).
        ``screen``: withhold members of hazardous classes (:mod:`scidiff_molecules.screening`); False: withhold none.

        A block of ``batch_size`` consecutive ids is always computed whole, so id 41 is the same to the bit whichever ids are asked for.
        The noise depends on (seed, id) alone, so another batch size changes results by rounding only. Raises UserError, before anything
        is computed, for n, steps, first or batch_size out of range, and for what cannot be asked of this model.
        """
        wish = self.check(n, steps=steps, first=first, batch_size=batch_size, **asked)
        steps = self.sampler.steps if steps is None else steps
        made = self._stream(n, seed, self.sampler.model_copy(update={"steps": steps}), wish, first, batch_size)
        return screened(made, screen)

    def _stream(self, n: int, seed: int, sampler: SamplerConfig, wish: Wish, first: int, batch_size: int) -> Iterator[Generated]:
        room, wanted = Room(), range(first, first + n)

        def compute(ids: Sequence[int]) -> tuple[Sequence[int], State, Layouts]:
            drawn, layout = self.sample(torch.tensor(list(ids)), seed, sampler, wish)
            return ids, drawn.state, layout

        for block in range(first // batch_size, -(-(first + n) // batch_size)):
            whole = range(block * batch_size, (block + 1) * batch_size)
            # Of a block that does not fit in memory a part at a time: the same noise, so the same molecules to rounding.
            for ids, drawn, layout in split_when_full(compute, whole, room, what="molecules of a block"):
                rows = [row for row, number in enumerate(ids) if number in wanted]
                state = {name: field[rows] for name, field in drawn.items()}
                kept = {name: one.take(torch.tensor(rows, device=one.mask.device)) for name, one in layout.items()}
                yield from decode(state, kept, self.statistics.vocabulary, self.statistics.scale, [ids[row] for row in rows])

    def sample(self, ids: Tensor, seed: int, sampler: SamplerConfig, wish: Wish = NOTHING) -> tuple[Sample, Layouts]:
        """The states of one block of ids, before they become molecules."""
        noise = Noise(seed, ids.to(self.device))
        question = wish.ask(self.denoiser, self.statistics, noise)
        process = molecules_alone(self.denoiser.process)
        layout = layouts(question.sizes, int(question.sizes.max()), hydrogens=HYDROGENS in process.fields)
        shape = layout[ELEMENTS].mask.shape
        like: State = {f: torch.zeros(shape, dtype=torch.int64, device=self.device) for f in process.fields}
        like[POSITIONS] = torch.zeros(*shape, 3, dtype=next(self.denoiser.parameters()).dtype, device=self.device)
        like[BONDS] = torch.zeros(*shape, shape[1], dtype=torch.int64, device=self.device)
        layout = wish.known(like, layout, self.statistics)
        schedule = process.fields[POSITIONS].schedule
        grid = time_grid(schedule, sampler.steps, sampler.grid)
        walk = (process, layout, noise, grid, RULES[sampler.rule], like)
        options: dict[str, Any] = {
            "churn": {f: sampler.churn_positions if f == POSITIONS else sampler.churn_labels for f in process.fields},
            "self_conditioning": self.metadata.get("backbone", {}).get("self_conditioning", False),
        }
        if wish.candidates > 1 and question.drawn is not None:
            fit = Fit(self.denoiser, question.drawn, self.statistics, schedule.t_min)
            made = steer(question.denoiser, *walk, fit, particles=wish.candidates, threshold=0.0, lookahead=0.0, **options)
            drawn = fit.kept(made, noise)
        else:
            drawn = sample(question.denoiser, *walk, **options)
        return replace(drawn, state=wish.placed(drawn.state, layout, self.statistics)), layout

    def check_generates(self) -> None:
        """Raises UserError if this is a judge of given molecules."""
        if self.metadata.get("known", {}).get("molecule"):
            name = self.metadata.get("name")
            raise UserError(f"model {name!r} predicts properties and generates nothing; take one that does, such as qm9")

    def check(self, n: int, *, steps: int | None, first: int, batch_size: int, **asked: Unpack[Wishes]) -> Wish:
        """What is asked for, checked. Raises UserError for what :meth:`stream` refuses."""
        steps = self.sampler.steps if steps is None else steps
        bounds = {"n": (n, 1, MAX_MOLECULES), "steps": (steps, 1, MAX_STEPS), "first": (first, 0, 2**62)}
        bounds["batch_size"] = (batch_size, 1, MAX_BATCH)
        for name, (value, low, high) in bounds.items():
            if not low <= value <= high:
                raise UserError(f"{name} = {value}: must lie between {low:,} and {high:,}")
        self.check_generates()
        wish, known = Wish.of(asked), self.metadata.get("known", {})
        if wish.scaffold is not None and not known.get("substructure"):
            raise UserError("scaffold: this model was trained without known parts; take one that was, such as qm9")
        wish.check(self.denoiser, self.statistics)
        largest = len(self.statistics.sizes) - 1 if wish.atoms is None else wish.atoms
        pairs = wish.candidates * largest**2
        if batch_size * pairs > MAX_PAIRS:
            many = f", {wish.candidates} candidates each," if wish.candidates > 1 else ""
            room = f"{MAX_PAIRS:,} pairs of atoms fit in one network call; use batch_size <= {MAX_PAIRS // pairs}"
            raise UserError(f"batch_size = {batch_size}{many} with up to {largest} atoms: {room}")
        return wish
