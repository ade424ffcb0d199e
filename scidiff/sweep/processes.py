"""Processes side by side: so many at once, each with its own log, its share of the cores and a GPU of its own."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Work", "cores", "run_all"]

POLL = 0.05
SECONDS_TO_SAVE = 120.0


@dataclass(frozen=True)
class Work:
    """A command, and the file that what it prints is added to."""

    name: str
    command: Sequence[str]
    log: Path


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_all(
    works: Sequence[Work],
    parallel: int,
    gpus: Sequence[str] = (),
    *,
    started: Callable[[Work], None],
    ended: Callable[[Work, int], None],
) -> None:
    """Run all of them, ``parallel`` at once; tell when each starts, and when it ends, with its exit status (that of a signal negative).

    One that fails does not stop the others. Where this process is itself told to stop (Ctrl-C, SIGTERM), they get SIGTERM, the time to save
    what they have, and no successors. Place i of the ``parallel`` ones sees the GPU ``gpus[i % len(gpus)]`` alone.
    """
    waiting = list(works)
    running: dict[int, tuple[Work, subprocess.Popen[bytes]]] = {}
    try:
        while waiting or running:
            for place in [place for place in range(parallel) if place not in running][: len(waiting)]:
                work = waiting.pop(0)
                gpu = {"CUDA_VISIBLE_DEVICES": gpus[place % len(gpus)]} if gpus else {}
                running[place] = work, _start(work, {"OMP_NUM_THREADS": str(max(1, cores() // parallel)), **os.environ, **gpu})
                started(work)
            for place, (work, process) in list(running.items()):
                status = process.poll()
                if status is not None:
                    del running[place]
                    ended(work, status)
            time.sleep(POLL)
    finally:
        _stop([process for _, process in running.values()])


def _start(work: Work, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    work.log.parent.mkdir(parents=True, exist_ok=True)
    with work.log.open("ab") as log:
        # A session of its own: Ctrl-C reaches this process alone, which then asks the others to save and stop.
        return subprocess.Popen(
            list(work.command), env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )


def _stop(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        process.terminate()
    end = time.monotonic() + SECONDS_TO_SAVE
    for process in processes:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(max(0.0, end - time.monotonic()))
        if process.poll() is None:
            process.kill()
            process.wait()
