"""The local record of a run: ``tracking/`` in the run's folder.

``run.json``      who the run is: a local id, its name, experiment, tags and where it is forwarded to
``spool.jsonl``   everything logged, one JSON object a line, with the time (ms since 1970) it was logged at
``sent.json``     per store: the run's id there, and up to which byte of the spool it has been sent
``rejected.jsonl``lines that the store refused for good, each with its reason
``lock``          held while a process writes; the system lets go of it whatever ends the process
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from scidiff.errors import UserError
from scidiff.files import atomic_write, clear_left

__all__ = ["ENDED", "Identity", "Line", "Spool", "claim", "folder_of", "read_identity", "read_lines", "try_lock", "write_identity"]

BLOCK = 1 << 16
LOCAL_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
ENDED = {"FINISHED", "FAILED", "KILLED"}


@dataclass(frozen=True)
class Identity:
    """Who a run is, wherever it is forwarded to; ``local_id`` is what finds it again there."""

    local_id: str
    run_name: str
    experiment: str
    tracking_uri: str
    started: int
    tags: dict[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True)
class Line:
    """One line of the spool, and the byte after it."""

    end: int
    kind: str
    time: int
    content: dict[str, Any]


def folder_of(run_folder: str | Path) -> Path:
    """Where a run's record lies."""
    return Path(run_folder) / "tracking"


def now() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def read_identity(folder: Path) -> Identity | None:
    """The run recorded in ``folder``, or ``None``. Raises :class:`~scidiff.errors.UserError` for a record that is damaged."""
    path = folder / "run.json"
    try:
        identity = Identity(**json.loads(path.read_bytes()))
        if not LOCAL_ID.fullmatch(identity.local_id):  # it becomes a folder's name, and part of a search
            raise ValueError(f"local_id {identity.local_id!r}")
        return identity
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise UserError(f"{path}: damaged ({error}): move {folder} away to begin a new record") from error


def write_identity(folder: Path, identity: Identity) -> None:
    """Record who the run is."""
    atomic_write(folder / "run.json", json.dumps(asdict(identity), indent=1).encode())


def open_identity(folder: Path, run_name: str, experiment: str, tracking_uri: str, tags: Mapping[str, str]) -> tuple[Identity, bool]:
    """The identity of the run in ``folder``, new or continued, and whether it is continued."""
    known = read_identity(folder)
    identity = Identity(uuid.uuid4().hex, run_name, experiment, tracking_uri, now(), dict(tags))
    if known is not None:
        identity = replace(known, tracking_uri=tracking_uri)
    write_identity(folder, identity)
    return identity, known is not None


def read_lines(folder: Path, start: int = 0, containing: bytes = b"") -> Iterator[Line]:
    """The whole lines of the spool from byte ``start`` on (those that hold the bytes ``containing``). A line that is not JSON (a damaged
    disk) is passed over."""
    try:
        stream = (folder / "spool.jsonl").open("rb")
    except FileNotFoundError:
        return
    with stream:
        stream.seek(start)
        end = start
        for raw in stream:
            if not raw.endswith(b"\n"):
                return  # still being written, or cut off by a kill
            end += len(raw)
            if containing not in raw:
                continue
            try:
                content = json.loads(raw)
                yield Line(end, str(content.pop("kind")), int(content.pop("time")), content)
            except (ValueError, KeyError, TypeError, AttributeError):
                continue


def try_lock(folder: Path) -> int | None:
    """Take the lock of a record: a descriptor to close in the end, or ``None`` when another process holds it."""
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError:
        pass  # a file system without locks: better no lock than no record
    return descriptor


def claim(record: Path, resume: bool) -> int:
    """The record's folder, for this process alone; the lock that says so. ``resume=False`` moves a record that is there to ``earlier/``.

    Raises :class:`~scidiff.errors.UserError` when another process holds it.
    """
    record.mkdir(parents=True, exist_ok=True)
    lock = try_lock(record)
    if lock is None:
        raise UserError(f"{record.parent}: another process is writing to this run: wait for it, or choose another folder")
    with contextlib.ExitStack() as undo:
        undo.callback(os.close, lock)
        known = read_identity(record)
        if resume or known is None:
            clear_left(record / "run.json")
            clear_left(record / "sent.json")
            undo.pop_all()
            return lock
        earlier = record.parent / "earlier" / known.local_id
        earlier.mkdir(parents=True)
        record.rename(folder_of(earlier))
    return claim(record, resume)


class Spool:
    """The writer. Each line is with the operating system when :meth:`write` returns, so that a kill of the process loses none.

    Never raises after opening: a disk that is full costs lines, which :attr:`lost` counts, and not the training.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "spool.jsonl"
        self._lock = threading.Lock()
        self._cut_partial_line()
        self._stream = self._path.open("ab", buffering=0)
        self._last = 0
        self.lost = 0

    def write(self, kind: str, **content: Any) -> None:
        """Append one line; times never go back, whatever the clock does."""
        with self._lock:
            self._last = max(self._last, now())
            line = json.dumps({"kind": kind, "time": self._last, **content}, default=str).encode() + b"\n"
            end = self._stream.seek(0, os.SEEK_END)
            try:
                if self._stream.write(line) != len(line):
                    raise OSError("short write")
            except OSError:
                self.lost += 1
                with contextlib.suppress(OSError):
                    self._stream.truncate(end)

    def sync(self) -> None:
        """Make all lines durable, also against a power cut."""
        try:
            os.fsync(self._stream.fileno())
        except (OSError, ValueError):
            return

    def close(self) -> None:
        self.sync()
        self._stream.close()

    def _cut_partial_line(self) -> None:
        """Drop the end of a line that a kill or a power cut left without its newline."""
        if not self._path.exists():
            return
        with self._path.open("r+b") as stream:
            end = stream.seek(0, os.SEEK_END)
            while end > 0:
                start = max(0, end - BLOCK)
                stream.seek(start)
                newline = stream.read(end - start).rfind(b"\n")
                if newline >= 0:
                    stream.truncate(start + newline + 1)
                    return
                end = start
            stream.truncate(0)
