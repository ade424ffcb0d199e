"""Servers for tests: real processes on real ports, and clients that do not play by the rules."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.stores import until

TOKEN = "a-token-of-the-tests-0123456789"
JSON = {"content-type": "application/json"}
MEGABYTE = b"0" * 2**20

STUB = """
import sys, time
from collections.abc import Iterator
from pathlib import Path
from pydantic import Field
from scidiff.config import Config
from scidiff.domain import Answer
from scidiff.errors import UserError
from scidiff.serving.limits import Limits
from scidiff.serving.server import serve

class Ask(Config):
    rows: int = Field(default=1, ge=1, le=1000)
    seconds: float = Field(default=0, ge=0, le=100)
    text: str = ""

class Stub:
    @classmethod
    def request_type(cls):
        return Ask
    @classmethod
    def load(cls, weights, device="cpu"):
        return cls()
    def answer(self, request):
        if request.text == "wrong":
            raise UserError("this text is wrong: give another")
        return Answer(request.rows / 100, self._rows(request))
    def _rows(self, request):
        for row in range(request.rows):
            with Path("rows.txt").open("a") as file:
                file.write(f"{request.text} {row}\\n")
            time.sleep(request.seconds)
            if request.text == "broken":
                raise ValueError("a secret of ours")
            yield {"row": row, "text": request.text}

limits = Limits(**LIMITS)
serve(Stub(), TOKEN, limits, "127.0.0.1", 0, lambda url: print("serving at", url, flush=True))
"""
"""A service whose rows take as long as they are asked to, without torch: it is there in a second."""


@dataclass(frozen=True)
class Reply:
    """What a server answered, and after how many seconds."""

    status: int
    headers: dict[str, str]
    body: bytes
    seconds: float

    @property
    def message(self) -> str:
        return str(json.loads(self.body)["message"])

    @property
    def predictions(self) -> Any:
        assert self.status == 200, self.body[:1000]
        return json.loads(self.body)["predictions"]


class Served:
    """A server in a process of its own."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path, port: int, token: str | None) -> None:
        self.process, self.log, self.port = process, log, port
        self.headers = {} if token is None else {"authorization": f"Bearer {token}"}

    def call(self, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None, timeout: float = 300) -> Reply:
        """GET, or POST where there is a body; with the token unless other headers are given."""
        began = time.monotonic()
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)) as connection:
            connection.request("GET" if body is None else "POST", path, body, self.headers | JSON if headers is None else dict(headers))
            answer = connection.getresponse()
            content = answer.read()
        found = {name.lower(): value for name, value in answer.getheaders()}
        return Reply(answer.status, found, content, time.monotonic() - began)

    def ask(self, *requests: Mapping[str, Any], **options: Any) -> Reply:
        return self.call("/invocations", json.dumps({"inputs": list(requests)}).encode(), **options)

    def head(self, *lines: str, token: bool = True) -> bytes:
        """The head of a POST, to be sent by hand."""
        named = [f"{name}: {value}" for name, value in (self.headers if token else {}).items()]
        return "\r\n".join(["POST /invocations HTTP/1.1", "host: test", "content-type: application/json", *named, *lines, "", ""]).encode()

    def megabytes_at_most(self) -> float:
        """The most memory that the process ever had."""
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{self.process.pid}/status").read_text())
        assert found is not None
        return int(found[1]) / 1024

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(30)


def by_hand(port: int, parts: Iterator[bytes] | Sequence[bytes], patience: float = 60) -> tuple[bytes, int]:
    """Send parts on a bare connection until the other side answers or ends it; (what it answered, how many bytes went out)."""
    sent = 0
    with socket.create_connection(("127.0.0.1", port), timeout=patience) as connection:
        for part in parts:
            try:
                connection.sendall(part)
            except OSError:
                break
            sent += len(part)
        answer = bytearray()
        with contextlib.suppress(OSError):
            while chunk := connection.recv(65536):
                answer += chunk
        return bytes(answer), sent


def status_of(answer: bytes) -> int:
    """The status on the first line."""
    found = re.match(rb"HTTP/1\.1 (\d{3}) ", answer)
    assert found is not None, answer[:200]
    return int(found[1])


@contextlib.contextmanager
def served(
    command: Sequence[str], folder: Path, ready: str, seconds: float = 240, token: str | None = TOKEN, port: int = 0, **environment: str
) -> Iterator[Served]:
    """Run a command that says ``ready``, followed by its port unless that is known, when it serves; ended with all it started."""
    log = folder / "server.log"
    bin_folder = str(Path(sys.executable).parent)
    variables = {**os.environ, "PATH": os.pathsep.join([bin_folder, os.environ.get("PATH", "")]), **environment}
    with log.open("wb") as stream:
        process = subprocess.Popen(command, cwd=folder, env=variables, stdout=stream, stderr=stream, start_new_session=True)
    try:
        until(lambda: ready in log.read_text() or process.poll() is not None, seconds, log.read_text)
        assert process.poll() is None, log.read_text()
        found = re.search(rf"{re.escape(ready)}\S*:(\d+)", log.read_text())
        yield Served(process, log, int(found[1]) if found and not port else port, token)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextlib.contextmanager
def stub(folder: Path, **limits: float) -> Iterator[Served]:
    """A server of :data:`STUB`, in ``folder``."""
    code = STUB.replace("LIMITS", repr(limits)).replace("TOKEN", repr(TOKEN))
    with served([sys.executable, "-c", code], folder, "serving at http://127.0.0.1") as server:
        yield server
