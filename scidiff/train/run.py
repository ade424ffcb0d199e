"""The one place where a recipe, the tracker and the fit loop meet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from scidiff.config import flatten, to_yaml
from scidiff.domain import Domain
from scidiff.files import atomic_write
from scidiff.tracking import Tracker
from scidiff.train.loop import fit

__all__ = ["run_recipe"]


def run_recipe(
    domain: Domain, recipe: Any, out: Path, *, tracking_uri: str | None = None, device: str = "auto", resume: bool = True
) -> Path:
    """Train what ``recipe`` (of the type ``domain.recipe()``) describes, in ``out``, as a tracked run; the path of the weights."""
    out.mkdir(parents=True, exist_ok=True)
    atomic_write(out / "recipe.yaml", to_yaml(recipe).encode())
    with Tracker.start(out.name, out, flatten(recipe), {"scidiff.domain": domain.name}, tracking_uri, resume=resume) as tracker:
        tracker.log_artifact(out / "recipe.yaml")
        weights = fit(domain.task(recipe), recipe.train, out, tracker, device=device, resume=resume)
        tracker.log_artifact(weights)
    return weights
