"""Processes side by side: how many at once, what a failure does, and what becomes of them when they are told to stop."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.stores import until

from scidiff.sweep.processes import Work, cores, run_all
from scidiff.sweep.runner import _gpus  # pyright: ignore[reportPrivateUsage]


def works(folder: Path, *scripts: str) -> list[Work]:
    return [Work(f"w{k}", ["bash", "-c", script], folder / f"w{k}" / "log") for k, script in enumerate(scripts)]


def run(folder: Path, parallel: int, *scripts: str, gpus: tuple[str, ...] = ()) -> tuple[dict[str, int], int]:
    """Exit statuses, and the most that ran at once."""
    statuses: dict[str, int] = {}
    running: set[str] = set()
    most = 0

    def started(work: Work) -> None:
        nonlocal most
        running.add(work.name)
        most = max(most, len(running))

    def ended(work: Work, status: int) -> None:
        running.remove(work.name)
        statuses[work.name] = status

    run_all(works(folder, *scripts), parallel, gpus, started=started, ended=ended)
    return statuses, most


def test_so_many_at_once_and_a_failure_stops_no_other(tmp_path: Path) -> None:
    scripts = ["exit 3", "echo fine", "kill -9 $$", *["sleep 0.1"] * 4]
    statuses, most = run(tmp_path, 3, *scripts)
    assert statuses == {"w0": 3, "w1": 0, "w2": -9, "w3": 0, "w4": 0, "w5": 0, "w6": 0}
    assert most == 3
    assert (tmp_path / "w1/log").read_text() == "fine\n"
    assert run(tmp_path, 3, "echo again >&2") == ({"w0": 0}, 1)
    assert (tmp_path / "w0/log").read_text() == "again\n"


def test_logs_are_added_to(tmp_path: Path) -> None:
    for text in ("first", "second"):
        run(tmp_path, 1, f"echo {text}")
    assert (tmp_path / "w0/log").read_text() == "first\nsecond\n"


def test_cores_and_gpus_are_shared_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    show = 'echo "$CUDA_VISIBLE_DEVICES $OMP_NUM_THREADS"; sleep 0.3'
    run(tmp_path, 2, show, show, gpus=("4", "7"))
    each = max(1, cores() // 2)
    assert {(tmp_path / name / "log").read_text() for name in ("w0", "w1")} == {f"4 {each}\n", f"7 {each}\n"}
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "all")
    run(tmp_path / "set", 2, show)
    assert (tmp_path / "set/w0/log").read_text() == "all 3\n"


def test_gpus_are_handed_out_where_there_are_several(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 3)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert (_gpus("auto"), _gpus("cpu")) == (["0", "1", "2"], [])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5,6")
    assert _gpus("cuda") == ["2", "5", "6"]
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    assert _gpus("cuda") == []


PARENT = """
import sys
from pathlib import Path
from scidiff.signals import sigterm_exits
from scidiff.sweep.processes import Work, run_all
script = "trap 'echo saved; exit 143' TERM; echo ready; while :; do sleep 0.05; done"
with sigterm_exits():
    run_all([Work(n, ["bash", "-c", script], Path(sys.argv[1]) / n) for n in "abc"], 2, started=lambda w: None, ended=lambda w, s: None)
"""


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, -signal.SIGINT)])
def test_told_to_stop_they_save_and_have_no_successors(tmp_path: Path, number: signal.Signals, status: int) -> None:
    process = subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path)], stderr=subprocess.DEVNULL)
    until(lambda: all((tmp_path / n).exists() and "ready" in (tmp_path / n).read_text() for n in "ab"), 60)
    process.send_signal(number)
    assert process.wait(60) == status
    assert [(tmp_path / n).read_text() for n in "ab"] == ["ready\nsaved\n"] * 2
    assert not (tmp_path / "c").exists()


def test_a_sweep_that_is_killed_leaves_its_processes_at_work(tmp_path: Path) -> None:
    """What they do is not lost; the next sweep waits for them."""
    code = PARENT.replace("while :; do sleep 0.05; done", "sleep 1; echo done")
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)])
    until(lambda: (tmp_path / "a").exists() and "ready" in (tmp_path / "a").read_text(), 60)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    until(lambda: (tmp_path / "a").read_text() == "ready\ndone\n", 60)
    time.sleep(0.1)
    assert not (tmp_path / "c").exists()


HOLD = """
import sys
from pathlib import Path
from scidiff.sweep.trial import _alone
print("asks", flush=True)
with _alone(Path(sys.argv[1])):
    print("alone", flush=True)
    sys.stdin.readline()
"""


def test_one_process_a_run_and_a_killed_one_lets_go(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path / "run-000")]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as first:
        assert [first.stdout.readline() for _ in range(2)] == ["asks\n", "alone\n"]
        with subprocess.Popen(command, **pipes) as second:
            assert second.stdout.readline() == "asks\n"
            assert second.stdout.readline() == f"{tmp_path / 'run-000'}: another process is at this run; waiting for it to end\n"
            first.kill()
            assert second.stdout.readline() == "alone\n"
            second.kill()
