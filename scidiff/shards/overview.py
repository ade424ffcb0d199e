"""``--plan``: what a sharded command would do, in what time and space. Nothing is written but one block, to a temporary folder."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from scidiff.shards.console import Shards
from scidiff.shards.folder import PLAN
from scidiff.shards.job import finished
from scidiff.shards.plan import Plan, named

__all__ = ["show_plan"]

_ROWS = 12


def show_plan(work: Shards, measure: Callable[[Path], int]) -> None:
    """Print the shards that this process would make, what is finished already, and from ``measure``, which makes some samples into a file
    and says how many, the time and the disk that all of them take. Raises UserError as :meth:`Shards.run` does before it computes."""
    plan, shards, place = work.plan, work.chosen, work.target.folder
    if (place / PLAN).exists():
        work.folder.agree()
    there = set(finished(work.folder, range(plan.shards))) if place.is_dir() else set[int]()
    console = Console(soft_wrap=True, highlight=False)
    console.print(_overview(work, there))
    console.print(_table(plan, shards))
    count, seconds, size = _measured(plan, measure)
    on = ", ".join(f"{key} {value}" for key, value in work.made_on.items())
    console.print(f"measured: {count} {plan.what} in {seconds:.2f} s, {size:,} bytes ({on})")
    todo = sum(len(plan.ids(shard)) for shard in shards if shard not in there)
    each = seconds / count
    console.print(f"time: {_span(each * plan.n)} in one process; {_span(each * todo)} for what is left to this one")
    needed = size / count * plan.n * (1 if work.target.file is None else 2)
    free = float(shutil.disk_usage(place if place.is_dir() else place.parent).free)
    what = "shards" if work.target.file is None else "shards and the file they are merged to"
    console.print(f"disk: {_bytes(needed)} of {what}; {_bytes(free)} are free" + ("" if needed <= free else ": that does not fit"))


def _measured(plan: Plan, measure: Callable[[Path], int]) -> tuple[int, float, int]:
    """(samples, seconds, bytes) of a trial."""
    with tempfile.TemporaryDirectory() as folder, Console(stderr=True).status("measuring"):
        path = Path(folder) / f"trial{plan.suffix}"
        started = time.perf_counter()
        count = measure(path)
        return count, time.perf_counter() - started, path.stat().st_size


def _overview(work: Shards, there: set[int]) -> str:
    plan, share = work.plan, work.share
    said = f"{plan.n:,} {plan.what} ({plan.first} to {plan.first + plan.n - 1}) in {plan.shards:,} shards of whole blocks of {plan.block}"
    said += f"\nin {work.target.folder}" + (f", to be merged to {work.target.file}" if work.target.file else "")
    if share.count > 1:
        said += f"\nprocess {share.index} of {share.count} ({share.why}) makes {len(work.chosen):,} of the shards"
    return said + (f"\nfinished already: shard {named(sorted(there))}" if there else "")


def _table(plan: Plan, shards: range) -> Table:
    table = Table("shard", "ids", plan.what, "file", box=None, padding=(0, 2, 0, 0))
    half = _ROWS // 2
    shown = [list(shards)] if len(shards) <= _ROWS else [list(shards[:half]), list(shards[-half:])]
    for number, part in enumerate(shown):
        if number:
            table.add_row(*["..."] * 4)
        for shard in part:
            ids = plan.ids(shard)
            table.add_row(str(shard), f"{ids.start} to {ids.stop - 1}", f"{len(ids):,}", plan.name(shard))
    return table


def _span(seconds: float) -> str:
    for unit, size in (("days", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"


def _bytes(size: float) -> str:
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size:.0f} bytes"
