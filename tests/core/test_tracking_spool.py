"""The spool and its forwarding, without MLflow: nothing that was logged is lost, everything arrives once and in order."""

from __future__ import annotations

import json
import logging
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.stores import spooled

from scidiff.tracking import OFF, DataInfo, Tracker, tracker
from scidiff.tracking.forward import forward, read_sent
from scidiff.tracking.spool import Identity, Spool, folder_of, read_lines
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


def test_data_and_checkpoints_keep_their_place_and_a_checkpoint_is_linked_to_what_was_logged(tmp_path: Path) -> None:
    """Its metrics have the times at which the run logged the same values at that step, and its own time where it did not."""
    info = DataInfo("sales", "0" * 64, "sales.csv", 30, "CC0 1.0", {"series": 2})
    store, nan = FakeStore(), float("nan")
    with Tracker.start("name", tmp_path / "run", tracking_uri=OFF) as run:
        run.log_dataset(info)
        for step, values in ((3, {"loss": 0.5, "nan": nan}), (4, {"loss": 0.25}), (3, {"loss": 0.75})):
            run.log_metrics(values, step)
        (tmp_path / "w.safetensors").write_bytes(b"weights")
        run.log_checkpoint(tmp_path / "w.safetensors", 3, {"loss": 0.75, "late": 1.0, "nan": nan})
        run.log_metrics({"late": 1.0}, 3)
    lines = [line for line in read_lines(folder_of(tmp_path / "run")) if line.kind in {"metrics", "checkpoint"}]
    assert [line.kind for line in lines] == ["metrics", "metrics", "metrics", "checkpoint", "metrics"]
    forward(folder_of(tmp_path / "run"), identity(), store)
    assert store.events[1] == (0, info, "training")  # after its environment
    count, content, step, metrics = next(event for event in store.events if event[1] == b"weights")
    assert (count, content, step) == (4, b"weights", 3)
    first, third, own = lines[0].time, lines[2].time, lines[3].time
    assert [(point.name, point.time) for point in metrics] == [("loss", third), ("late", own), ("nan", first)]
    assert [point.value for point in metrics][:2] == [0.75, 1.0]


def test_a_line_that_is_refused_for_good_is_set_aside_and_blocks_nothing(tmp_path: Path) -> None:
    spool, store = Spool(tmp_path), FakeStore()
    for step, name in enumerate(["a", "refused", "b"]):
        spool.write("metrics", step=step, values={name: 1.0})
    spool.close()
    forward(tmp_path, identity(), store)
    assert [point.name for point in store.rows] == ["a", "b"]
    aside = [json.loads(line) for line in (tmp_path / "rejected.jsonl").read_text().splitlines()]
    assert [(line["values"], line["step"], line["reason"]) for line in aside] == [({"refused": 1.0}, 1, "this name is taken")]


@pytest.mark.parametrize(
    "damaged",
    [
        {"kind": "artifact", "to": ""},
        {"kind": "artifact", "file": 5, "to": ""},
        {"kind": "checkpoint", "file": "w.safetensors", "metrics": {"a": 1.0}},
        {"kind": "metrics", "values": {"a": 1.0}},
        {"kind": "metrics", "values": {"a": "much"}, "step": 1},
        {"kind": "metrics", "values": 7, "step": 1},
        {"kind": "dataset", "data": {"colour": "red"}, "context": "training"},
        {"kind": "status"},
    ],
)
def test_a_line_that_is_not_whole_is_set_aside_and_blocks_nothing(tmp_path: Path, damaged: dict[str, Any]) -> None:
    spool, store = Spool(tmp_path), FakeStore()
    spool.write("metrics", step=1, values={"a": 1.0})
    spool.write(**damaged)
    spool.write("metrics", step=2, values={"b": 1.0})
    spool.close()
    forward(tmp_path, identity(), store)
    assert [point.name for point in store.rows] == ["a", "b"]
    (aside,) = [json.loads(line) for line in (tmp_path / "rejected.jsonl").read_text().splitlines()]
    assert aside["reason"].startswith("a damaged line (")


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
        assert len(spooled(tmp_path, "loss")) == 1000
        assert f"scidiff track sync {tmp_path}" in caplog.text
    finally:
        release.set()
