"""Stores that fail: nothing that was logged is lost, nothing arrives twice, order and times stay, and the run goes on."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.stores import Server, client, free_port, history, spooled, until, way_to
from typer.testing import CliRunner

from scidiff.cli import app
from scidiff.tracking import Tracker, forward, sync
from scidiff.tracking.forward import read_sent
from scidiff.tracking.spool import folder_of


@pytest.fixture
def server(tmp_path: Path, template: Path) -> Iterator[Server]:
    shutil.copy(template, tmp_path / "server.db")
    server = Server(tmp_path)
    yield server
    server.kill()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time limits and pauses short enough for tests."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr(forward, "INTERVAL", 0.2)
    monkeypatch.setattr(forward, "MAX_PAUSE", 0.5)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("kind", ["absent", "500", "hang"])
def test_a_server_that_is_away_costs_nothing_and_the_record_is_sent_later(
    tmp_path: Path, uri: str, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "run"
    with way_to(mode=kind) as way:
        away = f"http://127.0.0.1:{free_port()}" if kind == "absent" else way.uri
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


class Death(BaseException):
    """What no ``except Exception`` catches."""


@pytest.mark.parametrize("error", [ValueError("broken"), SystemExit(139), Death()])
@pytest.mark.parametrize("place", ["forward", "thread"])
def test_the_tracker_threads_death_does_not_touch_the_run_and_the_record_is_sent_by_the_next_start(
    tmp_path: Path, uri: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: BaseException, place: str
) -> None:
    """In a call to the store, after which it tries again; and elsewhere in the thread, which then ends."""
    reached = threading.Event()

    def die(*arguments: Any) -> Any:
        reached.set()
        raise error

    with monkeypatch.context() as patch:
        if place == "forward":
            patch.setattr(forward, "forward", die)
        else:
            patch.setattr(forward.Forwarder, "_attempt", die)
        with Tracker.start("first", tmp_path / "run", tracking_uri=uri) as run:
            assert reached.wait(30)
            for step in range(100):
                run.log_metrics({"loss": step / 7}, step)
    assert run.run_id is None
    assert f"scidiff track sync {tmp_path / 'run'}" in caplog.text
    with Tracker.start("first", tmp_path / "run", tracking_uri=uri) as again:
        pass
    assert history(uri, again.run_id, "loss") == spooled(tmp_path / "run", "loss")
    assert len(spooled(tmp_path / "run", "loss")) == 100
    assert client(uri).get_run(again.run_id).info.status == "FINISHED"


@pytest.mark.usefixtures("impatient")
def test_a_thread_that_failed_for_a_while_catches_up_by_itself(tmp_path: Path, uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls, real = 0, forward.forward

    def stumble(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls <= 3:
            raise SystemExit(1)
        return real(*arguments)

    monkeypatch.setattr(forward, "forward", stumble)
    with Tracker.start("first", tmp_path / "run", tracking_uri=uri) as run:
        run.log_metrics({"loss": 1.0}, 1)
        until(lambda: calls > 3 and run.failure is None, 240)
    assert history(uri, run.run_id, "loss") == spooled(tmp_path / "run", "loss")


def steps_of(folder: Path) -> list[tuple[float, int]]:
    return [point[:2] for point in spooled(folder, "loss")]


@pytest.mark.slow
@pytest.mark.usefixtures("impatient")
def test_a_real_server_absent_then_there_then_held_then_killed_then_back(tmp_path: Path, server: Server) -> None:
    folder = tmp_path / "run"

    def log(run: Tracker, first: int) -> None:
        for step in range(first, first + 50):
            run.log_metrics({"loss": step / 7}, step)

    with Tracker.start("first", folder, {"a": 1}, tracking_uri=server.uri) as run:
        log(run, 0)
        until(lambda: run.failure is not None, 240)
    server.start()
    with Tracker.start("first", folder, {"a": 1}, tracking_uri=server.uri) as run:
        log(run, 50)
        until(lambda: run.run_id is not None and run.failure is None, 240)
        server.hold()
        log(run, 100)
        until(lambda: run.failure is not None, 240)
        server.let_go()
        until(lambda: run.failure is None, 240)
        server.kill()
        log(run, 150)
        until(lambda: run.failure is not None, 240)
        server.start()
        run.log_artifact(folder / "tracking" / "run.json", "record")
        run.log_checkpoint(folder / "tracking" / "run.json", 199, {"loss": 199 / 7})
    if run.failure is not None:
        sync(folder)
    assert history(server.uri, run.run_id, "loss") == spooled(folder, "loss")
    assert steps_of(folder) == [(step / 7, step) for step in range(200)]
    store = client(server.uri)
    found = store.get_run(run.run_id)
    assert found.info.status == "FINISHED"
    assert "record" in [entry.path for entry in store.list_artifacts(run.run_id)]
    assert len(store.search_runs([found.info.experiment_id])) == 1
    (model,) = store.search_logged_models([found.info.experiment_id])
    assert [(output.model_id, output.step) for output in found.outputs.model_outputs] == [(model.model_id, 199)]
