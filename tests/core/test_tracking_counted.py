"""Every fault of a store, of the tracker and of the run, counted: what was logged, what the record has, what was sent again, what arrived.

pytest -m long -s tests/core/test_tracking_counted.py
"""

from __future__ import annotations

import shutil
import signal
import sqlite3
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from support.stores import Server, Way, client, history, spooled, until, way_to

from scidiff.errors import UserError
from scidiff.tracking import Tracker, forward, sync
from scidiff.tracking.forward import read_sent
from scidiff.tracking.spool import folder_of

STEPS, NAMES, SECONDS = 300, ("loss", "rate", "norm"), 9.0
BEGIN, END = 0.3, 0.7


@dataclass
class Scene:
    """A run that logs for nine seconds, a server, a way to it, and the fault that lies in the middle of the run."""

    folder: Path
    server: Server
    way: Way
    begin: Callable[[], Any]
    end: Callable[[], Any]
    began: bool = False
    ended: bool = False
    before: int = -1
    calls: list[float] = field(default_factory=list)

    def log(self, run: Tracker) -> None:
        start = time.monotonic()
        for step in range(STEPS):
            self.proceed((time.monotonic() - start) / SECONDS)
            asked = time.perf_counter()
            run.log_metrics({name: (step + number) / 7 for number, name in enumerate(NAMES)}, step)
            self.calls.append(time.perf_counter() - asked)
            time.sleep(max(start + SECONDS * (step + 1) / STEPS - time.monotonic(), 0))

    def proceed(self, share: float) -> None:
        """Begin and end the fault when its time has come."""
        if not self.began and share >= BEGIN:
            self.began = True
            self.begin()
        if not self.ended and share >= END:
            self.finish()

    def finish(self) -> None:
        self.ended, self.before = True, self.rows()
        self.end()

    def rows(self) -> int:
        """Metric values in the server's database, of the runs of this scene, whatever the server does."""
        query = "select count(*) from metrics join tags using (run_uuid) where tags.key = 'scidiff.scene' and tags.value = ?"
        with sqlite3.connect(f"file:{self.server.folder / 'server.db'}?mode=ro", uri=True) as database:
            return int(database.execute(f"{query} and metrics.key not like 'system/%'", (self.folder.name,)).fetchone()[0])


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr(forward, "INTERVAL", 0.25)
    monkeypatch.setattr(forward, "MAX_PAUSE", 1.0)


@pytest.fixture
def server(tmp_path: Path, template: Path) -> Iterator[Server]:
    shutil.copy(template, tmp_path / "server.db")
    server = Server(tmp_path)
    server.start()
    yield server
    server.kill()


def nothing() -> None:
    return


def in_background(work: Callable[[], Any]) -> Callable[[], None]:
    return lambda: threading.Thread(target=work, daemon=True).start()


def start_again(folder: Path, uri: str) -> None:
    """The next start in this folder, whatever it finds to send."""
    with Tracker.start("faults", folder, tracking_uri=uri):
        pass


CHILD = f"""
import sys, time
from scidiff.tracking import Tracker
folder, uri = sys.argv[1:]
with Tracker.start("faults", folder, tags={{"scidiff.scene": "process-killed"}}, tracking_uri=uri) as run:
    for step in range({STEPS}):
        run.log_metrics({{name: (step + number) / 7 for number, name in enumerate({NAMES})}}, step)
        print(step, flush=True)
        time.sleep({SECONDS / STEPS})
"""


def run_and_kill(scene: Scene, uri: str) -> int:
    """The run in a process of its own, that gets SIGKILL in the middle; how many values it had logged."""
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(scene.folder), uri], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    logged = [next(child.stdout) for _ in range(int(0.8 * STEPS))]
    child.send_signal(signal.SIGKILL)
    logged += list(child.stdout)
    child.wait()
    child.stdout.close()
    scene.before = scene.rows()
    return len(logged) * len(NAMES)


