"""Tracking into real stores: a database, servers that are absent, broken or restarted."""

from __future__ import annotations

import http.server
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from scidiff.cli import app
from scidiff.errors import UserError
from scidiff.tracking import OFF, Tracker, metric_name, sync
from scidiff.tracking.forward import read_sent
from scidiff.tracking.spool import folder_of, read_lines
from scidiff.tracking.store import MlflowStore, prepare_environment


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty database, made once: making its tables takes seconds."""
    path = tmp_path_factory.mktemp("mlflow") / "mlruns.db"
    client(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def uri(template: Path, tmp_path: Path) -> str:
    shutil.copy(template, tmp_path / "mlruns.db")
    return f"sqlite:///{tmp_path / 'mlruns.db'}"


def client(uri: str) -> Any:
    return MlflowStore(uri)._client  # pyright: ignore[reportPrivateUsage]


def history(uri: str, run_id: str | None, name: str) -> list[tuple[float, int, int]]:
    """(value, step, time) in the order of the steps' logging, as the store has them."""
    found = client(uri).get_metric_history(run_id, name)
    return sorted(((metric.value, metric.step, metric.timestamp) for metric in found), key=lambda point: (point[2], point[1]))


def spooled(folder: Path, name: str) -> list[tuple[float, int, int]]:
    lines = [line for line in read_lines(folder_of(folder)) if line.kind == "metrics" and name in line.content["values"]]
    return [(line.content["values"][name], line.content["step"], line.time) for line in lines]


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


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Broken(http.server.BaseHTTPRequestHandler):
    """Answers 500 to everything."""

    def do_GET(self) -> None:
        self.send_error(500)

    do_POST = do_GET

    def log_message(self, *args: Any) -> None:
        return


@pytest.fixture
def broken_server() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Broken)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("kind", ["absent", "broken"])
def test_a_server_that_is_away_costs_nothing_and_the_record_is_sent_later(
    tmp_path: Path, uri: str, broken_server: str, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    away = broken_server if kind == "broken" else f"http://127.0.0.1:{free_port()}"
    folder = tmp_path / "run"
    with Tracker.start("first", folder, tracking_uri=away) as run:
        for step in range(100):
            run.log_metrics({"loss": step / 7}, step)
    assert run.failure is not None
    assert "does not take the run now; it goes on" in caplog.text
    assert f"scidiff track sync {folder}" in caplog.text
    refused = CliRunner().invoke(app, ["track", "sync", str(folder)])
    assert refused.exit_code == 2
    assert f"{away}: the tracking store does not take the run" in refused.stderr
    sent = CliRunner().invoke(app, ["track", "sync", str(folder), "--tracking-uri", uri])
    assert sent.exit_code == 0
    run_id = read_sent(folder_of(folder), uri).run_id
    assert f"lines sent to run {run_id}" in sent.stdout
    assert history(uri, run_id, "loss") == spooled(folder, "loss")


class Server:
    """A real ``mlflow server``, to be started and killed."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"]
        command += ["--backend-store-uri", f"sqlite:///{self.folder / 'server.db'}"]
        command += ["--artifacts-destination", str(self.folder / "artifacts")]
        environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
        until(self.answers, 240, lambda: (self.folder / "server.log").read_text())

    def answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=5) as answer:
                return answer.status == 200
        except OSError:
            return False

    def kill(self) -> None:
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None


def until(condition: Any, seconds: float, describe: Any = str) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, describe()
        time.sleep(0.1)


@pytest.fixture
def server(tmp_path: Path, template: Path) -> Iterator[Server]:
    shutil.copy(template, tmp_path / "server.db")
    server = Server(tmp_path)
    yield server
    server.kill()


@pytest.mark.slow
def test_a_real_server_absent_then_there_then_killed_then_back(tmp_path: Path, server: Server) -> None:
    folder = tmp_path / "run"
    with Tracker.start("first", folder, {"a": 1}, tracking_uri=server.uri) as run:
        for step in range(50):
            run.log_metrics({"loss": step / 7}, step)
        until(lambda: run.failure is not None, 60)
    server.start()
    with Tracker.start("first", folder, {"a": 1}, tracking_uri=server.uri) as run:
        for step in range(50, 100):
            run.log_metrics({"loss": step / 7}, step)
        until(lambda: run.run_id is not None and run.failure is None, 60)
        server.kill()
        for step in range(100, 150):
            run.log_metrics({"loss": step / 7}, step)
        until(lambda: run.failure is not None, 60)
        server.start()
        run.log_artifact(folder / "tracking" / "run.json", "record")
    if run.failure is not None:  # it was still waiting before its next try
        sync(folder)
    assert history(server.uri, run.run_id, "loss") == spooled(folder, "loss")
    assert [point[:2] for point in spooled(folder, "loss")] == [(step / 7, step) for step in range(150)]
    store = client(server.uri)
    assert store.get_run(run.run_id).info.status == "FINISHED"
    assert [entry.path for entry in store.list_artifacts(run.run_id)] == ["record"]
    assert len(store.search_runs([store.get_run(run.run_id).info.experiment_id])) == 1
