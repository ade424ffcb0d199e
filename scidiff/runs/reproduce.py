"""Making a run again from what its record holds, and saying where the repetition differs.

A run is a function of its recipe, its data, the code and the arithmetic: all randomness comes from the recipe's seed. So its recipe.yaml is
read back, the data's hash is compared before anything is trained, the number of threads is set to the run's, and the training is repeated
to the step that the run reached. On the same code, versions and kind of machine the weights and all that was measured are then equal to
the bit; elsewhere the comparison says what differs, where it begins and how much it is.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from scidiff.config import Config, read_config, validate
from scidiff.config.reader import apply_overrides
from scidiff.domain import Domain, read_recipe
from scidiff.errors import UserError
from scidiff.files import atomic_write
from scidiff.runs.bits import Course, compare_bits
from scidiff.runs.conditions import Condition, check_config, check_environment
from scidiff.runs.record import RunRecord
from scidiff.runs.source import read_run
from scidiff.tracking.spool import folder_of, read_identity
from scidiff.train.run import run_recipe
from scidiff.train.weights import load_weights, weights_sha256

__all__ = ["Plan", "Reproduction", "judge", "plan", "pose", "repeat"]

RECIPE = "recipe.yaml"
REPRODUCES = "scidiff.reproduces"
REPORT = "reproduction.json"


@dataclass
class Plan:
    """What will be repeated. ``step``: where the run ended; ``weights``: the SHA-256 of its weights, None where there are none; ``start``:
    that of the weights it started from, None for fresh ones; ``task``: the training problem, once it is posed."""

    record: RunRecord
    domain: Domain
    recipe: Config
    step: int
    threads: int
    device: str
    weights: str | None
    start: str | None
    conditions: list[Condition]
    task: Any = field(default=None, repr=False)


@dataclass(frozen=True)
class Reproduction:
    """What came of it: the courses of all metrics, and the SHA-256 of both weights (None where the run has none)."""

    original: RunRecord
    repeated: RunRecord
    course: Course
    weights: tuple[str | None, str | None]

    @property
    def same_weights(self) -> bool | None:
        """None where the run's are not known."""
        return None if self.weights[0] is None else self.weights[0] == self.weights[1]

    @property
    def equal(self) -> bool:
        return not self.course.parted and self.same_weights is not False


def plan(record: RunRecord, folder: Path, overrides: Sequence[str] = (), device: str | None = None) -> Plan:
    """Read the run's recipe, and say under which conditions it will be repeated. ``folder``: for what is fetched from a store.

    ``overrides``: where the data are now, such as ``data.path=FILE``; other settings would be another run. ``device``: cpu, cuda, auto, or
    None for the kind of device that the run was on. Raises UserError for a run that holds no recipe, and for other overrides.
    """
    wrong = [one for one in overrides if not one.startswith(("data.", "init="))]
    if wrong:
        where = "only where the data and the model to start from lie may be said anew (data.path=FILE, init=MODEL)"
        raise UserError(f"{wrong[0]}: {where}; with other settings it would be another run")
    reason = record.tags.get("scidiff.no_recipe")
    if reason is not None or RECIPE not in record.artifacts.names():
        why = reason or "only runs of `scidiff train` and `scidiff timeseries fit` hold one"
        command = record.tags.get("scidiff.command", "unknown")
        raise UserError(f"the run {record.label} holds no {RECIPE}: {why}. Its command was: {command}")
    document = read_config(record.need(RECIPE, folder))
    domain, logged = read_recipe(document)
    recipe: Any = validate(domain.recipe(), apply_overrides(document, overrides))
    world, recipe = _as_one_process(record, recipe)
    device = device or record.tags.get("scidiff.device", "auto")
    threads, told = _threads(record)
    conditions = [*_history(record), check_config(record, logged), *check_environment(record), told, *world]
    step, weights = _end(record, recipe, folder)
    return Plan(record, domain, recipe, step, threads, device, weights, _start(record, recipe, folder), conditions)


def pose(planned: Plan, force: bool = False) -> list[Condition]:
    """Read the data, build the training problem, and compare the SHA-256 of the data, and of the weights to start from, with the run's.

    Raises UserError when they are others, unless ``force``, and when they cannot be read.
    """
    recipe: Any = planned.recipe
    with _threads_set(planned.threads):
        try:
            planned.task = planned.domain.task(recipe)
        except UserError as error:
            places = ", ".join(f"data.{name}=…" for name in _places(getattr(recipe, "data", None)))
            hint = f". If the data lie elsewhere now, say where: {places}" if places else ""
            raise UserError(f"the data of the run {planned.record.label} cannot be read: {error}{hint}") from error
        now = planned.task.data().digest
    datasets = planned.record.datasets
    then = planned.record.tags.get("data.sha256") or (datasets[0].digest if datasets else None)
    found = [_same_hash(planned, "data", then, now, "data.path=FILE", force)]
    if getattr(recipe, "init", None) is not None:
        start = planned.task.metadata().get("init", {}).get("sha256")
        found.append(_same_hash(planned, "start", planned.start, str(start), "init=MODEL", force))
    planned.conditions += found
    return found


def _same_hash(planned: Plan, what: str, then: str | None, now: str, remedy: str, force: bool) -> Condition:
    if then is None:
        return Condition(what, "unknown", f"the run recorded no hash; SHA-256 {now[:16]}… now")
    if then == now:
        return Condition(what, "same", f"SHA-256 {now[:16]}…")
    if force:
        return Condition(what, "differs", f"SHA-256 {then[:16]}… then, {now[:16]}… now")
    name = {"data": "the data are not those", "start": "the weights to start from are not those"}[what]
    raise UserError(
        f"{name} of the run {planned.record.label}: SHA-256 {then[:16]}… then, {now[:16]}… now; nothing was trained. Bring them back "
        f"({remedy} says where they are), or repeat it all the same with --force"
    )


