"""Generating molecules: fixed blocks of sample ids, so that any molecule of a run can be made again alone, to the bit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from rdkit import Chem
from torch import Tensor

from scidiff.config import Config
from scidiff.denoiser import Denoiser
from scidiff.device import choose_device
from scidiff.errors import UserError
from scidiff.layout import Layout
from scidiff.memory import Room, split_when_full
from scidiff.process import Layouts, State
from scidiff.random import Noise, draw_categorical
from scidiff.sampling import RULES, Sample, sample, time_grid
from scidiff.sampling.grid import GridName
from scidiff.train.weights import load_weights
from scidiff_molecules.decode import Generated, decode
from scidiff_molecules.model import BackboneConfig, NoiseConfig, Statistics, build_denoiser
from scidiff_molecules.registry import find_model
from scidiff_molecules.screening import Screen, screened
from scidiff_molecules.tokens import BONDS, ELEMENTS, POSITIONS, layouts

MAX_MOLECULES = 100_000_000
MAX_STEPS = 1000
MAX_BATCH = 10_000
MAX_PAIRS = 2_000_000
"""Pairs of atoms in one network call: their features are the memory it takes, some 3 GB here."""
BLOCK = 50
"""Molecules that share a network call by default. Part of a result's identity: outputs are bit-equal for equal blocks only."""


