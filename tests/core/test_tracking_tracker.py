"""The tracker without a store: signals, ends, continued runs, a full disk; the run's own record is true in every case."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from scidiff.errors import UserError
from scidiff.tracking import OFF, Tracker, find_spools
from scidiff.tracking.spool import Identity, folder_of, read_lines, try_lock, write_identity


def points(folder: Path) -> list[tuple[str, float, int]]:
    lines = [line for line in read_lines(folder_of(folder)) if line.kind == "metrics"]
    return [(name, value, line.content["step"]) for line in lines for name, value in line.content["values"].items()]


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
    write_identity(folder, Identity("local", "name", "experiment", "fake:", 0))
    Tracker.start("name", tmp_path, tracking_uri=OFF).finish()
