"""Turning a `Source` into a `MoleculeDataset`: parse, check formulas, assign bonds; two processes, one progress bar."""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rdkit import Chem, rdBase
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from scidiff.errors import UserError

from .bonds import Bonds, assign_bonds
from .dataset import MoleculeDataset
from .pool import in_processes, workers_for
from .sources import BLOCK, PROPERTIES, Record, Source

REPORT_EVERY = 512


def collate(records: Iterable[Record], report: Callable[[int], None] = lambda _: None) -> MoleculeDataset:
    """Bonds assigned, formulas compared, everything flat; ``metadata['bonds']`` counts the paths of `assign_bonds`.

    ``metadata['formula_mismatch']`` lists the numbers of molecules whose first SMILES has another formula than their atoms, and
    ``metadata['unassigned']`` those without bonds, with the reason.
    """
    done: list[tuple[Record, Bonds]] = []
    mismatch: list[int] = []
    for record in records:
        done.append((record, assign_bonds(record.z, record.pos, record.smiles)))
        if not same_formula(record):
            mismatch.append(record.index)
        if len(done) % REPORT_EVERY == 0:
            report(len(done))
    report(len(done))
    if not done:
        raise UserError("the source holds no molecules")
    facts: dict[str, Any] = {
        "bonds": dict(Counter(bonds.path for _, bonds in done)),
        "formula_mismatch": mismatch,
        "unassigned": {str(record.index): bonds.path for record, bonds in done if not bonds.assigned},
        "properties": list(PROPERTIES),
        "units": list(PROPERTIES.values()),
        "hydrogens": "explicit",
    }
    return flat_dataset(done, facts)


def flat_dataset(done: list[tuple[Record, Bonds]], facts: dict[str, Any]) -> MoleculeDataset:
    """Molecules with their bonds, end to end."""
    z = torch.from_numpy(np.concatenate([r.z for r, _ in done]))
    fields = {
        "pos": torch.from_numpy(np.concatenate([r.pos for r, _ in done]).astype(np.float32)),
        "z": z,
        "charge": torch.from_numpy(np.concatenate([b.charges for _, b in done])),
        "num_h": torch.zeros_like(z),
        "bond_index": torch.from_numpy(np.concatenate([b.pairs for _, b in done]).T.copy()),
        "bond_order": torch.from_numpy(np.concatenate([b.orders for _, b in done])),
        "y": torch.from_numpy(np.stack([r.y for r, _ in done]).astype(np.float32)),
        "index": torch.tensor([r.index for r, _ in done]),
        "assigned": torch.tensor([b.assigned for _, b in done]),
    }
    return MoleculeDataset(fields, torch.tensor([r.z.size for r, _ in done]), torch.tensor([b.orders.size for _, b in done]), facts)


def same_formula(record: Record) -> bool:
    """Whether the first SMILES (hydrogens counted) has exactly the record's atoms."""
    if not record.smiles:
        return True
    with rdBase.BlockLogs():
        mol = Chem.MolFromSmiles(record.smiles[0])
    if mol is None:
        return False
    counts = Counter(a.GetAtomicNum() for a in mol.GetAtoms())
    counts[1] += sum(a.GetTotalNumHs() for a in mol.GetAtoms())
    return +counts == Counter(record.z.tolist())


def build(source: Source, total: int, *, progress: bool = True, workers: int | None = None) -> MoleculeDataset:
    """Read all of ``source`` in ``workers`` processes (default: the cores, at most 8; see `pool`) and merge them by QM9 number.

    Raises
    ------
    UserError
        what a worker found wrong with the source.
    """
    workers = workers_for(total // BLOCK, workers)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with tempfile.TemporaryDirectory(prefix="scidiff-qm9-") as folder, Progress(*columns, disable=not progress) as bar:
        task = bar.add_task("QM9: bonds", total=total)
        counts = [0] * workers

        def report(shard: int, count: int) -> None:
            counts[shard] = count
            bar.update(task, completed=sum(counts))

        if workers == 1:
            parts = [collate(source.records(), lambda count: report(0, count))]
        else:
            parts = _in_processes(source, Path(folder), workers, report)
    return _merge(parts)


def _in_processes(source: Source, folder: Path, workers: int, report: Callable[[int, int], None]) -> list[MoleculeDataset]:
    paths = [folder / f"{shard}.safetensors" for shard in range(workers)]
    calls = [[source.kind, str(source.path), str(shard), str(workers), str(path)] for shard, path in enumerate(paths)]
    in_processes(f"{__name__}:worker", calls, folder, report)
    return [MoleculeDataset.load(path) for path in paths]


def worker() -> None:
    """Entry of a worker process: kind, path, shard, number of shards, output file; counts go to standard output."""
    kind, path, shard, of, out = sys.argv[1:]
    torch.set_num_threads(1)
    try:
        records: Iterator[Record] = Source(kind, Path(path)).records(int(shard), int(of))
        collate(records, lambda count: print(count, flush=True)).save(out)
    except UserError as error:
        print(f"UserError: {error}", file=sys.stderr)
        raise SystemExit(2) from None


def _merge(parts: list[MoleculeDataset]) -> MoleculeDataset:
    """All parts in the order of the source's numbers, their reports added up."""
    facts = dict(parts[0].metadata)
    paths: Counter[str] = Counter()
    for part in parts:
        paths.update(part.metadata["bonds"])
    facts["bonds"] = dict(sorted(paths.items()))
    facts["formula_mismatch"] = sorted(n for part in parts for n in part.metadata["formula_mismatch"])
    facts["unassigned"] = {key: why for part in parts for key, why in part.metadata["unassigned"].items()}
    whole = MoleculeDataset.concatenate(parts, facts)
    return whole.select(whole.fields["index"].argsort())
