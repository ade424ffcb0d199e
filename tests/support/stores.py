"""Tracking stores for tests: an empty database, a real ``mlflow server``, and a way to it that can be broken."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from scidiff.tracking.spool import folder_of, read_lines
from scidiff.tracking.store import MlflowStore

Point = tuple[float, int, int]


def client(uri: str) -> Any:
    """MLflow's own client, with the settings of ours."""
    return MlflowStore(uri)._client  # pyright: ignore[reportPrivateUsage]


def history(uri: str, run_id: str | None, name: str) -> list[Point]:
    """(value, step, time) of a metric as the store has it, in the order of time."""
    found = client(uri).get_metric_history(run_id, name)
    return sorted(((metric.value, metric.step, metric.timestamp) for metric in found), key=lambda point: (point[2], point[1]))


def spooled(folder: Path, name: str) -> list[Point]:
    """(value, step, time) of a metric as the run's own record has it, in the order of its lines."""
    lines = [line for line in read_lines(folder_of(folder)) if line.kind == "metrics" and name in line.content["values"]]
    return [(line.content["values"][name], line.content["step"], line.time) for line in lines]


def until(condition: Callable[[], Any], seconds: float, describe: Callable[[], str] = str) -> None:
    """Wait for something."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, describe()
        time.sleep(0.05)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """A real ``mlflow server`` on a database, to be started, killed, and held still."""

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

    def hold(self) -> None:
        """Stop every process of it where it is: connections are accepted (by the system), and nothing is ever answered."""
        self._send(signal.SIGSTOP)

    def let_go(self) -> None:
        self._send(signal.SIGCONT)

    def kill(self) -> None:
        if self.process is not None:
            self._send(signal.SIGKILL)
            self.process.wait()
            self.process = None

    def _send(self, number: signal.Signals) -> None:
        assert self.process is not None
        os.killpg(self.process.pid, number)


class Way:
    """A way to a server that can be broken. ``mode``:

    ``open``: requests and answers pass; ``500``: every request is answered so; ``hang``: it is accepted and never answered;
    ``mute``: the server gets what is logged and acts, and its answer never arrives; ``cut``: the same, with the connection cut at once.
    """

    def __init__(self, port: int = 0) -> None:
        self.mode, self.refused = "open", 0
        self._ended = threading.Event()
        way = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                way._handle(self, port)

            do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

            def log_message(self, *args: Any) -> None:
                return

        self._server = _Quiet(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.uri = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._ended.set()
        self._server.shutdown()
        self._server.server_close()

    def _handle(self, request: http.server.BaseHTTPRequestHandler, port: int) -> None:
        mode = self.mode if self.mode not in {"mute", "cut"} or request.path.endswith("/log-batch") else "open"
        body = request.rfile.read(int(request.headers.get("Content-Length", 0)))
        if mode != "open":
            self.refused += 1
        if mode == "500":
            request.send_error(500)
            return
        answer = None if mode == "hang" else _forwarded(request, body, port)
        if mode in {"hang", "mute"}:
            self._ended.wait(120)
        if answer is None or mode != "open":
            request.close_connection = True
            return
        request.send_response(answer[0])
        for name, value in answer[1]:
            if name.lower() not in {"transfer-encoding", "connection", "content-length", "date", "server"}:
                request.send_header(name, value)
        request.send_header("Content-Length", str(len(answer[2])))
        request.end_headers()
        request.wfile.write(answer[2])


class _Quiet(http.server.ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        return  # one that asked has given up: that is what is tested


def _forwarded(request: http.server.BaseHTTPRequestHandler, body: bytes, port: int) -> tuple[int, list[tuple[str, str]], bytes] | None:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        try:
            connection.request(request.command, request.path, body, dict(request.headers.items()) | {"Connection": "close"})
            answer = connection.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        except OSError:
            return None


@contextlib.contextmanager
def way_to(port: int = 0, mode: str = "open") -> Iterator[Way]:
    """A :class:`Way`, closed in the end."""
    way = Way(port)
    way.mode = mode
    try:
        yield way
    finally:
        way.close()
