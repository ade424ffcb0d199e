"""Files that a run logs, kept as they were at that time, in its record."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
from pathlib import Path
from typing import Any

from scidiff.files import atomic_write

__all__ = ["copied", "environment_file", "kept"]


def copied(path: Path, record: Path) -> Path:
    """A copy of a file or a folder in the record."""
    place = record / "artifacts" / secrets.token_hex(4)
    place.mkdir(parents=True)
    target = place / path.name
    return Path(shutil.copytree(path, target) if path.is_dir() else shutil.copy2(path, target))


def kept(path: Path, record: Path, digest: str) -> Path:
    """The file's content of now, in the record, whatever the name comes to hold: a second name of it where the file system has those (our
    own files are replaced and never written into), otherwise a copy."""
    target = record / "checkpoints" / digest[:16] / path.name
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(OSError):
        os.link(path, target)
        return target
    partial = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        shutil.copy2(path, partial)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    return target


def environment_file(record: Path, facts: dict[str, Any]) -> Path | None:
    """Write ``environment.json``, or ``environment-2.json`` and so on where a continued run differs; None where it does not."""
    content = json.dumps(facts, indent=1).encode()
    known = sorted(record.glob("environment*.json"), key=lambda path: (len(path.name), path.name))
    if known and known[-1].read_bytes() == content:
        return None
    path = record / (f"environment-{len(known) + 1}.json" if known else "environment.json")
    atomic_write(path, content)
    return path
