"""A domain that trains in a second: the toy task as a plug-in, for tests that need processes which really train, by the real command line.

A recipe may slow every batch down (``pause``), and may fail at a step (``fail_at``).
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import typer
from pydantic import Field

from scidiff.config import Config
from scidiff.domain import ModelInfo
from scidiff.train.config import TrainConfig

TESTS = Path(__file__).parents[1]
RECIPE = """\
domain: plane
train: {seed: 3, steps: 12, batch_size: 4, learning_rate: 1e-2, warmup: 2, self_conditioning: 0,
        log_every: 1, save_every: 2, validate_every: 4, preview_every: 1000}
"""


class Recipe(Config):
    """The toy training, with ways to be slow and to fail."""

    domain: Literal["plane"] = "plane"
    pause: float = Field(default=0.0, ge=0, description="seconds a batch")
    fail_at: int | None = None
    train: TrainConfig = Field(default_factory=TrainConfig)


class Plane:
    """Implements scidiff.domain.Domain."""

    name = "plane"
    description = "Points in the plane."

    def commands(self) -> typer.Typer:
        return typer.Typer()

    def recipe(self) -> type[Recipe]:
        return Recipe

    def task(self, recipe: Recipe) -> Any:
        from support.toy import ToyTask

        task = ToyTask()
        real, seen = task.batch, 0

        def batch(examples: Any) -> Any:
            nonlocal seen
            seen += 1
            if seen == recipe.fail_at:
                raise RuntimeError("the plane is full")
            time.sleep(recipe.pause)
            return real(examples)

        task.batch = batch  # type: ignore[method-assign]
        return task

    def demo(self, folder: Path, tracker: Any) -> Sequence[Any]:
        return []

    def models(self) -> list[ModelInfo]:
        return []


DOMAIN = Plane()


def install(site: Path) -> dict[str, str]:
    """Leave in ``site`` what an installer leaves of such a package; the environment in which processes find it."""
    info = site / "plane_domain-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.4\nName: plane-domain\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[scidiff.domains]\nplane = support.plane:DOMAIN\n")
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), str(TESTS)]), "OMP_NUM_THREADS": "1"}


def command(*arguments: str) -> list[str]:
    """``scidiff ARGUMENTS``, as a process."""
    return [sys.executable, "-m", "scidiff", *arguments]
