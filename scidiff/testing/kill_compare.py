"""What an interrupted training has in common with one that was not, to the bit; and the places where it has not."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scidiff.files import TEMPORARY
from scidiff.testing.kill_process import Records
from scidiff.train.checkpoint import CheckpointError, CheckpointStore
from scidiff.train.weights import load_weights

__all__ = ["Difference", "Found", "Known", "digests", "newest"]

PARTS = {"weights": "weights", "average": "average", "optimizer": "optimiser"}
CLOCKS = ("elapsed", "seconds")
"""Last words of the names of what no two runs share."""


@dataclass(frozen=True)
class Difference:
    """Something that is not as in the uninterrupted training: which of :data:`~scidiff.testing.kill_report.THINGS`, and where."""

    thing: str
    place: str


@dataclass(frozen=True)
class Found:
    """The newest checkpoint of a training: its step, and the digest of everything in it by name."""

    step: int
    digests: dict[str, str]


def newest(run: Path) -> Found | None:
    """The newest checkpoint in a training's folder. Raises CheckpointError if it, or any other, is damaged: a kill must not do that."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            checkpoint = CheckpointStore(run / "checkpoints").latest()
        except Warning as warning:
            raise CheckpointError(str(warning)) from warning
    return None if checkpoint is None else Found(checkpoint.step, digests(checkpoint.tensors, checkpoint.state))


def digests(tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> dict[str, str]:
    """A digest of every tensor, and every other value as JSON, by name; clocks are left away."""

    def of(tensor: Tensor) -> str:
        content = tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy()
        return f"{tensor.dtype} {list(tensor.shape)} {hashlib.sha256(content.data).hexdigest()}"

    found = {name: of(tensor) for name, tensor in tensors.items()}
    return found | {f"state/{name}": json.dumps(value) for name, value in _leaves(state) if not _is_clock(name)}


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves(inner, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _leaves(inner, f"{name}.{index}")
    else:
        yield name, value


def _is_clock(name: str) -> bool:
    return name.endswith(CLOCKS)


def _thing(name: str) -> str:
    """Which of the things a value of a checkpoint belongs to."""
    if name.startswith("state/"):
        if not name.startswith("state/optimizer."):
            return "losses"  # running sums, what was seen so far
        return "schedule" if name.endswith(".lr") else "optimiser"
    return PARTS.get(name.partition("/")[0], "weights")


class Known:
    """The uninterrupted training, against which the others are held."""

    def __init__(self, run: Path, records: Records, batch_size: int, saves: Mapping[int, dict[str, str]]) -> None:
        self.run, self.batch_size, self._saves = run, batch_size, saves
        self.order, self.events = records.drawn, records.events
        self.steps = len(self.order) // batch_size
        self._metrics = {(step, name): json.dumps(value) for step, values in records.metrics for name, value in values.items()}
        self._files = _files(run)

    def after_process(self, start: int, records: Records, found: Found | None) -> Iterator[Difference]:
        """What is different in the part that one process did, from step ``start`` on, and in the checkpoint that it left."""
        expected = self.order[start * self.batch_size :]
        for place, (mine, theirs) in enumerate(zip(records.drawn, expected, strict=False)):
            if mine != theirs:
                step = start + place // self.batch_size
                yield Difference("data order", f"step {step}, place {place % self.batch_size}: example {mine}, not {theirs}")
                break
        if len(records.drawn) > len(expected):
            yield Difference("data order", f"{len(records.drawn)} examples from step {start} on, not {len(expected)}")
        for step, values in records.metrics:
            for name, value in values.items():
                known = self._metrics.get((step, name))
                if not _is_clock(name) and json.dumps(value) != known:
                    thing = "schedule" if name.endswith("learning_rate") else "losses"
                    yield Difference(thing, f"step {step}: {name} is {json.dumps(value)}, not {known or 'logged at all'}")
        if found is not None and found.step in self._saves:
            yield from _differences(found.digests, self._saves[found.step], f"the checkpoint of step {found.step}")

    def at_end(self, run: Path, logged: set[tuple[int, str]]) -> Iterator[Difference]:
        """What is different in what a training has left behind. ``logged``: the steps and names that any of its processes has logged."""
        missing = sorted(set(self._metrics) - logged)
        if missing:
            yield Difference("losses", f"step {missing[0][0]}: {missing[0][1]} was never logged")
        files = _files(run)
        if files != self._files:
            less, more = self._files - files, files - self._files
            yield Difference("files", f"missing {dict(less)}, left over {dict(more)}")
        for path in sorted(self.run.glob("*.safetensors")):
            if (run / path.name).exists():
                mine, theirs = (digests(*load_weights(folder / path.name)) for folder in (run, self.run))
                yield from _differences(mine, theirs, path.name)


def _differences(mine: Mapping[str, str], theirs: Mapping[str, str], place: str) -> Iterator[Difference]:
    """The first name of each thing whose values differ."""
    told: set[str] = set()
    for name in sorted(mine.keys() | theirs.keys()):
        thing = _thing(name)
        if mine.get(name) != theirs.get(name) and thing not in told:
            told.add(thing)
            yield Difference(thing, f"{place}: {name}")


def _files(run: Path) -> Counter[str]:
    """How many files of which kind lie where; names of checkpoints hold a hash, which clocks change."""
    kinds = Counter[str]()
    for path in run.rglob("*"):
        if path.is_file():
            kind = path.suffix if path.suffix == TEMPORARY or path.parent.name == "checkpoints" else path.name
            kinds[str(path.parent.relative_to(run) / kind)] += 1
    return kinds
