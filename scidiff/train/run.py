"""The one place where a recipe, the tracker and the fit loop meet."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scidiff.config import flatten, to_yaml
from scidiff.domain import Domain
from scidiff.files import atomic_write, clear_left
from scidiff.tracking import Tracker
from scidiff.train.card import how_computed, log_weights
from scidiff.train.loop import NoLog, fit
from scidiff.train.place import is_first

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
    at hand; ``tags``: more of the run's; ``until``: the step that it ends at, whatever the clock says, while its schedules
    follow the recipe.
    """
    train = recipe.train if until is None else recipe.train.model_copy(update={"max_seconds": None})
    if not is_first():
        return fit(domain.task(recipe) if task is None else task, train, out, NoLog(), device=device, resume=resume, until=until)
    out.mkdir(parents=True, exist_ok=True)
    clear_left(out / "recipe.yaml")
    atomic_write(out / "recipe.yaml", to_yaml(recipe).encode())
    about = {"scidiff.domain": domain.name, **how_computed(device), **(tags or {})}
    with Tracker.start(out.name, out, flatten(recipe), about, tracking_uri, resume=resume) as tracker:
        tracker.log_artifact(out / "recipe.yaml")
        task = domain.task(recipe) if task is None else task
        tracker.log_dataset(task.data())
        weights = fit(task, train, out, tracker, device=device, resume=resume, until=until)
        log_weights(tracker, weights, domain)
    return weights
