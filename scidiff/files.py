"""Writing a file so that a reader, now or after a crash, sees the old content or the new, and nothing between."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

__all__ = ["TEMPORARY", "atomic_write", "sync_folder"]

TEMPORARY = ".tmp"


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
        temporary.unlink(missing_ok=True)
        raise OSError(error.errno, f"cannot write ({error.strerror}); what was there before is untouched", str(path)) from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable (on systems that can open a folder)."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
