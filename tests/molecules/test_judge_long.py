"""A hundred thousand molecules: bounded memory, nothing lost."""

from __future__ import annotations

import resource
import threading
import time
from pathlib import Path

import psutil
import pytest

from scidiff_molecules.data import load_sample
from scidiff_molecules.metrics import Plan, evaluate
from scidiff_molecules.metrics.adapter import molecules
from scidiff_molecules.sdf import SdfWriter

MOLECULES = 100_000
PARENT, WORKER = 600, 400  # megabytes: what a run of a thousand molecules takes, and a hundred bytes a molecule


@pytest.mark.long
@pytest.mark.slow
def test_a_hundred_thousand_molecules_stream_in_bounded_memory(tmp_path: Path) -> None:
    path = tmp_path / "m.sdf"
    with SdfWriter(path) as out:
        for mol in molecules(load_sample("test")):
            out.write(mol)
    once = path.read_bytes()
    with path.open("wb") as file:
        for _ in range(MOLECULES // 500):
            file.write(once)
    largest, done = 0, threading.Event()

    def watch() -> None:
        nonlocal largest
        while not done.is_set():
            for child in psutil.Process().children(recursive=True):
                try:
                    largest = max(largest, child.memory_info().rss)
                except psutil.NoSuchProcess:
                    continue
            time.sleep(0.2)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    started = time.perf_counter()
    result = evaluate(path, None, plan=Plan(poses=0, energies=0, fcd=0, neighbours=0), progress=True)
    done.set()
    thread.join()
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    cpu = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(
        f"{(time.perf_counter() - started) / 60:.1f} min, workers' CPU {(cpu.ru_utime + cpu.ru_stime) / 60:.1f} min; "
        f"parent {before / 2**20:.0f} -> {after / 2**20:.0f} MB, largest worker {largest / 2**20:.0f} MB"
    )
    assert result.samples == MOLECULES
    assert (result["A/molecule_stability"].numerator or 0) % 200 == 0  # two hundred times the same five hundred
    assert result["B/uniqueness"].numerator == 500
    assert after < PARENT * 2**20
    assert largest < WORKER * 2**20
