"""Worker processes that are plain interpreters given strings: nothing is pickled, and a script that starts them needs no
``if __name__ == "__main__"``. Each prints how many records it has done, a number a line; that moves the one progress bar."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from scidiff.errors import UserError
from scidiff.sweep.processes import cores

MAX_WORKERS = 8


def workers_for(blocks: int, asked: int | None = None) -> int:
    """How many processes share ``blocks`` pieces of work: ``asked``, by default the cores; at most 8, and none without work."""
    return max(1, min(MAX_WORKERS, asked or cores(), blocks))


def in_processes(entry: str, calls: Sequence[Sequence[str]], folder: Path, report: Callable[[int, int], None]) -> None:
    """Call ``entry`` ("module:function", which reads its arguments from ``sys.argv``) in one interpreter for each of ``calls``.

    ``report`` gets (number of the call, records it has done); logs lie in ``folder``. Returns when all have ended well.

    Raises
    ------
    UserError
        what a worker found wrong, or the last line it wrote.
    """
    path = os.pathsep.join(p or os.getcwd() for p in sys.path)
    env = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    logs = [folder / f"{number}.log" for number in range(len(calls))]  # a file, as a full pipe would stop its worker
    running = [_start(entry, call, log, env) for call, log in zip(calls, logs, strict=True)]

    def follow(number: int, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            if re.fullmatch(r"\d+\s*", line):
                report(number, int(line))
        if process.wait():
            for other in running:  # the others' work is lost anyway
                other.kill()

    threads = [threading.Thread(target=follow, args=job, daemon=True) for job in enumerate(running)]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        for process in running:  # an interrupted parent leaves no children behind
            process.kill()
            process.communicate()
    if any(process.returncode for process in running):
        said = [line for log in logs for line in log.read_text(errors="replace").splitlines()]
        mine = [line.removeprefix("UserError: ") for line in said if line.startswith("UserError: ")]
        raise UserError((mine or said[-1:] or [f"a worker ended with code {[p.returncode for p in running]}"])[0])


def _start(entry: str, arguments: Sequence[str], log: Path, env: Mapping[str, str]) -> subprocess.Popen[str]:
    module, function = entry.split(":")
    call = [sys.executable, "-c", f"from {module} import {function}; {function}()", *arguments]
    with log.open("w") as errors:
        return subprocess.Popen(call, stdout=subprocess.PIPE, stderr=errors, text=True, env=env)
