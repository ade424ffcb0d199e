"""``--out`` of a sharded command: a folder of shards, or the file that they become."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from scidiff.errors import UserError

__all__ = ["Target", "target_of"]


@dataclass(frozen=True)
class Target:
    """Where shards go, and the one file that they become in the end (None: they stay shards)."""

    folder: Path
    file: Path | None
    suffix: str


def target_of(out: Path, endings: Sequence[str], format: str | None = None) -> Target:  # noqa: A002 - the option's name
    """``--out FILE``: shards in ``FILE.parts``. ``--out FOLDER``: shards in it, with the first of the endings or that of ``--format``.

    Raises UserError for any other ending, or a format that is not the file's.
    """
    known = [ending.removeprefix(".") for ending in endings]
    if format is not None and format not in known:
        raise UserError(f"--format {format}: known are {', '.join(known)}")
    suffix = out.suffix.lower()
    if suffix in endings:
        if format not in (None, suffix.removeprefix(".")):
            raise UserError(f"--format {format}: --out {out} says otherwise; leave one of them out")
        return Target(out.with_name(f"{out.name}.parts"), out, suffix)
    if out.suffix and not out.is_dir():
        raise UserError(f"--out {out}: the name must end in {' or '.join(endings)}, or be that of a folder, without an ending")
    return Target(out, None, f".{format or known[0]}")
