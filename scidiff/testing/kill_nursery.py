"""The process that imports everything once, and forks, kills and compares trainings: ``python -m scidiff.testing.kill_nursery``, started
by :func:`scidiff.testing.kills.check_resume`. It reads a job, JSON, and writes lines of JSON: ``{"kill": kind}`` after each, at last
``{"report": ...}``, or ``{"error": message}``.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from scidiff.domain import load_domain
from scidiff.errors import UserError
from scidiff.testing.kill_compare import Difference, Found, Known, digests, newest
from scidiff.testing.kill_plan import CYCLE, KILLS_A_TRAINING, Planned, Planner
from scidiff.testing.kill_process import Plan, Records, run_process
from scidiff.testing.kill_report import THINGS, KillReport
from scidiff.train.checkpoint import CheckpointError, CheckpointStore
from scidiff.train.loop import TrainConfig

MAX_TOLD = 20


@dataclass
class Training:
    """One training that is killed: its folder; of every kill the process it ended, its plan, and whether a checkpoint was there then; what
    was found different, and after which process; whether it came to its end."""

    folder: Path
    processes: int = 0
    kills: list[tuple[int, Planned, bool]] = field(default_factory=list[tuple[int, Planned, bool]])
    terms: int = 0
    differences: list[tuple[int, Difference]] = field(default_factory=list[tuple[int, Difference]])
    logged: set[tuple[int, str]] = field(default_factory=set[tuple[int, str]])
    found: Found | None = None
    ended: bool = False

    @property
    def run(self) -> Path:
        return self.folder / "run"

    @property
    def start(self) -> int:
        """The step that the next process begins with."""
        return 0 if self.found is None else self.found.step

    def equals(self, kill: int, thing: str) -> bool:
        """Was this thing the same in all that came after the process ``kill``?"""
        return not any(difference.thing == thing and process > kill for process, difference in self.differences)

    @property
    def stands(self) -> bool:
        """Can it be continued?"""
        return not any(difference.thing == "files" for _, difference in self.differences)


class Nursery:
    """Runs a job: see the module."""

    def __init__(self, task: Any, config: TrainConfig, folder: Path) -> None:
        self.task, self.config, self.folder = task, config, folder
        self.limit = 0

    def uninterrupted(self, seed: int) -> tuple[Known, Planner]:
        """Train in one go, noting digests of every save."""
        folder, saves = self.folder / "uninterrupted", self.folder / "saves.jsonl"
        run, records = folder / "run", Records(folder / "0")
        patched: Any = CheckpointStore
        real, started = patched.save, time.monotonic()

        def save(store: CheckpointStore, step: int, tensors: Any, state: Any, **options: Any) -> Path:
            path = real(store, step, tensors, state, **options)
            with saves.open("a") as file:
                file.write(json.dumps([step, digests(tensors, json.loads(json.dumps(state)))]) + "\n")
            return path

        patched.save = save
        try:
            status = run_process(self.task, self.config, run, records, Plan())
        finally:
            patched.save = real
        if status != 0:
            raise RuntimeError(f"the uninterrupted training ended with status {status}")
        seconds = time.monotonic() - started
        self.limit = 60 + int(20 * seconds)
        known = Known(run, records, self.config.batch_size, dict(json.loads(line) for line in saves.read_text().splitlines()))
        calls = max(1, len(records.read("examples")) // known.steps)
        return known, Planner(seed, known.events, self.config.batch_size, calls, known.steps, seconds / known.steps)

    def train(self, number: int, kinds: list[str], known: Known, planner: Planner) -> Training:
        """Begin a training, kill it once for each kind, with a SIGTERM in between, and continue it to its end."""
        training = Training(self.folder / f"{number:03d}")
        for place, kind in enumerate(kinds):
            if not training.stands or training.start >= known.steps:
                break
            if place == len(kinds) // 2:
                plan = planner.term(training.start, len(kinds) - place + 1)
                training.terms += plan is not None and self._process(training, plan, known)
            planned = planner.kill(kind, training.start, len(kinds) - place)
            if self._process(training, planned.plan, known):
                training.kills.append((training.processes - 1, planned, training.start > 0))
                tell({"kill": planned.kind})
        if training.stands:
            training.ended = self._process(training, Plan(), known) and training.stands
            if training.ended:
                last = training.processes
                training.differences += [(last, difference) for difference in known.at_end(training.run, training.logged)]
        if not training.differences:
            shutil.rmtree(training.folder)
        return training

    def _process(self, training: Training, plan: Plan, known: Known) -> bool:
        """Continue the training by one process; whether it ended as planned (a process may be through before it is killed)."""
        number, start = training.processes, training.start
        records = Records(training.folder / str(number))
        status = run_process(self.task, self.config, training.run, records, plan, self.limit)
        training.processes += 1
        training.logged |= {(step, name) for step, values in records.metrics for name in values}
        differences: list[Difference] = []
        try:
            training.found = newest(training.run)
        except CheckpointError as error:
            differences.append(Difference("files", f"after the process, a checkpoint is damaged: {error}"))
        reached = start + len(records.drawn) // self.config.batch_size
        if status not in (plan.status, 0) or (plan.term and status == 0):
            why = f"{self.folder / 'stderr.txt'} says why"
            differences.append(Difference("files", f"the process ended with status {status}, not {plan.status}; {why}"))
        elif status >= 0 and training.start != reached:
            differences.append(Difference("files", f"the process ended after step {reached} and has saved step {training.start}"))
        elif training.start < start:
            differences.append(Difference("files", f"the checkpoint of step {start} is gone, the newest is of step {training.start}"))
        differences += known.after_process(start, records, training.found)
        first = {difference.thing: difference for difference in reversed(differences)}  # what follows from it is not worth telling
        training.differences += [(number, first[thing]) for thing in THINGS if thing in first]
        return status == plan.status


def report(name: str, steps: int, trainings: list[Training], seconds: float) -> KillReport:
    """All trainings together."""
    kills = [(training, *kill) for training in trainings for kill in training.kills]
    told = [f"{one.folder.name}, process {number}: {d.thing}: {d.place}" for one in trainings for number, d in one.differences]
    return KillReport(
        name=name,
        steps=steps,
        trainings=len(trainings),
        kills=dict(Counter(planned.kind for _, _, planned, _ in kills)),
        fsyncs=dict(Counter(planned.fsync for _, _, planned, _ in kills if planned.fsync is not None)),
        continued=sum(training.ended for training, *_ in kills),
        from_checkpoint=sum(training.ended and saved for training, _, _, saved in kills),
        terminated=sum(training.terms for training in trainings),
        equal={thing: sum(training.equals(process, thing) for training, process, *_ in kills) for thing in THINGS},
        seconds=seconds,
        differences=tuple(told[:MAX_TOLD] + ([f"and {len(told) - MAX_TOLD} more"] if len(told) > MAX_TOLD else [])),
    )


def work(job: dict[str, Any]) -> KillReport:
    """Do what is asked for; the report."""
    started = time.monotonic()
    task, config = problem(job["task"], job["recipe"])
    if config.max_seconds is not None:
        raise UserError("train.max_seconds: no two trainings stop at the same step then; leave it away")
    nursery, kills = Nursery(task, config, Path(job["folder"])), job["kills"]
    known, planner = nursery.uninterrupted(job["seed"])
    trainings: list[Training] = []
    done, vain = 0, 0
    while done < kills and vain < 5:
        kinds = [CYCLE[(done + place) % len(CYCLE)] for place in range(min(KILLS_A_TRAINING, kills - done))]
        trainings.append(nursery.train(len(trainings), kinds, known, planner))
        count = len(trainings[-1].kills)
        done, vain = done + count, vain + 1 if count == 0 else 0
    if done < kills and not any(training.differences for training in trainings):
        raise UserError(f"train.steps = {config.steps}: these trainings end before they can be killed; take more steps")
    return report(job["name"], known.steps, trainings, time.monotonic() - started)


def problem(task: str, recipe: dict[str, Any]) -> tuple[Any, TrainConfig]:
    """The training problem of a domain's recipe, or what ``module:function`` makes of the recipe; and how to train."""
    module, colon, name = task.partition(":")
    if not colon:
        domain = load_domain(task)
        checked: Any = domain.recipe().model_validate(recipe)
        return domain.task(checked), checked.train
    return getattr(import_module(module), name)(recipe), TrainConfig.model_validate(recipe["train"])


_out = sys.stdout


def tell(content: dict[str, Any]) -> None:
    """A line to the process that started this one."""
    _out.write(json.dumps(content) + "\n")
    _out.flush()


def main() -> None:
    global _out
    _out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a task prints is no message
    torch.set_num_threads(1)
    try:
        tell({"report": asdict(work(json.load(sys.stdin)))})
    except UserError as error:
        tell({"error": str(error)})


if __name__ == "__main__":
    main()