class SamplerConfig(Config):
    """How to walk from noise to molecules; the defaults are what docs/results.md found best at the default number of steps."""

    steps: int = Field(default=50, ge=1, le=MAX_STEPS)
    rule: Literal["first", "multistep", "heun", "corrector"] = "first"
    grid: GridName = "uniform"
    churn_positions: float = Field(default=0.0, ge=0, le=1)
    churn_labels: float = Field(default=1.0, ge=0, le=1)


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

    def calls(self, steps: int | None = None) -> int:
        """Network calls that a molecule takes with the current sampler."""
        steps = self.sampler.steps if steps is None else steps
        return 2 * steps - 1 if self.sampler.rule in ("heun", "corrector") else steps

    def generate(
        self, n: int, *, seed: int = 0, steps: int | None = None, atoms: int | None = None, first: int = 0, batch_size: int = BLOCK,
        screen: Screen | bool = True,
    ) -> list[Chem.Mol]:  # fmt: skip
        """``n`` RDKit molecules with hydrogens and a conformer. One that does not sanitise is among them as the model made it, its property
        ``scidiff_status`` saying why; in the place of one that is withheld there is a molecule without atoms. See :meth:`stream` for the
        arguments and errors."""
        made = self.stream(n, seed=seed, steps=steps, atoms=atoms, first=first, batch_size=batch_size, screen=screen)
        return [one.mol for one in made]

    def stream(
        self, n: int, *, seed: int = 0, steps: int | None = None, atoms: int | None = None, first: int = 0, batch_size: int = BLOCK,
        screen: Screen | bool = True,
    ) -> Iterator[Generated]:  # fmt: skip
        """Molecules as they are made, in the order of their ids. ``atoms``: that many in every molecule (heavy ones for a model with
        implicit hydrogens). ``screen``: withhold members of hazardous classes (:mod:`scidiff_molecules.screening`); False: withhold none.

        A block of ``batch_size`` consecutive ids is always computed whole, so id 41 is the same to the bit whichever ids are asked for.
        The noise depends on (seed, id) alone, so another batch size changes results by rounding only. Raises UserError, before anything
        is computed, for n, steps, atoms, first or batch_size out of range.
        """
        self.check(n, steps=steps, atoms=atoms, first=first, batch_size=batch_size)
        steps = self.sampler.steps if steps is None else steps
        made = self._stream(n, seed, self.sampler.model_copy(update={"steps": steps}), atoms, first, batch_size)
        return screened(made, screen)

    def _stream(self, n: int, seed: int, sampler: SamplerConfig, atoms: int | None, first: int, batch_size: int) -> Iterator[Generated]:
        room, wanted = Room(), range(first, first + n)

        def compute(ids: Sequence[int]) -> tuple[Sequence[int], State, Layouts]:
            drawn, layout = self.sample(torch.tensor(list(ids)), seed, sampler, atoms)
            return ids, drawn.state, layout

        for block in range(first // batch_size, -(-(first + n) // batch_size)):
            whole = range(block * batch_size, (block + 1) * batch_size)
            # Of a block that does not fit in memory a part at a time: the same noise, so the same molecules to rounding.
            for ids, drawn, layout in split_when_full(compute, whole, room, what="molecules of a block"):
                rows = [row for row, number in enumerate(ids) if number in wanted]
                state = {name: field[rows] for name, field in drawn.items()}
                kept = {name: _rows(one, rows) for name, one in layout.items()}
                yield from decode(state, kept, self.statistics.vocabulary, self.statistics.scale, [ids[row] for row in rows])

    def sample(self, ids: Tensor, seed: int, sampler: SamplerConfig, atoms: int | None = None) -> tuple[Sample, Layouts]:
        """The states of one block of ids, before they become molecules."""
        noise = Noise(seed, ids.to(self.device))
        sizes = self._sizes(noise, atoms)
        layout = layouts(sizes, int(sizes.max()))
        shape = layout[ELEMENTS].mask.shape
        like: State = {
            POSITIONS: torch.zeros(*shape, 3, dtype=next(self.denoiser.parameters()).dtype, device=self.device),
            ELEMENTS: torch.zeros(shape, dtype=torch.int64, device=self.device),
            BONDS: torch.zeros(*shape, shape[1], dtype=torch.int64, device=self.device),
        }
        process = self.denoiser.process
        drawn = sample(
            self.denoiser,
            process,
            layout,
            noise,
            time_grid(process.fields[POSITIONS].schedule, sampler.steps, sampler.grid),
            RULES[sampler.rule],
            like,
            churn={POSITIONS: sampler.churn_positions, ELEMENTS: sampler.churn_labels, BONDS: sampler.churn_labels},
            self_conditioning=self.metadata.get("backbone", {}).get("self_conditioning", False),
        )
        return drawn, layout

    def _sizes(self, noise: Noise, atoms: int | None) -> Tensor:
        if atoms is not None:
            return torch.full((len(noise.ids),), atoms, device=self.device)
        histogram = torch.tensor(self.statistics.sizes, dtype=torch.float64, device=self.device)
        return draw_categorical(histogram.expand(len(noise.ids), -1), noise.scalar("size", 0))

    def check(self, n: int, *, steps: int | None, atoms: int | None, first: int, batch_size: int) -> None:
        """Raises UserError for what :meth:`stream` refuses."""
        steps = self.sampler.steps if steps is None else steps
        trained = len(self.statistics.sizes) - 1
        bounds = {"n": (n, 1, MAX_MOLECULES), "steps": (steps, 1, MAX_STEPS), "first": (first, 0, 2**62)}
        bounds["batch_size"] = (batch_size, 1, MAX_BATCH)
        for name, (value, low, high) in bounds.items():
            if not low <= value <= high:
                raise UserError(f"{name} = {value}: must lie between {low:,} and {high:,}")
        if atoms is not None and not 1 <= atoms <= 4 * trained:
            raise UserError(f"atoms = {atoms}: this model was trained on up to {trained}; ask for 1 to {4 * trained}")
        largest = trained if atoms is None else atoms
        if batch_size * largest**2 > MAX_PAIRS:
            room = f"{MAX_PAIRS:,} pairs of atoms fit in one network call; use batch_size <= {MAX_PAIRS // largest**2}"
            raise UserError(f"batch_size = {batch_size} with up to {largest} atoms: {room}")


def _rows(layout: Layout, rows: list[int]) -> Layout:
    return replace(layout, mask=layout.mask[rows])
