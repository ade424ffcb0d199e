"""Simulated paths in shards: what they depend on, and how some of them are written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from scidiff.files import file_sha256
from scidiff.shards import Advance, Plan, Shards, Target, Written, use_own_gpu
from scidiff.shards.origin import command_of, made_on
from scidiff_timeseries.forecaster import Forecaster
from scidiff_timeseries.generate import BLOCK
from scidiff_timeseries.output import write_paths
from scidiff_timeseries.registry import find_model

__all__ = ["PathShards", "sharded"]


def sharded(
    target: Target,
    n: int,
    model: str,
    device: str,
    asked: Mapping[str, Any],
    shards: int,
    shard: int | None,
    options: Mapping[str, object],
) -> tuple[Shards, Callable[[Path], int]]:
    """The work of ``scidiff timeseries simulate`` with these ``options``, and a trial of one block of it.

    ``asked``: arguments of :meth:`Forecaster.simulate`. Raises UserError for what it refuses of one shard, and for more shards than blocks.
    """
    use_own_gpu()
    weights = find_model(model)  # once: an alias may move
    made = PathShards(Forecaster.load(weights, device=device), weights, model, dict(asked))
    plan = Plan.of(
        what="paths", n=n, block=BLOCK, shards=shards, suffix=target.suffix, about=made.about(),
        command=command_of(("scidiff", "timeseries", "simulate"), {**options, "--shards": shards}),
    )  # fmt: skip
    made.forecaster.check_simulation(max(len(plan.ids(0)), len(plan.ids(shards - 1))), n, asked["length"], asked["id"], asked["seed"])
    where = next(made.forecaster.denoiser.parameters()).device
    return Shards(plan, target, made.write, made_on(where, np, pd), shard), made.trial


@dataclass(frozen=True)
class PathShards:
    """Writes paths of any numbers. ``weights``: the file of the model that was asked for as ``model``."""

    forecaster: Forecaster
    weights: Path
    model: str
    asked: dict[str, Any]

    def about(self) -> dict[str, Any]:
        """Everything that the paths, and the bytes that say so, depend on."""
        calls = self.asked["calls"] or self.forecaster.recipe.sampler.calls
        sampler = self.forecaster.recipe.sampler.model_copy(update={"calls": calls}).model_dump(mode="json")
        model = {"model": self.model, "model_sha256": file_sha256(self.weights)}
        return {**model, **{name: value for name, value in self.asked.items() if name != "calls"}, "sampler": sampler}

    def write(self, path: Path, ids: range, advance: Advance) -> Written:
        """The paths of these numbers to a file, which appears whole or not at all."""
        paths = self.forecaster.simulate(len(ids), first=ids.start, **self.asked)
        header, sections = write_paths(paths, path)
        advance(len(ids))
        return Written({"paths": len(ids)}, header, sections)

    def trial(self, path: Path) -> int:
        """One block to a file; how many paths it has."""
        self.write(path, range(BLOCK), lambda count: None)
        return BLOCK
