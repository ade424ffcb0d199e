"""Worker processes: the same answers whatever their number; one that dies or hangs costs its molecule and nothing else."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from rdkit import Chem

from scidiff.errors import UserError
from scidiff_molecules.data import load_sample
from scidiff_molecules.metrics import Evaluation, Plan, crew, evaluate
from scidiff_molecules.metrics.adapter import molecules
from scidiff_molecules.metrics.cells import QED
from scidiff_molecules.metrics.collect import collect, progress_bar
from scidiff_molecules.metrics.crew import Chunk, Crew, Lost
from scidiff_molecules.metrics.intervals import of_values
from scidiff_molecules.metrics.payload import pack, structure_in
from scidiff_molecules.sdf import ReadFailure, SdfWriter, structure_of

FAULTY = """
import os, signal, time
from scidiff_molecules.metrics import worker
def faulty(payloads, options):
    for payload in payloads:
        if "fault=segfault" in payload.get("sdf", ""): os.kill(os.getpid(), signal.SIGSEGV)
        if "fault=exit" in payload.get("sdf", ""): os._exit(3)
        if "fault=hang" in payload.get("sdf", ""): time.sleep(1000)
        if "fault=raise" in payload.get("sdf", ""): raise RuntimeError("Pre-condition Violation")
    print("what a library prints is no answer", flush=True)
    return worker.judge_payloads(payloads, options)
