"""One file of all shards, byte for byte the one that a single process writes; in bounded memory."""

from __future__ import annotations

import glob
import os
import secrets
from collections import Counter, defaultdict
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from scidiff.errors import UserError
from scidiff.files import TEMPORARY, WITHHELD_LOG, sync_folder, withheld_log
from scidiff.shards.folder import Done, ShardFolder
from scidiff.shards.lock import locked
from scidiff.shards.plan import named

__all__ = ["Merged", "merge", "remarks"]

_CHUNK = 2**20


@dataclass(frozen=True)
class Merged:
    """What is in the file: counts over all shards, its size in bytes, and what should be known of how the shards were made."""

    counts: dict[str, int]
    size: int
    notes: tuple[str, ...]


def merge(folder: ShardFolder, out: Path, checked: Callable[[int], None] = lambda size: None) -> Merged:
    """Write all shards to ``out``, which appears whole or not at all. ``checked`` is told the size of each shard whose SHA-256 is right.

    Raises UserError where shards are missing or not what they were (with the command that makes them), where ``out`` has another ending, or
    cannot be written.
    """
    if out.suffix.lower() != folder.plan.suffix:
        raise UserError(f"--out {out}: the shards are {folder.plan.suffix} files; the name must end so")
    if out.is_dir():
        raise UserError(f"--out {out}: is a folder; a file name is needed")
    if not out.parent.is_dir():
        raise UserError(f"--out {out}: the folder {out.parent} does not exist; make it first")
    done = _all_done(folder, checked)
    try:
        with _replacing(out) as temporary, withheld_log(out) as lines:
            lines += [line for one in done for line in one.withheld]
            if folder.plan.suffix == ".parquet":
                from scidiff.shards.rows import merge_rows  # pyarrow

                merge_rows([folder.part(one.shard) for one in done], [one.sections for one in done], temporary)
            else:
                _merge_bytes(folder, done, temporary)
            size = temporary.stat().st_size
    except OSError as error:
        raise UserError(f"--out {out}: cannot be written ({error.strerror or error}); the shards stay as they are") from error
    counts: Counter[str] = Counter()
    for one in done:
        counts.update(one.counts)
    return Merged(dict(counts), size, (*_notes(done), *_log(done, out)))


def remarks(counts: Mapping[str, int], what: str) -> list[str]:
    """A sentence for each count but that of the samples themselves: ``3 of 50 molecules do not sanitise; they are in it, marked so``."""
    total = counts.get(what, 0)
    return [f"{count:,} of {total:,} {what} {name}; they are in it, marked so" for name, count in counts.items() if name != what and count]


def _all_done(folder: ShardFolder, checked: Callable[[int], None]) -> list[Done]:
    done: list[Done] = []
    wrong: dict[str, list[int]] = defaultdict(list)
    for shard in range(folder.plan.shards):
        found = folder.look(shard)
        if isinstance(found, str):
            wrong[found].append(shard)
        else:
            done.append(found)
            checked(found.size)
    if wrong:
        said = "; ".join(f"shard {named(shards)}: {reason}" for reason, shards in wrong.items())
        lacking = sorted(shard for shards in wrong.values() for shard in shards)
        remedy = folder.plan.remedy(lacking)
        raise UserError(f"{folder.path}: {said}. Make what is missing (what is finished is skipped): {remedy}")
    return done


def _merge_bytes(folder: ShardFolder, done: Sequence[Done], out: Path) -> None:
    starts = [one.header for one in done]
    if len({(one.header, len(one.sections)) for one in done}) > 1:
        raise UserError(f"{folder.path}: its shards do not have the same header and sections; make them again in another folder")
    with out.open("xb") as file:
        _copy(folder.part(0), 0, done[0].header, file)
        for section in range(len(done[0].sections)):
            for place, one in enumerate(done):
                _copy(folder.part(one.shard), starts[place], one.sections[section], file)
                starts[place] += one.sections[section]


def _copy(path: Path, start: int, length: int, file: BinaryIO) -> None:
    with path.open("rb") as source:
        source.seek(start)
        while length:
            chunk = source.read(min(_CHUNK, length))
            if not chunk:
                raise UserError(f"{path}: is shorter than its manifest says; make it again")
            file.write(chunk)
            length -= len(chunk)


def _notes(done: Sequence[Done]) -> Iterator[str]:
    """Shards that were made under different circumstances: the same samples to rounding only."""
    for key in sorted({key for one in done for key in one.made_on}):
        where: dict[str, list[int]] = defaultdict(list)
        for one in done:
            where[one.made_on.get(key, "unknown")].append(one.shard)
        if len(where) > 1:
            said = "; ".join(f"{value}: shard {named(shards)}" for value, shards in where.items())
            yield f"shards were made with different {key} ({said}): a single process would have made the same to rounding, not to the bit"


def _log(done: Sequence[Done], out: Path) -> Iterator[str]:
    if count := sum(len(one.withheld) for one in done):
        yield f"what is withheld ({count:,}) is listed in {out}{WITHHELD_LOG}"


@contextmanager
def _replacing(path: Path) -> Generator[Path]:
    """A name beside ``path`` to write to, which then takes its place. What a killed process left of such, perhaps gigabytes, is removed."""
    with locked(path.with_name(f".{path.name}.lock")) as held:
        if held == "another's":
            raise UserError(f"--out {path}: another process is merging to it: wait for it")
        if held == "mine":
            for stale in path.parent.glob(f".{glob.escape(path.name)}.*{TEMPORARY}"):
                stale.unlink(missing_ok=True)
        with _renamed(path.with_name(f".{path.name}.{secrets.token_hex(4)}{TEMPORARY}"), path) as temporary:
            yield temporary


@contextmanager
def _renamed(temporary: Path, path: Path) -> Generator[Path]:
    try:
        yield temporary
        with temporary.open("rb+") as stream:
            os.fsync(stream.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)
