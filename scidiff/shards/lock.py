"""A lock that dies with its process: flock on a file, which the system releases however the process ends."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

try:
    import fcntl
except ImportError:  # no Unix
    fcntl = None

__all__ = ["Held", "locked"]

Held = Literal["mine", "another's", "unknown"]


@contextmanager
def locked(path: Path) -> Generator[Held]:
    """Take the lock, without waiting. ``another's``: a running process has it. ``unknown``: this file system has no locks.

    The file is removed in the end; one that a killed process left behind locks nothing.
    """
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        held = _try(descriptor)
        if held != "mine" or _is_still(descriptor, path):
            break
        os.close(descriptor)  # its last owner removed it between our opening and locking it
    try:
        if held == "mine":
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
        yield held
    finally:
        if held != "another's":
            path.unlink(missing_ok=True)
        os.close(descriptor)


def _try(descriptor: int) -> Held:
    if fcntl is None:
        return "unknown"
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return "another's" if error.errno in (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES) else "unknown"
    return "mine"


def _is_still(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