worker.TASKS = {**worker.TASKS, "judge": faulty}
worker.main()
"""
PLAN = Plan(poses=0, energies=0, fcd=0, neighbours=0, patience=60)


@pytest.fixture(scope="module")
def sample() -> list[Chem.Mol]:
    return list(molecules(load_sample("test").select(range(80))))


@pytest.fixture(scope="module")
def sdf(sample: list[Chem.Mol], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("crew") / "m.sdf"
    with SdfWriter(path) as out:
        for mol in sample:
            out.write(mol, properties={"scidiff_seed": 3})
    return path


def plan(**changes: Any) -> Plan:
    return Plan(**{**{name: getattr(PLAN, name) for name in Plan.__dataclass_fields__}, **changes})


def test_any_number_of_processes_gives_the_same_figures_to_the_bit(sdf: Path) -> None:
    found = [evaluate(sdf, None, plan=plan(workers=workers)) for workers in (0, 1, 2)]
    assert found[0] == found[1] == found[2]
    assert found[0].provenance == {"seed": "3"}
    assert len(found[0].histograms) > 20


def test_memory_and_a_file_give_the_same_figures(sdf: Path) -> None:
    """What stands in the file, read beforehand."""
    stored = list(Chem.SDMolSupplier(str(sdf), sanitize=False, removeHs=False))
    result, again = evaluate(sdf, None, plan=plan(workers=2)), evaluate(stored, None, plan=plan(workers=0), name=str(sdf))
    assert result == again


def test_a_payload_holds_a_molecule_to_the_bit(sample: list[Chem.Mol]) -> None:
    for mol in sample[:50]:
        structure, back = structure_of(mol), structure_in(json.loads(json.dumps(pack(mol))))
        assert back is not None
        assert back.positions is not None
        assert structure.positions is not None
        assert structure.positions.tobytes() == back.positions.tobytes()
        assert (structure.numbers.tolist(), structure.charges.tolist(), structure.bonds) == (
            back.numbers.tolist(), back.charges.tolist(), back.bonds,
        )  # fmt: skip
    assert pack(ReadFailure(0, "lost", None, 7)) == {"nothing": "lost", "atoms": 7}


@pytest.mark.parametrize(("fault", "said"), [
    ("segfault", "the judge died on it (SIGSEGV)"),
    ("exit", "the judge died on it (exit code 3)"),
    ("raise", "the judge failed on it: RuntimeError: Pre-condition Violation"),
    ("hang", "the judge took more than 8 s on it"),
])  # fmt: skip
def test_a_fault_costs_its_molecule_alone(fault: str, said: str, sdf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records = sdf.read_text().split("$$$$\n")[:12]
    records[7] += f"> <fault>\nfault={fault}\n\n"
    (tmp_path / "m.sdf").write_text("$$$$\n".join([*records, ""]))
    monkeypatch.setattr(crew, "PROGRAM", FAULTY)
    result = evaluate(tmp_path / "m.sdf", None, plan=plan(workers=1, patience=8 if fault == "hang" else 60))
    assert [(f.index, f.reason) for f in result.failures] == [(7, said)]
    for key in ("A/molecule_stability", "B/validity", "readable"):
        assert result[key].denominator == len(records)
    assert result["readable"].numerator == len(records) - 1
    assert [shown.why for shown in result.worst] == [said]


def test_a_worker_that_is_killed_from_outside_costs_nothing_that_can_be_done_again(sdf: Path) -> None:
    """SIGKILL of a process at work: its chunk is judged again, molecule by molecule."""
    path = sdf.with_name("long.sdf")
    path.write_text(sdf.read_text() * 30)
    quick = {"distributions": False, "workers": 1}
    expected = evaluate(path, None, plan=plan(**quick))
    before = {child.pid for child in psutil.Process().children()}
    killed = threading.Event()

    def kill() -> None:
        while not killed.is_set():
            at_work = [c for c in psutil.Process().children() if c.pid not in before]
            busy = [c for c in at_work if c.is_running() and sum(c.cpu_times()[:2]) > 1.5]
            if busy:
                os.kill(busy[0].pid, signal.SIGKILL)
                killed.set()
            time.sleep(0.05)

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    result = evaluate(path, None, plan=plan(**quick))
    assert killed.is_set()
    assert result == expected


def test_interrupting_leaves_no_process_behind(sample: list[Chem.Mol]) -> None:
    def endless() -> Iterator[Chunk]:
        while True:
            yield Chunk([pack(mol) for mol in sample[:50]], {"first": 0, "details": False})

    before = {child.pid for child in psutil.Process().children()}
    with Crew(2, 60) as workers:
        stream = workers.run("judge", endless())
        next(stream)
        assert {child.pid for child in psutil.Process().children()} - before
        stream.close()  # what an exception in the caller's loop does
    assert {child.pid for child in psutil.Process().children()} - before == set()


def test_a_program_that_cannot_start_is_one_error_and_not_a_failure_of_every_molecule(sdf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew, "PROGRAM", "raise SystemExit('no room for it')")
    with pytest.raises(UserError, match=r"did not start \(no room for it\); try workers=0"):
        evaluate(sdf, None, plan=plan(workers=2))


def test_here_too_an_exception_costs_its_molecule_alone() -> None:
    """In this process, where a task raises on one of three."""
    good = pack(Chem.MolFromSmiles("C"))
    with Crew(0, 1) as workers:
        ((_, answers),) = workers.run("judge", [Chunk([good, {"sdf": None}, good], {"first": 5, "details": False})])
    assert [isinstance(answer, Lost) for answer in answers] == [False, True, False]
    assert [answer["v"][0] for answer in answers if not isinstance(answer, Lost)] == [5, 7]


def test_a_worker_ends_with_its_parent() -> None:
    program = subprocess.Popen(
        [sys.executable, "-c", crew.PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )  # fmt: skip
    assert program.stdout is not None
    assert program.stdin is not None
    assert program.stdout.readline() == '"ready"\n'
    program.stdin.close()
    assert program.wait(timeout=30) == 0
    program.stdout.close()


def test_a_worker_holds_no_network() -> None:
    """One for each core is started, and again for each molecule that kills it: torch takes five times the memory, ten times as long."""
    code = "import sys, scidiff_molecules.metrics.worker\nprint([name for name in ('torch', 'torch_geometric') if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_the_resamples_agree_with_the_usual_bootstrap(sdf: Path) -> None:
    """QED's mean: Poisson's resamples against two thousand drawn molecules."""
    with progress_bar(False) as bar:
        tally = collect(sdf, plan(workers=0), bar)
    result: Evaluation = evaluate(sdf, None, plan=plan(workers=0))
    assert tally.histograms is not None
    counts = tally.histograms.of(QED)[0]
    values = np.repeat(QED.centres()[counts.bins], counts.counts[:, 0])
    usual, metric = of_values(values, np.mean), result["D/qed"]
    assert usual is not None
    assert metric.low is not None
    assert metric.high is not None
    width = usual.high - usual.low
    assert (metric.low, metric.high) == pytest.approx((usual.low, usual.high), abs=0.3 * width)
