"""Molecules on request: what may be asked of a served generator, and how much at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import Field

from scidiff.config import Config
from scidiff.domain import Answer
from scidiff.errors import UserError
from scidiff_molecules.decode import Generated
from scidiff_molecules.generator import BLOCK, MoleculeGenerator
from scidiff_molecules.scaffold import MAX_SMILES, Scaffold
from scidiff_molecules.sdf import STATUS, mol_block
from scidiff_molecules.targets import Targets
from scidiff_molecules.wish import MAX_CANDIDATES, MAX_GUIDANCE, Wish, Wishes

MAX_MOLECULES, MAX_STEPS, MAX_ATOMS = 1000, 250, 1000
MAX_PAIR_CALLS = 5_000_000
"""Network calls x molecules x pairs of atoms of one answer: two to three minutes of one core."""


class MoleculeRequest(Config):
    """``n`` molecules, those with the numbers ``first``, ``first + 1``, ...: to the bit those that ``scidiff molecules generate`` makes."""

    n: int = Field(default=1, ge=1, le=MAX_MOLECULES)
    seed: int = Field(default=0, ge=0, le=2**63 - 1)
    steps: int | None = Field(default=None, ge=1, le=MAX_STEPS, description="sampling steps; by default the model's own")
    atoms: int | None = Field(default=None, ge=1, le=MAX_ATOMS, description="in every molecule; by default as in the training data")
    first: int = Field(default=0, ge=0, le=2**53)
    targets: list[str] = Field(default=[], max_length=16, description="properties, such as gap=5.5 or mu=2..3")
    guidance: float | None = Field(default=None, ge=0, le=MAX_GUIDANCE, description="how strongly targets pull; 1 is the model's own law")
    candidates: int | None = Field(default=None, ge=1, le=MAX_CANDIDATES, description="for each; the one that fits targets best is kept")
    scaffold: str | None = Field(default=None, max_length=MAX_SMILES, description="SMILES of a part that every molecule holds")

    def wishes(self) -> Wishes:
        """Arguments of the generator. Raises UserError for what cannot be read."""
        scaffold = None if self.scaffold is None else Scaffold.of_smiles(self.scaffold)
        targets = Targets.parse(self.targets) if self.targets else None
        asked: Wishes = {"atoms": self.atoms, "targets": targets, "scaffold": scaffold}
        return {**asked, "guidance": self.guidance, "candidates": self.candidates}


class MoleculeService:
    """Implements :class:`scidiff.domain.Service`: one row a molecule, with ``id``, ``status`` (ok, or failed or withheld, and why),
    ``smiles`` (empty for one that is not ok) and ``molblock`` (3D, hydrogens included; without atoms for one that screening withholds).
    No request can switch the screening off."""

    def __init__(self, generator: MoleculeGenerator) -> None:
        self.generator = generator

    @classmethod
    def request_type(cls) -> type[MoleculeRequest]:
        return MoleculeRequest

    @classmethod
    def load(cls, weights: Path, device: str = "cpu") -> MoleculeService:
        generator = MoleculeGenerator.load(weights, device=device)
        generator.check_generates()
        return cls(generator)

    def answer(self, request: MoleculeRequest) -> Answer:
        wishes = request.wishes()
        stream = self.generator.stream(request.n, seed=request.seed, steps=request.steps, first=request.first, **wishes)
        cost = self._pair_calls(request, Wish.of(wishes)) / MAX_PAIR_CALLS
        if cost > 1:
            raise UserError(
                f"n = {request.n} with {self._steps(request)} steps and up to {self._atoms(request)} atoms is {cost:.3g} times what one "
                f"answer may cost ({MAX_PAIR_CALLS:,} network calls x pairs of atoms): ask for fewer at a time, and go on with first"
            )
        return Answer(cost, self._rows(stream))

    def _pair_calls(self, request: MoleculeRequest, wish: Wish) -> int:
        """Blocks are computed whole."""
        blocks = (request.first + request.n - 1) // BLOCK - request.first // BLOCK + 1
        return blocks * BLOCK * self.generator.calls(request.steps, wish) * self._atoms(request) ** 2

    def _steps(self, request: MoleculeRequest) -> int:
        return self.generator.sampler.steps if request.steps is None else request.steps

    def _atoms(self, request: MoleculeRequest) -> int:
        return len(self.generator.statistics.sizes) - 1 if request.atoms is None else request.atoms

    def _rows(self, stream: Iterator[Generated]) -> Iterator[dict[str, Any]]:
        for one in stream:
            row = {"id": one.id, "status": one.mol.GetProp(STATUS), "smiles": one.smiles}
            yield row | {"molblock": mol_block(one.mol, one.reason or None)[0]}