def repeat(planned: Plan, out: Path, tracking_uri: str | None = None) -> Path:
    """Train again in ``out``, as a run of its own; the path of the weights. An interrupted repetition is continued.

    Raises UserError when ``out`` holds another run.
    """
    identity = read_identity(folder_of(out))
    if identity is not None and read_run(out).tags.get(REPRODUCES) != planned.record.run_id:
        raise UserError(f"{out}: another run is recorded here ({identity.run_name}): choose another folder with --out")
    recipe: Any = planned.recipe
    with _threads_set(planned.threads):
        return run_recipe(
            planned.domain,
            recipe,
            out,
            tracking_uri=tracking_uri,
            device=planned.device,
            task=planned.task,
            tags={REPRODUCES: planned.record.run_id},
            until=_until(planned),
        )


def judge(planned: Plan, out: Path) -> Reproduction:
    """Compare the repetition in ``out`` with the run, value by value; what was found is kept in ``out/reproduction.json``."""
    repeated, original = read_run(out), planned.record
    theirs = repeated.metrics
    if planned.weights is None:  # it did not come to its end: what follows after that has no counterpart
        theirs = {name: [one for one in theirs[name] if one.step <= planned.step] for name in original.metrics if name in theirs}
    course = compare_bits(original.metrics, theirs)
    found = Reproduction(original, repeated, course, (planned.weights, repeated.tags.get("scidiff.weights.sha256")))
    content = {
        "reproduces": original.run_id,
        "equal": found.equal,
        "step": planned.step,
        "weights": list(found.weights),
        "metrics": course.metrics,
        "values": course.values,
        "not_compared": list(course.clocks),
        "differences": [vars(one) for one in course.parted],
        "conditions": [vars(one) for one in planned.conditions],
    }
    atomic_write(out / REPORT, json.dumps(content, indent=1).encode())
    return found


def _until(planned: Plan) -> int | None:
    """The step to stop at, where the recipe alone does not lead there: where a clock or a kill ended the run."""
    train: Any = getattr(planned.recipe, "train")  # noqa: B009 - every recipe has it, which its type does not say
    short = planned.step < train.steps and getattr(train, "patience", None) is None
    by_clock = getattr(train, "max_seconds", None) is not None
    return planned.step if short or by_clock or planned.record.status != "FINISHED" else None


def _end(record: RunRecord, recipe: Any, folder: Path) -> tuple[int, str | None]:
    """The step that the run reached, and the SHA-256 of its weights: as it says, else as the weights that it logged say."""
    step, digest = record.tags.get("scidiff.steps"), record.tags.get("scidiff.weights.sha256")
    if step is not None and digest is not None:
        return int(step), digest
    if record.status != "FINISHED":
        if not record.last_step:
            raise UserError(f"the run {record.label} is {record.status} and logged no value of any metric: there is nothing to repeat")
        return record.last_step, None
    files = [name for name in record.artifacts.names() if name.endswith(".safetensors")]
    path = record.artifacts.fetch("weights.safetensors" if "weights.safetensors" in files else files[0], folder) if files else None
    if path is None:
        return min(record.last_step or recipe.train.steps, recipe.train.steps), None
    tensors, metadata = load_weights(path)
    return int(step or metadata.get("step", recipe.train.steps)), weights_sha256(tensors)


def _start(record: RunRecord, recipe: Any, folder: Path) -> str | None:
    """The SHA-256 of the weights that the run started from, as the weights say that it made."""
    if getattr(recipe, "init", None) is None:
        return None
    path = record.artifacts.fetch("weights.safetensors", folder)
    return None if path is None else load_weights(path)[1].get("init", {}).get("sha256")


def _history(record: RunRecord) -> list[Condition]:
    """What of the run's own history stands in the way."""
    found: list[Condition] = []
    if record.status != "FINISHED":
        found.append(Condition("status", "differs", f"{record.status}: it is repeated to step {record.last_step:,}, the last it logged"))
    changed = {name: text for name, text in record.tags.items() if name.startswith("changed.")}
    if changed:
        listed = ", ".join(f"{name.removeprefix('changed.')} {text}" for name, text in sorted(changed.items()))
        found.append(Condition("history", "differs", f"it was continued with other settings ({listed}); these are used from the start"))
    return found


def _threads(record: RunRecord) -> tuple[int, Condition]:
    said, now = record.tags.get("machine.threads", ""), torch.get_num_threads()
    if not said.isdigit() or int(said) < 1:
        return now, Condition("threads", "unknown", f"not recorded; {now} now")
    return int(said), Condition("threads", "same", said if int(said) == now else f"{said}, set as in the run (this process had {now})")


def _as_one_process(record: RunRecord, recipe: Any) -> tuple[list[Condition], Any]:
    """Several processes added their parts of each batch: one computes it in as many parts, in the same order."""
    said = record.tags.get("scidiff.processes", "1")
    if not said.isdigit() or int(said) <= 1 or not hasattr(recipe.train, "accumulate"):
        return [], recipe
    parts = -(-recipe.train.accumulate // int(said)) * int(said)
    changed = recipe.model_copy(update={"train": recipe.train.model_copy(update={"accumulate": parts})})
    return [Condition("processes", "differs", f"{said} then; one now, which computes each batch in {parts} parts")], changed


def _places(data: Any) -> list[str]:
    """The settings of a section ``data`` that name a place on the disk."""
    fields = type(data).model_fields if isinstance(data, Config) else {}
    return [name for name, one in fields.items() if "Path" in str(one.annotation)]


@contextmanager
def _threads_set(count: int) -> Generator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


