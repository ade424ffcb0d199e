"""Molecules in shards: what a million of them depend on, and how some of them are written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import rdkit

from scidiff.files import file_sha256
from scidiff.shards import Advance, Plan, Shards, Target, Written, use_own_gpu
from scidiff.shards.origin import command_of, made_on
from scidiff_molecules.generator import MoleculeGenerator
from scidiff_molecules.output import writer
from scidiff_molecules.registry import find_model
from scidiff_molecules.screening import load_rules
from scidiff_molecules.wish import Wish, Wishes

__all__ = ["FAILED", "PART", "MoleculeShards", "sharded"]

FAILED, WITHHELD = "do not sanitise", "are withheld by screening rules"
PART = 1000
"""Molecules in one shard, about, where nobody says how many shards there are."""


def sharded(
    target: Target,
    n: int,
    model: str,
    device: str,
    asked: Mapping[str, Any],
    shards: int | None,
    shard: int | None,
    options: Mapping[str, object],
) -> tuple[Shards, Callable[[Path], int]]:
    """The work of ``scidiff molecules generate`` with these ``options``, and a trial of one block of it.

    ``asked``: arguments of :meth:`MoleculeGenerator.stream`. ``shards`` None: one process makes one file, in parts of :data:`PART`. Raises
    UserError for what :meth:`MoleculeGenerator.stream` refuses, and for more shards than blocks.
    """
    use_own_gpu()
    weights = find_model(model)  # once: an alias may move
    generator = MoleculeGenerator.load(weights, device=device)
    generator.check(n, **{name: value for name, value in asked.items() if name not in ("seed", "screen")})
    made = MoleculeShards(generator, weights, model, dict(asked))
    first, block = asked["first"], asked["batch_size"]
    blocks = -(-(first + n) // block) - first // block
    plan = Plan.of(
        what="molecules", n=n, first=first, block=block, shards=min(-(-n // PART), blocks) if shards is None else shards,
        suffix=target.suffix, about=made.about(), command=command_of(("scidiff", "molecules", "generate"), {**options, "--shards": shards}),
    )  # fmt: skip
    work = Shards(plan, target, made.write, made_on(generator.device, rdkit), shard, shared=shards is not None)
    return work, lambda path: made.trial(path, plan.blocks.start * block)


@dataclass(frozen=True)
class MoleculeShards:
    """Writes molecules of any ids. ``weights``: the file of the model that was asked for as ``model``."""

    generator: MoleculeGenerator
    weights: Path
    model: str
    asked: dict[str, Any]

    def about(self) -> dict[str, Any]:
        """Everything that the molecules, and the bytes that say so, depend on."""
        steps = self.asked["steps"] or self.generator.sampler.steps
        sampler = self.generator.sampler.model_copy(update={"steps": steps}).model_dump(mode="json")
        model = {"model": self.model, "model_sha256": file_sha256(self.weights)}
        rules = load_rules()
        screen = f"rules {rules.version}, sha256 {rules.sha256}" if self.asked["screen"] else "off"
        return {**model, "seed": self.asked["seed"], **Wish.of(cast("Wishes", self.asked)).to_json(), "sampler": sampler, "screen": screen}

    def write(self, path: Path, ids: range, advance: Advance) -> Written:
        """The molecules of these ids to a file, which appears whole or not at all."""
        asked: dict[str, Any] = {**self.asked, "first": ids.start}
        stream = self.generator.stream(len(ids), **asked)
        properties = self.generator.provenance(self.model, asked["seed"], asked["steps"], cast("Wishes", asked))
        with writer(path, log=False) as file:  # the log is the manifest's, and a merge's
            for molecule in stream:
                file.write(molecule, properties)
                advance(1)
        counts = {"molecules": len(ids), FAILED: file.failed, f"{WITHHELD} {load_rules().version}": len(file.withheld)}
        return Written(counts, withheld=tuple(file.withheld))

    def trial(self, path: Path, first: int) -> int:
        """One block to a file; how many molecules it has."""
        count = self.asked["batch_size"]
        self.write(path, range(first, first + count), lambda count: None)
        return count
