"""The spool and its forwarding, without MLflow: nothing that was logged is lost, everything arrives once and in order."""

from __future__ import annotations

import json
import logging
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scidiff.errors import UserError
from scidiff.tracking import OFF, DataInfo, Tracker, find_spools, tracker
from scidiff.tracking.forward import forward, read_sent
from scidiff.tracking.spool import Identity, Spool, folder_of, read_lines, try_lock, write_identity
from scidiff.tracking.store import Batch, Checkpoint, MetricPoint, Rejected


class FakeStore:
    """A store with SQL's rule (the same row twice is one row) that fails when told to: before or after it has acted."""

    def __init__(self, faults: list[str] | None = None) -> None:
        self.faults = list(faults or [])
        self.rows: dict[MetricPoint, None] = {}
        self.events: list[Any] = []
        self.params: dict[str, str] = {}

    def attach(self, identity: Identity, run_id: str | None) -> str:
        return run_id or "run-1"

    def send(self, run_id: str, batch: Batch) -> None:
        self._fail("before")
        if any(point.name == "refused" for point in batch.metrics):
            raise Rejected("this name is taken")
        self.rows.update(dict.fromkeys(batch.metrics))
        self.params.update(batch.params)
        self._fail("after")

    def send_artifact(self, run_id: str, path: Path, to: str) -> None:
        self._fail("before")
        self.events.append((len(self.rows), path.name, to))

    def send_dataset(self, run_id: str, info: DataInfo, context: str) -> None:
        self._fail("before")
        self.events.append((len(self.rows), info, context))

    def send_checkpoint(self, run_id: str, checkpoint: Checkpoint) -> None:
        self._fail("before")
        self.events.append((len(self.rows), checkpoint.path.read_bytes(), checkpoint.step, checkpoint.metrics))

    def send_status(self, run_id: str, status: str, time: int) -> None:
        self._fail("before")
        self.events.append((len(self.rows), status))

    def _fail(self, when: str) -> None:
        if self.faults and self.faults[0] == when:
            self.faults.pop(0)
            raise ConnectionError("away")
        if self.faults and when == "after":
            self.faults.pop(0)


def identity() -> Identity:
    return Identity("local", "name", "experiment", "fake:", 0)


def points(folder: Path) -> list[tuple[str, float, int]]:
    lines = [line for line in read_lines(folder_of(folder)) if line.kind == "metrics"]
    return [(name, value, line.content["step"]) for line in lines for name, value in line.content["values"].items()]


