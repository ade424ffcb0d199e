"""Checkpoints of a training: atomic, checked, the last few kept.

A checkpoint is a safetensors file (tensors, and the JSON state in its header) and a manifest beside it with the file's
name, size and SHA-256. The manifest is written last: without it, the file does not count. So at every instant, also
in the middle of a save that is killed, the newest manifest belongs to a whole checkpoint.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from scidiff.errors import UserError
from scidiff.files import TEMPORARY, atomic_write, confined, remedy
from scidiff.train.optimizer import flatten_optimizer, restore_optimizer
from scidiff.train.weights import CheckpointError, decode, encode, load_weights, require_finite, save_weights

__all__ = [
    "Checkpoint",
    "CheckpointError",
    "CheckpointStore",
    "CheckpointWarning",
    "flatten_optimizer",
    "load_weights",
    "restore_optimizer",
    "save_weights",
]

MANIFEST = re.compile(r"step-(\d+)\.json")
DATA = re.compile(r"step-\d+-[0-9a-f]{8}\.safetensors")


class CheckpointWarning(UserWarning):
    """A checkpoint that cannot be used; the message says which, why, and what is used in its place."""


@dataclass(frozen=True)
class Checkpoint:
    """What a store holds of one step."""

    step: int
    tensors: dict[str, Tensor]
    state: dict[str, Any]
    path: Path


@dataclass(frozen=True)
class Manifest:
    """What the manifest beside a checkpoint's file says of it."""

    step: int
    file: str
    bytes: int
    sha256: str
    best: bool = False


class CheckpointStore:
    """The checkpoints in ``folder``, written by one process, of which the last ``keep`` are kept, and the best."""

    def __init__(self, folder: str | Path, keep: int = 3) -> None:
        if keep < 1:
            raise CheckpointError(f"keep={keep}: at least one checkpoint must be kept")
        self.folder = Path(folder)
        self.keep = keep

    def save(self, step: int, tensors: Mapping[str, Tensor], state: Mapping[str, Any], *, best: bool = False) -> Path:
        """Write the checkpoint of ``step``; when this returns it is durable, and until then the one before is. ``best``: it is better than
        all before it, and is kept until there is a better one.

        Checkpoints of later steps belong to a course that was left (they were unreadable, or the training began again) and
        are removed. Raises :class:`CheckpointError` when the disk does not take it, or for a tensor that is not finite; the last good one
        stays.
        """
        require_finite(str(self._path(step)), tensors)
        content = encode(tensors, state)
        digest = hashlib.sha256(content).hexdigest()
        path = self.folder / f"step-{step:09d}-{digest[:8]}.safetensors"  # a new name: the file it replaces stays whole until then
        manifest = Manifest(step, path.name, len(content), digest, best)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            atomic_write(path, content)
            atomic_write(self._path(step), json.dumps(asdict(manifest)).encode())
        except OSError as error:
            kept = max((known for known in self.steps() if known != step), default=None)
            remains = "there is no earlier one" if kept is None else f"the checkpoint of step {kept} is untouched"
            reason = f"{error.filename or self.folder}: {error.strerror}"
            raise CheckpointError(f"{reason}; the checkpoint of step {step} was not saved ({remains}): {remedy(error)}") from error
        self._tidy(step)
        return path

    def latest(self) -> Checkpoint | None:
        """The newest checkpoint that is whole, or ``None`` when there never was one.

        One that is damaged gives a :class:`CheckpointWarning` and the one before it is used; when every one of them is
        damaged, :class:`CheckpointError` (starting again from nothing is for the user to decide).
        """
        steps = self.steps()
        faults: list[str] = []
        for step in reversed(steps):
            try:
                checkpoint = self._read(step)
            except CheckpointError as error:
                faults.append(str(error))
                continue
            for fault in faults:
                warnings.warn(f"{fault}. Using the checkpoint of step {step} instead", CheckpointWarning, stacklevel=2)
            return checkpoint
        if faults:
            listed = "\n  ".join(faults)
            raise CheckpointError(f"{self.folder}: no checkpoint can be used; move the folder away to start anew\n  {listed}")
        return None

    def tidy(self, found: Checkpoint) -> None:
        """Clear away what a save that was killed did not come to: checkpoints too many, files that belong to none. ``found`` is what
        :meth:`latest` gave; where a later one is damaged, all stay as they are."""
        if self.steps()[-1:] == [found.step]:
            self._tidy(found.step)

    def best(self) -> Checkpoint | None:
        """The checkpoint that was last called the best, or ``None``. Raises :class:`CheckpointError` when it is damaged."""
        step = self._best_step()
        return None if step is None else self._read(step)

    def steps(self) -> list[int]:
        """The steps that have a manifest, in order."""
        if not self.folder.is_dir():
            return []
        return sorted(int(found[1]) for found in map(MANIFEST.fullmatch, (path.name for path in self.folder.iterdir())) if found)

    def _best_step(self) -> int | None:
        for step in reversed(self.steps()):
            with contextlib.suppress(CheckpointError):
                if self._manifest(step).best:
                    return step
        return None

    def _path(self, step: int) -> Path:
        return self.folder / f"step-{step:09d}.json"

    def _read(self, step: int) -> Checkpoint:
        manifest = self._manifest(step)
        try:
            path = confined(self.folder, manifest.file)
        except UserError as error:
            raise CheckpointError(str(error)) from error
        try:
            content = path.read_bytes()
        except OSError as error:
            raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from error
        if len(content) != manifest.bytes:
            raise CheckpointError(f"{path}: truncated or overwritten: {len(content)} bytes, not {manifest.bytes}")
        if hashlib.sha256(content).hexdigest() != manifest.sha256:
            raise CheckpointError(f"{path}: altered: its SHA-256 is not the one in {self._path(step).name}")
        tensors, state = decode(str(path), content)
        require_finite(str(path), tensors)
        return Checkpoint(step, tensors, state, path)

    def _manifest(self, step: int) -> Manifest:
        path = self._path(step)
        try:
            manifest = Manifest(**json.loads(path.read_bytes()))
        except (OSError, ValueError, TypeError) as error:
            raise CheckpointError(f"{path}: the manifest is damaged ({error})") from error
        if manifest.step != step or Path(str(manifest.file)).name != manifest.file:
            raise CheckpointError(f"{path}: the manifest is damaged: it names step {manifest.step} and the file {manifest.file!r}")
        return manifest

    def _tidy(self, step: int) -> None:
        """Remove older checkpoints, later ones, and what killed saves left. Manifests go first."""
        kept = [known for known in self.steps() if known <= step][-self.keep :]
        for known in self.steps():
            if known > step:
                self._path(known).unlink()
        kept += [best for best in [self._best_step()] if best is not None]
        for known in self.steps():
            if known not in kept:
                self._path(known).unlink()
        names: set[str] = set()
        for known in kept:
            with contextlib.suppress(CheckpointError):  # damaged: its file cannot be known, and is worth nothing
                names.add(self._manifest(known).file)
        for file in self.folder.iterdir():
            left = DATA.fullmatch(file.name) and file.name not in names
            if left or (file.name.startswith(".step-") and file.suffix == TEMPORARY):
                file.unlink()
