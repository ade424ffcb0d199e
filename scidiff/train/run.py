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
    at hand; ``tags``: more of the run's; ``until``: the step after which the training ends, while its schedules follow the recipe.
    """
    ending: dict[str, Any] = {} if until is None else {"until": until}
    if not is_first():
        task = domain.task(recipe) if task is None else task
        return fit(task, recipe.train, out, NoLog(), device=device, resume=resume, **ending)
    out.mkdir(parents=True, exist_ok=True)
    atomic_write(out / "recipe.yaml", to_yaml(recipe).encode())
    about = {"scidiff.domain": domain.name, **how_computed(device), **(tags or {})}
    with Tracker.start(out.name, out, flatten(recipe), about, tracking_uri, resume=resume) as tracker:
        tracker.log_artifact(out / "recipe.yaml")
        task = domain.task(recipe) if task is None else task
        tracker.log_dataset(task.data())
        weights = fit(task, recipe.train, out, tracker, device=device, resume=resume, **ending)
        log_weights(tracker, weights, domain)
    return weights
