"""Commands whose processes are killed on their way: ``python killing.py JOB``, JSON of ``load`` (modules to import once) and
``runs``.

Each run is a forked process: ``argv`` of the command ``scidiff``, or ``fake`` (a folder and a plan of shards, of lines of text), with
``set``, values of modules to change first, and ``out``, a file for what it says. It ends by itself, or by SIGKILL: in place of its
``event``-th fsync or rename, or ``delay`` seconds after it began. A list in place of a run: all of them at once. Exit statuses (negative
for signals) and numbers of events are printed as JSON.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any


def fake_line(number: int) -> str:
    return f"{number} {hashlib.sha256(str(number).encode()).hexdigest()[: 4 + number % 9]}\n"


def write_fake(path: Path, ids: range) -> Any:
    """A shard of lines, as a domain writes one."""
    from scidiff.shards import Written

    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    with part.open("w") as file:
        for number in ids:
            file.write(fake_line(number))
            file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)
    return Written({"lines": len(ids), "are odd": sum(number % 2 for number in ids)})


def make_fake(folder: Path, plan: dict[str, Any]) -> None:
    from scidiff.shards import Job, Plan, ShardFolder, make_shards

    made = ShardFolder(folder, Plan(**plan))
    make_shards(Job(made, write_fake, range(made.plan.shards)))


def _count_events(run: dict[str, Any], events: Path) -> None:
    count = 0

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal count
            count += 1
            if count == run.get("event"):
                os.kill(os.getpid(), signal.SIGKILL)
            with events.open("a") as file:
                file.write(".")
            return function(*arguments, **options)

        return call

    os.fsync, os.replace = counted(os.fsync), counted(os.replace)


def _run(run: dict[str, Any]) -> None:
    for name, value in run.get("set", {}).items():
        module, _, attribute = name.rpartition(".")
        setattr(import_module(module), attribute, value)
    if "fake" in run:
        make_fake(Path(run["fake"]), run["plan"])
        return
    from scidiff.cli import app

    app(run["argv"], prog_name="scidiff")


def _start(run: dict[str, Any]) -> int:
    events = Path(run["events"])
    events.write_text("")
    process = os.fork()
    if process == 0:
        status = 1
        try:
            os.dup2(os.open(run.get("out", os.devnull), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644), 1)
            os.environ.update(run.get("env", {}))
            _count_events(run, events)
            _run(run)
            status = 0
        except SystemExit as stopped:
            status = int(stopped.code or 0)
        finally:
            sys.stdout.flush()
            os._exit(status)
    return process


def _end(run: dict[str, Any], process: int) -> tuple[int, int]:
    if "delay" in run:
        time.sleep(run["delay"])
        os.kill(process, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), len(Path(run["events"]).read_text())


def _attempt(runs: dict[str, Any] | list[dict[str, Any]]) -> list[tuple[int, int]]:
    runs = runs if isinstance(runs, list) else [runs]
    processes = [_start(run) for run in runs]
    return [_end(run, process) for run, process in zip(runs, processes, strict=True)]


def main() -> None:
    job = json.loads(sys.argv[1])
    for name in job["load"]:
        import_module(name)
        if name == "torch":
            sys.modules["torch"].set_num_threads(1)
    print(json.dumps([ended for run in job["runs"] for ended in _attempt(run)]))


def killed(load: list[str], runs: list[Any], timeout: float = 200) -> list[tuple[int, int]]:
    """Run a job in a process of its own: exit statuses and numbers of events."""
    job = json.dumps({"load": load, "runs": runs})
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, __file__, job], capture_output=True, text=True, timeout=timeout, env=environment)
    assert done.returncode == 0, done.stderr
    return [(status, events) for status, events in json.loads(done.stdout)]


if __name__ == "__main__":
    main()
