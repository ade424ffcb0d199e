"""What is asked of the molecules that are to be made: their size, their properties, a part that they hold."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict, cast

import torch
from rdkit import Chem
from torch import Tensor

from scidiff.denoiser import Denoise, Denoiser
from scidiff.errors import UserError
from scidiff.guidance import ClassifierFree
from scidiff.layout import Layout
from scidiff.process import Layouts, State
from scidiff.random import Noise, draw_categorical
from scidiff_molecules.described import Described
from scidiff_molecules.model import MoleculeBackbone
from scidiff_molecules.scaffold import Scaffold
from scidiff_molecules.statistics import Statistics
from scidiff_molecules.targets import Asked, Drawn, TargetLaw, Targets
from scidiff_molecules.tokens import POSITIONS

GUIDANCE = 1.0
MAX_GUIDANCE = 20.0
CANDIDATES, MAX_CANDIDATES = 4, 64


class Wishes(TypedDict, total=False):
    """Arguments of :meth:`~scidiff_molecules.generator.MoleculeGenerator.generate` that say what is wanted; all may be left out."""

    atoms: int | None
    """That many in every molecule (heavy ones for a model with implicit hydrogens)."""
    targets: Asked | Targets | None
    """Properties: a value or (low, high) each, in the units of :data:`~scidiff_molecules.properties.PROPERTIES`."""
    guidance: float | None
    """How strongly targets pull (:class:`~scidiff.guidance.ClassifierFree`): 1 is the model's own conditional law."""
    candidates: int | None
    """Of so many made for each molecule (with targets 4) the one that fits best is kept (:mod:`~scidiff_molecules.candidates`)."""
    scaffold: str | Path | Chem.Mol | Scaffold | None
    """A part that every molecule holds (:class:`~scidiff_molecules.scaffold.Scaffold`)."""


@dataclass(frozen=True)
class Question:
    """The denoiser of what is asked for, how many atoms each sample has, and the properties that were drawn for it, if any."""

    denoiser: Denoise
    sizes: Tensor
    drawn: Drawn | None = None


