"""What a command with ``--shards`` and ``--shard`` does and says; domains say what a shard is made of."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sized
from dataclasses import dataclass
from pathlib import Path

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from scidiff.errors import UserError
from scidiff.shards.folder import ShardFolder, Written
from scidiff.shards.job import Job, Report, make_shards
from scidiff.shards.merge import merge, remarks
from scidiff.shards.plan import Plan, named
from scidiff.shards.share import Share, share_of
from scidiff.shards.target import Target

__all__ = ["Advance", "Shards"]

Advance = Callable[[int], None]


@dataclass(frozen=True)
class Shards:
    """A sharded command. ``write(path, ids, advance)`` makes the samples of these ids and tells ``advance`` how many more there are.

    ``made_on``: what may change the samples' last bits. ``shard``: this one alone; None: this process's share, or, unless ``shared``, all.
    """

    plan: Plan
    target: Target
    write: Callable[[Path, range, Advance], Written]
    made_on: Mapping[str, str]
    shard: int | None = None
    shared: bool = True

    @property
    def folder(self) -> ShardFolder:
        return ShardFolder(self.target.folder, self.plan, self.made_on)

    @property
    def share(self) -> Share:
        return share_of() if self.shared and self.shard is None else Share()

    @property
    def chosen(self) -> range:
        """The shards that this process is to make. Raises UserError for a number that there is not."""
        if self.shard is None:
            return self.share.of(self.plan.shards)
        if not 0 <= self.shard < self.plan.shards:
            raise UserError(f"--shard {self.shard}: of {self.plan.shards} shards give one from 0 to {self.plan.shards - 1}")
        return range(self.shard, self.shard + 1)

    def run(self) -> Report:
        """Make the shards, with a bar, and say what was made; a process that has made all merges them where a file was asked for.

        Raises UserError for a shard that there is not, a folder of another plan, a disk that takes no more; and for a shard asked for by
        its number that another process is making.
        """
        share, shards, started = self.share, self.chosen, time.perf_counter()
        title = self.plan.what + (f", process {share.index} of {share.count}" if share.count > 1 else "")
        with _bar() as bar:
            task = bar.add_task(title, total=sum(len(self.plan.ids(shard)) for shard in shards))

            def advance(count: int) -> None:
                bar.advance(task, count)

            report = make_shards(Job(self.folder, lambda path, ids: self.write(path, ids, advance), shards), advance)
        if self.shard is not None and report.busy:
            raise UserError(f"shard {self.shard} of {self.target.folder} is being made by another process: wait for it")
        self._say(report, time.perf_counter() - started)
        if self.target.file is not None and report.finished == self.plan.shards:
            self._merge(self.target.file)
        else:
            self._lead_on(report)
        return report

    def _say(self, report: Report, seconds: float) -> None:
        made = sum(len(self.plan.ids(shard)) for shard in report.made)
        rate = f" ({made / seconds:.1f} a second)" if made else ""
        skipped = f"; {_counted(report.skipped)} there already" if report.skipped else ""
        typer.echo(f"{made:,} {self.plan.what} in {_counted(report.made)} made in {seconds:.1f} s{rate}{skipped}")
        for remark in remarks(report.counts, self.plan.what):
            typer.echo(remark)

    def _lead_on(self, report: Report) -> None:
        busy = f"; other processes are making shard {named(report.busy)}" if report.busy else ""
        out = self.target.file or f"all{self.plan.suffix}"
        typer.echo(f"shards are in {self.target.folder}{busy}; one file of all: scidiff merge {self.target.folder} --out {out}")

    def _merge(self, file: Path) -> None:
        with _bar(transient=True) as bar:
            task = bar.add_task("checking and merging", total=self.plan.shards)
            merged = merge(self.folder, file, lambda size: bar.advance(task))
        for note in merged.notes:
            typer.echo(f"note: {note}", err=True)
        shutil.rmtree(self.target.folder)
        typer.echo(f"{self.plan.n:,} {self.plan.what}, {merged.size:,} bytes, written to {file}")


def _counted(shards: Sized) -> str:
    return "1 shard" if len(shards) == 1 else f"{len(shards):,} shards"


def _bar(*, transient: bool = False) -> Progress:
    left = (TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), *left)
    return Progress(*columns, console=Console(stderr=True), transient=transient)