@given(
    faults=st.lists(st.sampled_from(["before", "after", "none"]), max_size=12),
    sizes=st.lists(st.integers(1, 700), min_size=1, max_size=8),
)
@settings(max_examples=40)
def test_every_metric_arrives_once_and_in_order_whatever_fails(
    tmp_path_factory: pytest.TempPathFactory, faults: list[str], sizes: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("spool")
    spool, store, expected = Spool(folder), FakeStore(faults), []
    for step, size in enumerate(sizes):
        values = {f"m{index}": float(index) for index in range(size)}
        spool.write("metrics", step=step, values=values)
        expected += [(name, value, step) for name, value in values.items()]
        try:
            forward(folder, identity(), store)
        except ConnectionError:
            continue
    while store.faults:
        try:
            if forward(folder, identity(), store)[1] == 0:
                break
        except ConnectionError:
            continue
    store.faults = []
    forward(folder, identity(), store)
    spool.close()
    assert [(point.name, point.value, point.step) for point in store.rows] == expected
    assert forward(folder, identity(), store) == ("run-1", 0)


def test_artifacts_and_status_keep_their_place_among_the_metrics(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    folder.mkdir()
    spool, store = Spool(folder), FakeStore()
    spool.write("metrics", step=1, values={"a": 1.0})
    spool.write("artifact", file="picture.png", to="samples")
    spool.write("metrics", step=2, values={"a": 2.0, "b": 1.0})
    spool.write("status", status="FINISHED")
    spool.close()
    forward(folder, identity(), store)
    assert store.events == [(1, "picture.png", "samples"), (3, "FINISHED")]


def test_a_line_that_is_refused_for_good_is_set_aside_and_blocks_nothing(tmp_path: Path) -> None:
    spool, store = Spool(tmp_path), FakeStore()
    for step, name in enumerate(["a", "refused", "b"]):
        spool.write("metrics", step=step, values={name: 1.0})
    spool.close()
    forward(tmp_path, identity(), store)
    assert [point.name for point in store.rows] == ["a", "b"]
    aside = [json.loads(line) for line in (tmp_path / "rejected.jsonl").read_text().splitlines()]
    assert [(line["values"], line["step"], line["reason"]) for line in aside] == [({"refused": 1.0}, 1, "this name is taken")]


def test_another_run_in_the_store_is_sent_everything_again(tmp_path: Path) -> None:
    class Forgetful(FakeStore):
        def attach(self, identity: Identity, run_id: str | None) -> str:
            return "run-2"

    spool = Spool(tmp_path)
    spool.write("metrics", step=1, values={"a": 1.0})
    forward(tmp_path, identity(), FakeStore())
    spool.write("metrics", step=2, values={"a": 2.0})
    spool.close()
    store = Forgetful()
    assert forward(tmp_path, identity(), store) == ("run-2", 2)
    assert read_sent(tmp_path, "fake:").run_id == "run-2"
    assert [point.step for point in store.rows] == [1, 2]


@given(cut=st.integers(0, 400), again=st.integers(1, 3))
def test_a_line_cut_off_by_a_kill_goes_and_the_others_stay(tmp_path_factory: pytest.TempPathFactory, cut: int, again: int) -> None:
    folder = tmp_path_factory.mktemp("cut")
    spool = Spool(folder)
    for step in range(4):
        spool.write("metrics", step=step, values={"é" * 5: 0.1})
    spool.close()
    path = folder / "spool.jsonl"
    content = path.read_bytes()[:cut]
    path.write_bytes(content)
    whole = content.count(b"\n")
    spool = Spool(folder)
    for step in range(again):
        spool.write("metrics", step=100 + step, values={})
    spool.close()
    steps = [line.content["step"] for line in read_lines(folder)]
    assert steps == [*range(whole), *(100 + step for step in range(again))]


def test_a_damaged_line_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "spool.jsonl").write_bytes(b'{"kind": "tags", "time": 1}\n\x00\x00{]\n[]\n{"kind": "tags", "time": 2}\n')
    assert [line.time for line in read_lines(tmp_path)] == [1, 2]


def test_times_never_go_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from scidiff.tracking import spool as module

    clock = iter([5, 9, 3, 10])
    monkeypatch.setattr(module, "now", lambda: next(clock))
    spool = Spool(tmp_path)
    for _ in range(4):
        spool.write("tags")
    spool.close()
    assert [line.time for line in read_lines(tmp_path)] == [5, 9, 9, 10]


KILLED = """
import sys
from scidiff.tracking import Tracker
with Tracker.start("name", sys.argv[1], tracking_uri="off") as tracker:
    step = 0
    while True:
        tracker.log_metrics({"loss": step / 7}, step)
        print(step, flush=True)
        step += 1
"""


@pytest.mark.parametrize(
    ("sent", "code", "status"),
    [(signal.SIGKILL, -signal.SIGKILL, "RUNNING"), (signal.SIGTERM, 143, "KILLED"), (signal.SIGINT, -signal.SIGINT, "KILLED")],
)
def test_a_real_signal_loses_no_line_and_leaves_the_true_status(tmp_path: Path, sent: signal.Signals, code: int, status: str) -> None:
    child = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert child.stdout is not None
    printed = [int(child.stdout.readline()) for _ in range(50)]
    child.send_signal(sent)
    printed += [int(line) for line in child.stdout.read().splitlines()]
    child.stdout.close()
    assert child.wait() == code
    logged = points(tmp_path)
    assert logged[: len(printed)] == [("loss", step / 7, step) for step in printed]
    assert len(logged) <= len(printed) + 1
    statuses = [line.content["status"] for line in read_lines(folder_of(tmp_path)) if line.kind == "status"]
    assert (statuses or ["RUNNING"])[-1] == status
    assert try_lock(folder_of(tmp_path)) is not None, "the lock went with the process"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (None, "FINISHED"),
        (ValueError(), "FAILED"),
        (KeyboardInterrupt(), "KILLED"),
        (SystemExit(143), "KILLED"),
        (SystemExit(0), "FINISHED"),
    ],
)
def test_the_status_says_how_the_run_ended(tmp_path: Path, error: BaseException | None, status: str) -> None:
    def run() -> None:
        with Tracker.start("name", tmp_path, tracking_uri=OFF):
            if error is not None:
                raise error

    if error is None:
        run()
    else:
        with pytest.raises(type(error)):
            run()
    *_, last = read_lines(folder_of(tmp_path))
    assert (last.kind, last.content["status"]) == ("status", status)


