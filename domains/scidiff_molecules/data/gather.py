"""Many records turned into one dataset: over all cores, in bounded memory, and the same whatever the number of processes.

Record number k belongs to block k // 32, and blocks are dealt to the workers in turn. Each writes what it can use as files of 4,096
molecules and counts what it cannot; the parent puts the files together in the records' order and drops molecules that are there already.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from scidiff.errors import UserError

from .build import flat_dataset
from .dataset import MoleculeDataset
from .pool import in_processes, workers_for
from .records import LeftOut, Taken, Tally

BLOCK = 32
PART = 4096
SAME = 0.01
"""Angstrom: two molecules of one graph are the same where their sorted distances between heavy atoms all agree to this."""
_TOLD_EVERY = 0.25  # seconds


@runtime_checkable
class Job(Protocol):
    """Work that can be told to another process."""

    @property
    def title(self) -> str: ...

    @property
    def entry(self) -> str:
        """The "module:function" that makes the job anew from `arguments` and calls `work`."""
        ...

    def arguments(self) -> str: ...

    def items(self, shard: int, of: int) -> Iterator[Taken | LeftOut]:
        """What becomes of the records of every ``of``-th block, from block ``shard`` on."""
        ...


def gather(job: Job, total: int, *, workers: int | None = None, progress: bool = True) -> tuple[MoleculeDataset, list[str], Tally]:
    """(molecules in the order of their numbers, duplicates dropped; their keys; what was left out) of ``total`` records.

    ``metadata`` holds ``left_out``, ``left_out_records`` and ``embedded``, how many molecules have RDKit's coordinates.

    Raises
    ------
    UserError
        if no molecule is usable, with the first reasons; what a worker found wrong with the source.
    """
    workers = workers_for(-(-total // BLOCK), workers)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with tempfile.TemporaryDirectory(prefix="scidiff-data-") as name, Progress(*columns, disable=not progress) as bar:
        folder, task, counts = Path(name), bar.add_task(job.title, total=total), [0] * workers

        def report(shard: int, count: int) -> None:
            counts[shard] = count
            bar.update(task, completed=sum(counts))

        if workers == 1:
            _write(job.items(0, 1), folder, 0, lambda count: report(0, count))
        else:
            in_processes(job.entry, [[job.arguments(), str(k), str(workers), name] for k in range(workers)], folder, report)
        return _read(folder, job.title)


def work(make: Callable[[str], Job]) -> None:
    """What an ``entry`` does in its process."""
    arguments, shard, of, folder = sys.argv[1:]
    torch.set_num_threads(1)
    try:
        _write(make(arguments).items(int(shard), int(of)), Path(folder), int(shard), lambda count: print(count, flush=True))
    except UserError as error:
        print(f"UserError: {error}", file=sys.stderr)
        raise SystemExit(2) from None


def _write(items: Iterator[Taken | LeftOut], folder: Path, shard: int, report: Callable[[int], None]) -> None:
    tally, taken, parts, told = Tally(), list[Taken](), 0, time.monotonic()
    count = 0
    for count, item in enumerate(items, start=1):
        if isinstance(item, LeftOut):
            tally.add(item)
        else:
            taken.append(item)
        if len(taken) == PART:
            _part(taken).save(folder / f"{shard}-{parts}.safetensors")
            taken, parts = [], parts + 1
        if time.monotonic() - told > _TOLD_EVERY:
            told = time.monotonic()
            report(count)
    if taken:
        _part(taken).save(folder / f"{shard}-{parts}.safetensors")
    report(count)
    (folder / f"{shard}.json").write_text(json.dumps({"reasons": tally.reasons, "records": tally.records}))


def _part(taken: list[Taken]) -> MoleculeDataset:
    facts = {"keys": [one.key for one in taken], "embedded": [one.embedded for one in taken]}
    return flat_dataset([(one.record, one.bonds) for one in taken], facts)


def _read(folder: Path, title: str) -> tuple[MoleculeDataset, list[str], Tally]:
    tally = Tally()
    for path in sorted(folder.glob("*.json")):
        said = json.loads(path.read_text())
        tally.merge(Tally(Counter(said["reasons"]), [(index, reason) for index, reason in said["records"]]))
    parts = [MoleculeDataset.load(path) for path in sorted(folder.glob("*.safetensors"))]
    if not parts:
        told = "; ".join(f"record {index}: {reason}" for index, reason in tally.records[:5])
        raise UserError(f"{title}: no molecule can be trained on ({told or 'there is no record'})")
    keys = [key for part in parts for key in part.metadata["keys"]]
    embedded = torch.tensor([flag for part in parts for flag in part.metadata["embedded"]])
    whole = MoleculeDataset.concatenate(parts)
    order = whole.fields["index"].argsort()
    twice = _repeats(whole, order, keys)
    again = Tally()
    for row in order[twice[order]].tolist():
        again.add(LeftOut(int(whole.fields["index"][row]), "a duplicate: an earlier record has the same graph and geometry"))
    tally.merge(again)
    rows = order[~twice[order]]
    facts: dict[str, Any] = tally.facts() | {"embedded": int(embedded[rows].sum()), "molecules": rows.numel(), "hydrogens": "explicit"}
    kept = whole.select(rows)
    kept.metadata = facts
    return kept, [keys[row] for row in rows.tolist()], tally


def _repeats(dataset: MoleculeDataset, order: torch.Tensor, keys: list[str]) -> torch.Tensor:
    """bool [M]: the same graph, stereochemistry included, and geometry (to `SAME`) as a molecule of a lower number."""
    groups: defaultdict[str, list[int]] = defaultdict(list)
    for row in order.tolist():
        groups[keys[row]].append(row)
    twice = torch.zeros(len(keys), dtype=torch.bool)
    for rows in groups.values():
        marks = [_distances(dataset, row) for row in rows] if len(rows) > 1 else []
        means = np.array([mark.mean() if mark.size else 0.0 for mark in marks])
        by_mean = means.argsort(kind="stable")  # only those of nearly equal mean distance need to be compared
        for at, one in enumerate(by_mean):
            for other in by_mean[at + 1 :]:
                if means[other] - means[one] > SAME:
                    break
                if np.abs(marks[one] - marks[other]).max(initial=0.0) <= SAME:
                    twice[rows[max(one, other)]] = True
    return twice


def _distances(dataset: MoleculeDataset, row: int) -> NDArray[np.float64]:
    at = slice(int(dataset.node_ptr[row]), int(dataset.node_ptr[row + 1]))
    heavy = dataset.fields["pos"][at][dataset.fields["z"][at] > 1].double().numpy()
    i, j = np.triu_indices(len(heavy), 1)
    return np.sort(np.sqrt(((heavy[i] - heavy[j]) ** 2).sum(-1)))