@dataclass(frozen=True)
class Wish:
    """What is asked for, read."""

    atoms: int | None = None
    targets: Targets | None = None
    guidance: float = GUIDANCE
    candidates: int = 1
    scaffold: Scaffold | None = None

    @classmethod
    def of(cls, asked: Wishes) -> Wish:
        """Raises UserError for targets or a scaffold that cannot be read, or a guidance or number of candidates out of range."""
        targets, scaffold, guidance, candidates = (asked.get(name) for name in ("targets", "scaffold", "guidance", "candidates"))
        if guidance is not None and not 0 <= guidance <= MAX_GUIDANCE:
            raise UserError(f"guidance = {guidance:g}: must lie between 0 and {MAX_GUIDANCE:g}; 1 is the model's own law")
        if guidance is not None and not targets:
            raise UserError(f"guidance = {guidance:g}: it pulls towards targets, and none is given")
        if candidates is not None and not 1 <= candidates <= MAX_CANDIDATES:
            raise UserError(f"candidates = {candidates}: must lie between 1 and {MAX_CANDIDATES}")
        if candidates is not None and candidates > 1 and not targets:
            raise UserError(f"candidates = {candidates}: the one is kept that fits targets best, and none is given")
        return cls(
            asked.get("atoms"),
            targets if isinstance(targets, Targets | None) else Targets.of(targets),
            GUIDANCE if guidance is None else guidance,
            (CANDIDATES if targets else 1) if candidates is None else candidates,
            scaffold if isinstance(scaffold, Scaffold | None) else Scaffold.of(scaffold),
        )

    def check(self, denoiser: Denoiser, statistics: Statistics) -> None:
        """Raises UserError for what cannot be asked of this model."""
        trained, least = len(statistics.sizes) - 1, self.least
        if least > 4 * trained:
            raise UserError(f"scaffold: it has {least - 1} atoms; this model was trained on up to {trained}, and makes up to {4 * trained}")
        if self.atoms is not None and not least <= self.atoms <= 4 * trained:
            held = f" and the scaffold has {least - 1}" if least > 1 else ""
            raise UserError(f"atoms = {self.atoms}: this model was trained on up to {trained}{held}; ask for {least} to {4 * trained}")
        if self.targets is not None:
            self.law(denoiser, statistics, self.targets).check()
        if self.scaffold is not None:
            if self.atoms is None and least > trained:
                raise UserError(f"scaffold: it has {least - 1} atoms, and this model was trained on up to {trained}: give atoms >= {least}")
            self.scaffold.check(statistics.vocabulary)

    @property
    def least(self) -> int:
        """Atoms that a molecule has at least: one more than the scaffold."""
        return 1 if self.scaffold is None else len(self.scaffold) + 1

    @property
    def calls_an_ask(self) -> int:
        """Network calls that take the place of one."""
        return 1 if self.targets is None or self.guidance == 1 else 2

    def properties(self) -> dict[str, str | float]:
        """What is written beside every molecule."""
        told: dict[str, str | float] = {}
        if self.targets is not None:
            told |= {"targets": "; ".join(self.targets.to_text()), "guidance": self.guidance, "candidates": self.candidates}
        return told | ({} if self.scaffold is None else {"scaffold": self.scaffold.smiles})

    def ask(self, denoiser: Denoiser, statistics: Statistics, noise: Noise) -> Question:
        """What is put to the network for each sample of ``noise``."""
        if not statistics.properties:
            return Question(denoiser, self._sizes(statistics, noise))
        count = len(statistics.properties)
        nothing = torch.zeros(len(noise.ids), count, device=noise.ids.device)
        free = Described(denoiser, nothing, nothing.bool())
        if self.targets is None:
            return Question(free, self._sizes(statistics, noise))
        drawn = self.law(denoiser, statistics, self.targets).draw(noise)
        given = Described(denoiser, drawn.values, drawn.given)
        asked = given if self.guidance == 1 else ClassifierFree(given, free, self.guidance)
        return Question(asked, drawn.sizes if self.atoms is None else torch.full_like(drawn.sizes, self.atoms), drawn)

    def known(self, like: State, layouts: dict[str, Layout], statistics: Statistics) -> dict[str, Layout]:
        """The layouts with the scaffold known, which is written into ``like``."""
        return layouts if self.scaffold is None else self.scaffold.state(like, layouts, statistics.vocabulary, statistics.scale)

    def placed(self, state: State, layouts: Layouts, statistics: Statistics) -> State:
        """The molecules in the frame of a scaffold that has one."""
        if self.scaffold is None or self.scaffold.positions is None:
            return state
        shift = torch.from_numpy(self.scaffold.origin / statistics.scale).to(state[POSITIONS])
        return {**state, POSITIONS: torch.where(layouts[POSITIONS].mask[..., None], state[POSITIONS] + shift, 0.0)}

    def to_json(self) -> dict[str, Any]:
        """What the molecules depend on."""
        plain: dict[str, Any] = {"atoms": self.atoms}
        if self.targets is not None:
            plain |= {"targets": self.targets.to_text(), "guidance": self.guidance, "candidates": self.candidates}
        return plain | ({} if self.scaffold is None else {"scaffold": self.scaffold.to_json()})

    def law(self, denoiser: Denoiser, statistics: Statistics, targets: Targets) -> TargetLaw:
        """What is drawn for ``targets``."""
        backbone = cast("MoleculeBackbone", denoiser.backbone)
        law = backbone.law if statistics.properties else torch.ones(1, 1)
        return TargetLaw(targets, statistics.properties, law, self.least if self.atoms is None else 1)

    def _sizes(self, statistics: Statistics, noise: Noise) -> Tensor:
        if self.atoms is not None:
            return torch.full((len(noise.ids),), self.atoms, device=noise.ids.device)
        histogram = torch.tensor(statistics.sizes, dtype=torch.float64, device=noise.ids.device)
        histogram[: self.least] = 0
        return draw_categorical(histogram.expand(len(noise.ids), -1), noise.scalar("size", 0))


NOTHING = Wish()
