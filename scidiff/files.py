"""Writing a file so that a reader, now or after a crash, sees the old content or the new, and nothing between."""

from __future__ import annotations

import contextlib
import errno
import glob
import hashlib
import os
import secrets
from collections.abc import Generator
from pathlib import Path

from scidiff.errors import UserError

__all__ = [
    "STORAGE",
    "TEMPORARY",
    "WITHHELD_LOG",
    "atomic_write",
    "clear_left",
    "confined",
    "discard",
    "file_sha256",
    "is_confined",
    "naming",
    "remedy",
    "sync_folder",
    "withheld_log",
]

TEMPORARY = ".tmp"
WITHHELD_LOG = ".withheld.jsonl"
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
LOCKED = {errno.EROFS, errno.EACCES, errno.EPERM}
STORAGE = FULL | LOCKED
"""What a disk or a folder may say that its user can mend."""


def atomic_write(path: str | Path, content: bytes) -> None:
    """Write ``content`` to ``path``: temporary file beside it, fsync, rename, fsync of the folder.

    Raises ``OSError`` naming the path (a full disk, a folder without write permission); what ``path`` held stays as it was
    and no temporary file is left. After a SIGKILL a file ending in ``.tmp`` may be left; ``path`` itself is always whole.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}{TEMPORARY}")
    try:
        with temporary.open("xb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError as error:
        discard(temporary)
        raise OSError(error.errno, f"cannot write ({error.strerror}); what was there before is untouched", str(path)) from error
    except BaseException:
        discard(temporary)
        raise
    sync_folder(path.parent)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal; in bounded memory."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable (on systems that can open a folder)."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def discard(path: Path) -> None:
    """Remove a file that is not to stay; where the disk refuses even that, it stays."""
    with contextlib.suppress(OSError):
        path.unlink()


@contextlib.contextmanager
def naming(path: str | Path) -> Generator[None]:
    """Inside, what a full disk or a locked folder says (:data:`STORAGE`) names ``path``: the system tells the file of a failed write to
    nobody, and otherwise that of a temporary one."""
    try:
        yield
    except OSError as error:
        if error.errno not in STORAGE:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


@contextlib.contextmanager
def withheld_log(path: str | Path) -> Generator[list[str]]:
    """A list for lines of JSON, one a sample that is withheld from ``path``. Where the block ends well they become the file
    ``path.withheld.jsonl``; without any, that of an earlier ``path`` is removed. Enter it after what writes ``path``, so that this never
    appears before its log."""
    lines: list[str] = []
    yield lines
    log = Path(path).with_name(f"{Path(path).name}{WITHHELD_LOG}")
    if lines:
        atomic_write(log, "".join(f"{line}\n" for line in lines).encode())
    else:
        log.unlink(missing_ok=True)


def clear_left(path: str | Path) -> None:
    """Remove the temporary files that killed writes of ``path`` have left; for a path that one process writes at a time."""
    path = Path(path)
    for left in path.parent.glob(f".{glob.escape(path.name)}.*{TEMPORARY}"):
        left.unlink(missing_ok=True)


def remedy(error: OSError) -> str:
    """What to do about a file that cannot be written."""
    if error.errno in FULL:
        return "free some space, or choose another folder"
    if error.errno in LOCKED:
        return "allow writing there, or choose another folder"
    return "check the disk, or choose another folder"


def is_confined(folder: str | Path, path: Path) -> bool:
    """Does ``path`` lie in the folder, by its name and once links are resolved; of a folder, all files in it?"""
    try:
        return path.is_relative_to(folder) and bool(confined(folder, path.relative_to(folder)))
    except UserError:
        return False


def confined(folder: str | Path, name: str | Path) -> Path:
    """``folder / name``, a name that was read from a file and may be anything.

    Raises :class:`~scidiff.errors.UserError` if it leads out of the folder once links and ``..`` are resolved; of a folder, if any file in
    it does.
    """
    base, path = Path(folder).resolve(), Path(folder) / name
    for inside in (path, *(path.rglob("*") if path.is_dir() else ())):
        place = inside.resolve()
        if place != base and not place.is_relative_to(base):
            raise UserError(f"{inside}: leads to {place}, out of {base}: refused")
    return path
