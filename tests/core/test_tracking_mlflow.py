"""Tracking into a real store: a database."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.stores import client, history, spooled

from scidiff.errors import UserError
from scidiff.tracking import OFF, Tracker, metric_name, sync
from scidiff.tracking.spool import folder_of
from scidiff.tracking.store import prepare_environment


def test_a_run_is_in_the_database_as_it_was_logged(tmp_path: Path, uri: str) -> None:
    folder = tmp_path / "run"
    with Tracker.start("first", folder, {"train.rate": 1e-3}, {"kind": "test"}, uri, experiment="trials") as run:
        for step in range(300):
            run.log_metrics({"loss (nats)": 1 / (step + 1), "rate": step}, step)
        (folder / "note.txt").write_text("hello")
        run.log_artifact(folder / "note.txt", "notes")
    store = client(uri)
    found = store.get_run(run.run_id)
    assert history(uri, run.run_id, "loss _nats_") == spooled(folder, "loss _nats_")
    assert [point[:2] for point in spooled(folder, "loss _nats_")] == [(1 / (step + 1), step) for step in range(300)]
    assert found.data.params == {"train.rate": "0.001"}
    assert (found.info.status, found.info.run_name, found.data.tags["kind"]) == ("FINISHED", "first", "test")
    assert found.data.tags["scidiff.local_id"] == json.loads((folder_of(folder) / "run.json").read_text())["local_id"]
    assert found.data.tags["version.python"].startswith(f"{sys.version_info.major}.{sys.version_info.minor}")
    experiment = store.get_experiment_by_name("trials")
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"
    assert Path(tmp_path / "mlartifacts" / str(run.run_id) / "artifacts" / "notes" / "note.txt").read_text() == "hello"


def test_figures_arrive_as_pictures(tmp_path: Path, uri: str) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1, 1))
    figure.subplots().plot([1, 2])
    with Tracker.start("first", tmp_path / "run", tracking_uri=uri) as run:
        run.log_figure(figure, "samples/step-1.png")
    picture = tmp_path / "mlartifacts" / str(run.run_id) / "artifacts" / "samples" / "step-1.png"
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_continued_run_is_the_same_run_and_nothing_is_there_twice(tmp_path: Path, uri: str) -> None:
    first = Tracker.start("first", tmp_path / "run", {"steps": 3}, tracking_uri=uri)
    for step in range(4):
        first.log_metrics({"loss": float(step)}, step)
    with pytest.raises(ValueError, match="broken"), first:
        raise ValueError("broken")
    assert client(uri).get_run(first.run_id).info.status == "FAILED"
    with Tracker.start("first", tmp_path / "run", {"steps": 6}, tracking_uri=uri) as again:
        for step in range(2, 6):
            again.log_metrics({"loss": float(step)}, step)
    assert again.run_id == first.run_id
    found = client(uri).get_run(first.run_id)
    assert (found.info.status, found.data.params, found.data.tags["changed.steps"]) == ("FINISHED", {"steps": "3"}, "3 -> 6")
    assert [point[:2] for point in history(uri, first.run_id, "loss")] == [(float(step), step) for step in range(6)]


def test_a_crash_between_sending_and_noting_it_sends_nothing_twice(tmp_path: Path, uri: str) -> None:
    folder = tmp_path / "run"
    with Tracker.start("first", folder, {"a": 1}, tracking_uri=OFF) as run:
        for step in range(10):
            run.log_metrics({"loss": step / 3, "nan": float("nan")}, step)
    first = sync(folder, uri)
    assert first.lines > 10
    assert sync(folder, uri).lines == 0
    (folder_of(folder) / "sent.json").unlink()
    again = sync(folder, uri)
    assert (again.run_id, again.lines) == (first.run_id, first.lines)
    assert [point[:2] for point in history(uri, first.run_id, "loss")] == [(step / 3, step) for step in range(10)]
    assert len(history(uri, first.run_id, "nan")) == 10


def test_a_run_that_was_killed_is_ended_by_sync(tmp_path: Path, uri: str) -> None:
    folder = tmp_path / "run"
    code = f"""
import os, signal
from scidiff.tracking import Tracker
tracker = Tracker.start("first", {str(folder)!r}, tracking_uri="off")
tracker.log_metrics({{"loss": 1}}, 1)
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", code]).returncode == -signal.SIGKILL
    run_id = sync(folder, uri).run_id
    assert client(uri).get_run(run_id).info.status == "KILLED"
    assert [point[:2] for point in history(uri, run_id, "loss")] == [(1.0, 1)]


def test_a_run_deleted_from_the_store_is_sent_again_in_whole(tmp_path: Path, uri: str) -> None:
    with Tracker.start("first", tmp_path / "run", tracking_uri=uri) as run:
        run.log_metrics({"loss": 1}, 1)
    client(uri).delete_run(run.run_id)
    with Tracker.start("first", tmp_path / "run", tracking_uri=uri) as again:
        again.log_metrics({"loss": 2}, 2)
    assert again.run_id != run.run_id
    assert [point[:2] for point in history(uri, again.run_id, "loss")] == [(1.0, 1), (2.0, 2)]


def test_sync_of_what_is_no_run_or_still_runs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no run is recorded here: expected .*run.json"):
        sync(tmp_path)
    with Tracker.start("first", tmp_path, tracking_uri=OFF), pytest.raises(UserError, match="still being written"):
        sync(tmp_path)


def test_the_client_is_set_up_not_to_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "MLFLOW_HTTP_REQUEST_TIMEOUT"):
        monkeypatch.delenv(name, raising=False)
    prepare_environment()
    from mlflow.environment_variables import (
        MLFLOW_ALLOW_PICKLE_DESERIALIZATION,
        MLFLOW_DISABLE_TELEMETRY,
        MLFLOW_HTTP_REQUEST_MAX_RETRIES,
        MLFLOW_HTTP_REQUEST_TIMEOUT,
    )

    assert (MLFLOW_HTTP_REQUEST_MAX_RETRIES.get(), MLFLOW_HTTP_REQUEST_TIMEOUT.get()) == (0, 10)
    assert MLFLOW_DISABLE_TELEMETRY.get() is True
    assert MLFLOW_ALLOW_PICKLE_DESERIALIZATION.get() is False


@given(st.text(max_size=300))
def test_names_pass_mlflows_own_check(name: str) -> None:
    from mlflow.utils.validation import _validate_metric_name, _validate_param_name, _validate_tag_name

    for check in (_validate_metric_name, _validate_param_name, _validate_tag_name):
        assert check(metric_name(name)) is None
