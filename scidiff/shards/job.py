"""Making shards one after the other: finished ones are skipped, those of other processes left alone."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from scidiff.errors import UserError
from scidiff.shards.folder import Done, ShardFolder, Write

__all__ = ["Job", "Report", "make_shards"]


@dataclass(frozen=True)
class Job:
    """Which shards of a folder are to be made, and by what."""

    folder: ShardFolder
    write: Write
    shards: range

    @property
    def samples(self) -> int:
        return sum(len(self.folder.plan.ids(shard)) for shard in self.shards)


@dataclass
class Report:
    """Which shards were made now, which were there already, which other processes are making; and the counts of the former two."""

    made: list[int] = field(default_factory=list[int])
    skipped: list[int] = field(default_factory=list[int])
    busy: list[int] = field(default_factory=list[int])
    counts: Counter[str] = field(default_factory=Counter[str])

    @property
    def finished(self) -> int:
        return len(self.made) + len(self.skipped)


def make_shards(job: Job, skipped: Callable[[int], None] = lambda samples: None) -> Report:
    """All shards of the job. ``skipped`` is told how many samples a shard has that was there already.

    Raises UserError for a folder of another plan, or where a file cannot be written: what is finished stays.
    """
    folder, report = job.folder, Report()
    folder.prepare()
    for shard in job.shards:
        found = folder.look(shard)
        if isinstance(found, str) and not found.startswith("not"):
            warnings.warn(f"{folder.part(shard)}: {found}; the shard is made again", stacklevel=2)
        done, before = found if isinstance(found, Done) else _make(folder, shard, job.write), isinstance(found, Done)
        if done is None:
            report.busy.append(shard)
            continue
        (report.skipped if before else report.made).append(shard)
        if before:
            folder.tidy(shard)
            skipped(len(folder.plan.ids(shard)))
        report.counts.update(done.counts)
    return report


def _make(folder: ShardFolder, shard: int, write: Write) -> Done | None:
    try:
        return folder.make(shard, write)
    except OSError as error:
        reason = f"shard {shard} cannot be written ({error.strerror or error})"
        raise UserError(f"{folder.path}: {reason}; the finished ones stay: free some space and call again") from error


def finished(folder: ShardFolder, shards: Iterable[int]) -> list[int]:
    """Those of these shards that are finished and whole."""
    return [shard for shard in shards if isinstance(folder.look(shard), Done)]
