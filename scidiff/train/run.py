"""The one place where a recipe, the tracker and the fit loop meet."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scidiff.config import flatten, to_yaml
from scidiff.domain import Domain
from scidiff.files import atomic_write
from scidiff.tracking import Tracker
from scidiff.train.card import how_computed, log_weights
from scidiff.train.loop import NoLog, fit
from scidiff.train.ranks import is_first
from scidiff.train.until import fit_until

__all__ = ["run_recipe"]


def run_recipe(
    domain: Domain,
    recipe: Any,
    out: Path,
    *,
    tracking_uri: str | None = None,
    device: str = "auto",
    resume: bool = True,
    task: Any = None,
    tags: Mapping[str, str] | None = None,
    until: int | None = None,
) -> Path:
    """Train what ``recipe`` (of the type ``domain.recipe()``) describes, in ``out``, as a tracked run; the path of the weights.

    Under torchrun or srun every process calls this; the first one writes and logs. ``task``: what ``domain.task(recipe)`` gave, where it is
    at hand; ``tags``: more of the run's; ``until``: the step after which the training ends, while its schedules follow the recipe
    (both in one process).
    """
    if not is_first():
        return fit(domain.task(recipe), recipe.train, out, NoLog(), device=device, resume=resume)
    out.mkdir(parents=True, exist_ok=True)
    atomic_write(out / "recipe.yaml", to_yaml(recipe).encode())
    about = {"scidiff.domain": domain.name, **how_computed(device), **(tags or {})}
    with Tracker.start(out.name, out, flatten(recipe), about, tracking_uri, resume=resume) as tracker:
        tracker.log_artifact(out / "recipe.yaml")
        task = domain.task(recipe) if task is None else task
        tracker.log_dataset(task.data())
        if until is None:
            weights = fit(task, recipe.train, out, tracker, device=device, resume=resume)
        else:
            weights = fit_until(task, recipe.train, out, tracker, until, device=device, resume=resume)
        log_weights(tracker, weights, domain)
    return weights
