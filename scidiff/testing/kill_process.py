"""One process of a training, forked, and its end: by itself, by SIGTERM, or by SIGKILL at a planned point."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scidiff.train.loop import NoLog, TrainConfig, fit
from scidiff.train.task import Batch

__all__ = ["Event", "Plan", "Records", "run_process"]


@dataclass(frozen=True)
class Plan:
    """How a process ends; without anything, by itself.

    ``batch`` alone: SIGKILL from outside, ``delay`` seconds after its so-manieth batch was asked for. ``event``: SIGKILL in place of its
    so-manieth fsync or rename, or right ``after`` it. ``term``: SIGTERM as the batch of that number is asked for.
    """

    batch: int | None = None
    delay: float = 0.0
    event: int | None = None
    after: bool = False
    term: bool = False

    @property
    def status(self) -> int:
        """The exit status, negative for a signal."""
        if self.term:
            return 128 + signal.SIGTERM
        return -signal.SIGKILL if self.event is not None or self.batch is not None else 0


@dataclass(frozen=True)
class Event:
    """A part of a save: an ``fsync``, or a ``rename`` to the file named ``target``; ``drawn`` examples were asked for before."""

    call: str
    target: str
    drawn: int


class Records:
    """What a process leaves in its folder, line by line as it happens: numbers logged, numbers of examples, events."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def read(self, name: str) -> list[Any]:
        """The lines of ``metrics``, ``examples`` or ``events``."""
        path = self.folder / f"{name}.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    @property
    def drawn(self) -> list[int]:
        """The numbers of all examples that were asked for, in order."""
        return [number for batch in self.read("examples") for number in batch]

    @property
    def events(self) -> list[Event]:
        return [Event(**event) for event in self.read("events")]

    @property
    def metrics(self) -> list[tuple[int, dict[str, float]]]:
        """What was logged, in order: the step, names and values."""
        return [(step, values) for step, values in self.read("metrics")]


class _Lines:
    """Appends lines of JSON; each is with the system when :meth:`write` returns, in one call that no kill divides."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def write(self, content: Any) -> None:
        os.write(self._descriptor, json.dumps(content).encode() + b"\n")


class _Log(NoLog):
    """Implements :class:`scidiff.train.loop.RunLog`."""

    def __init__(self, lines: _Lines) -> None:
        self._lines = lines

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        self._lines.write([step, {name: float(value) for name, value in metrics.items()}])


class _Watched:
    """A task whose batches are seen before they are made; all else is the task's own."""

    def __init__(self, task: Any, see: Callable[[list[int]], None]) -> None:
        self.__dict__.update(_task=task, _see=see)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_task"], name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.__dict__["_task"], name, value)

    def batch(self, examples: Any) -> Batch:
        self.__dict__["_see"](examples.tolist())
        return self.__dict__["_task"].batch(examples)


def run_process(task: Any, config: TrainConfig, run: Path, records: Records, plan: Plan, seconds: int = 0) -> int:
    """Fork a process that continues the training in ``run``; its exit status, negative for a signal.

    One that is at it after ``seconds`` (if not 0) is ended by SIGALRM. What it writes to standard error comes from here.
    """
    records.folder.mkdir(parents=True)
    reading, writing = os.pipe()
    process = os.fork()
    if process == 0:
        os.close(reading)
        os.set_blocking(writing, False)
        signal.alarm(seconds)
        _be(task, config, run, records, plan, writing)
    os.close(writing)
    if plan.status == -signal.SIGKILL and plan.event is None:
        _wait_for_batches(reading, plan.batch or 0)
        time.sleep(plan.delay)
        os.kill(process, signal.SIGKILL)
    status = os.waitpid(process, 0)[1]
    os.close(reading)
    return os.waitstatus_to_exitcode(status)


def _wait_for_batches(descriptor: int, count: int) -> None:
    """Each batch is a byte; no more come when the process has ended."""
    while count > 0 and (found := len(os.read(descriptor, count))) > 0:
        count -= found


def _be(task: Any, config: TrainConfig, run: Path, records: Records, plan: Plan, descriptor: int) -> None:
    """The forked process. Never returns."""
    status = 1
    try:
        examples, events, seen, drawn = _Lines(records.folder / "examples.jsonl"), _Lines(records.folder / "events.jsonl"), 0, 0

        def see(numbers: list[int]) -> None:
            nonlocal seen, drawn
            seen, drawn = seen + 1, drawn + len(numbers)
            examples.write(numbers)
            with suppress(OSError):  # nobody reads any more
                os.write(descriptor, b".")
            if plan.term and seen == plan.batch:
                os.kill(os.getpid(), signal.SIGTERM)

        _count_events(lambda call, target: events.write({"call": call, "target": target, "drawn": drawn}), plan)
        watched: Any = _Watched(task, see)
        fit(watched, config, run, _Log(_Lines(records.folder / "metrics.jsonl")), device="cpu")
        status = 0
    except SystemExit as stopped:
        status = int(stopped.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def _count_events(note: Callable[[str, str], None], plan: Plan) -> None:
    """See every fsync and rename of this process, and die at the planned one."""
    count = 0

    def seen(call: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def made(*arguments: Any, **options: Any) -> Any:
            nonlocal count
            count += 1
            mine = count == plan.event
            if mine and not plan.after:
                os.kill(os.getpid(), signal.SIGKILL)
            result = real(*arguments, **options)
            note(call, _last_path(arguments))
            if mine:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return made

    for name in ("replace", "rename"):
        setattr(os, name, seen("rename", getattr(os, name)))
    os.fsync = seen("fsync", os.fsync)


def _last_path(arguments: Iterable[Any]) -> str:
    paths = [Path(os.fspath(argument)).name for argument in arguments if isinstance(argument, str | os.PathLike)]
    return paths[-1] if paths else ""