def scenes(folder: Path, server: Server, way: Way, patch: pytest.MonkeyPatch) -> dict[str, Scene]:
    def mode(name: str) -> Callable[[], None]:
        return lambda: setattr(way, "mode", name)

    def die(*arguments: Any) -> Any:
        raise SystemExit(139)

    def kill_thread() -> None:
        patch.setattr(forward.Forwarder, "_attempt", die)

    faults: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
        "none": (nothing, nothing),
        "absent at the start": (nothing, in_background(server.start)),
        "killed, started again": (server.kill, in_background(server.start)),
        "hangs at the start": (nothing, server.let_go),
        "hangs in the middle": (server.hold, server.let_go),
        "answers 500": (mode("500"), mode("open")),
        "acts, connection cut": (mode("cut"), mode("open")),
        "acts, never answers": (mode("mute"), mode("open")),
        "tracker thread dies": (kill_thread, patch.undo),
        "process killed": (nothing, nothing),
    }
    return {name: Scene(folder / name.replace(",", "").replace(" ", "-"), server, way, *fault) for name, fault in faults.items()}


def play(name: str, scene: Scene, way: Way) -> tuple[str, int]:
    """Play a scene; the run's id in the store and how many values were logged."""
    if name == "process killed":
        logged = run_and_kill(scene, way.uri)
    else:
        if name == "absent at the start":
            scene.server.kill()
        elif name == "hangs at the start":
            scene.server.hold()
        with Tracker.start("faults", scene.folder, tags={"scidiff.scene": scene.folder.name}, tracking_uri=way.uri) as run:
            scene.log(run)
        logged = STEPS * len(NAMES)
    until(scene.server.answers, 240)
    if name == "tracker thread dies":
        start_again(scene.folder, way.uri)

    def sent() -> bool:
        try:
            return sync(scene.folder).lines == 0
        except UserError:
            return False

    until(sent, 120)
    return str(read_sent(folder_of(scene.folder), way.uri).run_id), logged


HEADER = ("fault", "logged", "spooled", "in store at its end", "replayed", "in store", "lost", "twice", "order, times", "median call")


@pytest.mark.long
@pytest.mark.usefixtures("impatient")
def test_every_fault_counted(tmp_path: Path, server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    table: list[tuple[Any, ...]] = []
    with way_to(server.port) as way, pytest.MonkeyPatch.context() as patch:
        for name, scene in scenes(tmp_path, server, way, patch).items():
            run_id, logged = play(name, scene, way)
            record = {metric: spooled(scene.folder, metric) for metric in NAMES}
            stored = {metric: history(server.uri, run_id, metric) for metric in NAMES}
            count, found = (sum(map(len, part.values())) for part in (record, stored))
            lost = sum((Counter(record[metric]) - Counter(stored[metric])).total() for metric in NAMES)
            twice = found - len({(metric, step) for metric in NAMES for _, step, _ in stored[metric]})
            same = "kept" if stored == record else "BROKEN"
            call = f"{1e3 * statistics.median(scene.calls):.2f} ms" if scene.calls else "-"
            table.append((name, logged, count, scene.before, found - scene.before, found, lost, twice, same, call))
            status = client(server.uri).get_run(run_id).info.status
            assert status == ("KILLED" if name == "process killed" else "FINISHED")
    with capsys.disabled():
        print("", "| " + " | ".join(HEADER) + " |", "|" + "---|" * len(HEADER), sep="\n")
        print(*("| " + " | ".join(map(str, row)) + " |" for row in table), sep="\n")
    for _, logged, count, _, _, found, lost, twice, same, _ in table:
        assert logged <= count <= logged + len(NAMES)  # a kill may come between the writing of a line and the telling of it
        assert (found, lost, twice, same) == (count, 0, 0, "kept")
    experiment = client(server.uri).get_experiment_by_name("scidiff").experiment_id
    assert len(client(server.uri).search_runs([experiment])) == len(table)