def test_a_continued_run_logs_nothing_twice(tmp_path: Path) -> None:
    with Tracker.start("name", tmp_path, {"rate": 1, "steps": 5}, tracking_uri=OFF) as first:
        for step in range(1, 6):
            first.log_metrics({"loss": step / 3, "rate": 0.1 * step}, step)
    before = json.loads((folder_of(tmp_path) / "run.json").read_text())
    with Tracker.start("name", tmp_path, {"rate": 1, "steps": 9, "new": True}, tracking_uri=OFF) as again:
        again.log_metrics({"loss": 4 / 3, "rate": 0.5}, 4)
        again.log_metrics({"loss": 5 / 3}, 5)
        again.log_metrics({"loss": 6 / 3}, 6)
    assert [point for point in points(tmp_path) if point[0] == "loss"] == [("loss", step / 3, step) for step in range(1, 7)]
    assert points(tmp_path)[-2:] == [("rate", 0.5, 4), ("loss", 2.0, 6)]
    assert json.loads((folder_of(tmp_path) / "run.json").read_text())["local_id"] == before["local_id"]
    lines = list(read_lines(folder_of(tmp_path)))
    assert [line.content["values"] for line in lines if line.kind == "params"] == [{"rate": "1", "steps": "5"}, {"new": "True"}]
    assert {"changed.steps": "5 -> 9"} in [line.content["values"] for line in lines if line.kind == "tags"]


def test_a_new_run_in_the_same_folder_keeps_the_earlier_record(tmp_path: Path) -> None:
    for value in (1.0, 2.0):
        with Tracker.start("name", tmp_path, tracking_uri=OFF, resume=False) as fresh:
            fresh.log_metrics({"loss": value}, 1)
    assert points(tmp_path) == [("loss", 2.0, 1)]
    earlier = [folder for folder in find_spools(tmp_path) if folder != tmp_path]
    assert [points(folder) for folder in earlier] == [[("loss", 1.0, 1)]]
    assert try_lock(folder_of(earlier[0])) is not None


def test_two_writers_of_one_run_are_refused(tmp_path: Path) -> None:
    with Tracker.start("name", tmp_path, tracking_uri=OFF), pytest.raises(UserError, match="another process is writing to this run"):
        Tracker.start("name", tmp_path, tracking_uri=OFF)
    with Tracker.start("name", tmp_path, tracking_uri=OFF) as ended:
        pass
    with pytest.raises(RuntimeError, match="this run has ended"):
        ended.log_metrics({"a": 1}, 1)


def test_a_store_that_hangs_does_not_hold_up_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    entered, release = threading.Event(), threading.Event()

    class Hanging(FakeStore):
        def attach(self, identity: Identity, run_id: str | None) -> str:
            entered.set()
            release.wait()
            return super().attach(identity, run_id)

    monkeypatch.setattr(tracker, "MlflowStore", lambda uri: Hanging())
    monkeypatch.setattr(tracker, "SECONDS_TO_FINISH", 0.05)
    try:
        with caplog.at_level(logging.WARNING), Tracker.start("name", tmp_path, tracking_uri="hangs:") as run:
            assert entered.wait(30)
            for step in range(1000):
                run.log_metrics({"loss": step}, step)
        assert len(points(tmp_path)) == 1000
        assert f"scidiff track sync {tmp_path}" in caplog.text
    finally:
        release.set()


def test_a_full_disk_costs_lines_and_not_the_run(tmp_path: Path) -> None:
    code = f"""
import resource, signal
from scidiff.tracking import Tracker
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
with Tracker.start("name", {str(tmp_path)!r}, tracking_uri="off") as tracker:
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, resource.RLIM_INFINITY))
    for step in range(500):
        tracker.log_metrics({{"loss": step}}, step)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    tracker.log_metrics({{"loss": -1}}, 500)
print("went on")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "went on\n"
    assert "lines could not be written" in done.stderr
    steps = [step for _, _, step in points(tmp_path)]
    assert steps == [*range(len(steps) - 1), 500]


def test_artifacts_outside_the_run_are_copied_into_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    outside = tmp_path / "elsewhere.txt"
    outside.write_text("then")
    with Tracker.start("name", tmp_path / "run", tracking_uri=OFF) as run:
        run.log_artifact(outside, "texts")
        outside.write_text("now")
        (tmp_path / "run" / "inside.txt").write_text("here")
        run.log_artifact(tmp_path / "run" / "inside.txt", "../../etc")
        run.log_artifact(tmp_path / "absent.txt")
    kept = [line.content for line in read_lines(folder_of(tmp_path / "run")) if line.kind == "artifact"]
    lines = [line for line in kept if not line["file"].endswith("environment.json")]
    assert [(tmp_path / "run" / line["file"]).read_text() for line in lines] == ["then", "here"]
    assert [line["to"] for line in lines] == ["texts", "etc"]
    assert "absent.txt is not there" in caplog.text


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    folder.mkdir()
    (folder / "run.json").write_text("{")
    with pytest.raises(UserError, match=r"run.json: damaged .* move .* away"):
        Tracker.start("name", tmp_path, tracking_uri=OFF)
    write_identity(folder, identity())
    Tracker.start("name", tmp_path, tracking_uri=OFF).finish()
