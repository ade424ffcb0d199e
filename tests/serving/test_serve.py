"""``scidiff models serve``: a real process on a real port, and hostile row 17 (a body of 1 GB, a slow client, no token)."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.serving import JSON, MEGABYTE, Served, by_hand, served, status_of
from typer.testing import CliRunner

from scidiff.cli import app

ASKED = {"n": 2, "seed": 4, "steps": 1}
GIGABYTE = 1000
"""Parts of a megabyte."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("serve")
    command = [sys.executable, "-m", "scidiff", "models", "serve", "qm9", "--port", "0", "--body-seconds", "1"]
    with served(command, folder, "token: ") as running:
        said = running.log.read_text()
        assert "serving qm9 at http://127.0.0.1:" in said
        port, token = int(said.partition("127.0.0.1:")[2].partition("/")[0]), said.partition("token: ")[2].strip()
        yield Served(running.process, running.log, port, token)  # the token that it made and showed


def test_row_17_a_body_of_a_gigabyte_a_slow_client_and_no_token(server: Served) -> None:
    good = server.ask(ASKED).predictions
    assert [row["id"] for row in good[0]] == [0, 1]
    chunk = b"%x\r\n%s\r\n" % (len(MEGABYTE), MEGABYTE)
    before = server.megabytes_at_most()
    hostile = {
        "chunks without a length": (413, [server.head("transfer-encoding: chunked"), *[chunk] * GIGABYTE]),
        "a true length": (413, [server.head(f"content-length: {GIGABYTE << 20}"), *[MEGABYTE] * GIGABYTE]),
        "a length that says less": (400, [server.head("content-length: 10"), *[MEGABYTE] * GIGABYTE]),
        "a length that says more": (408, [server.head("content-length: 1000000"), MEGABYTE[:10]]),
        "one chunk of a gigabyte": (413, [server.head("transfer-encoding: chunked"), b"%x\r\n" % (GIGABYTE << 20), *[MEGABYTE] * GIGABYTE]),
        "no token": (401, [server.head("transfer-encoding: chunked", token=False), *[chunk] * GIGABYTE]),
    }
    for name, (status, parts) in hostile.items():
        answer, sent = by_hand(server.port, parts)
        assert status_of(answer) == status, name
        assert sent < 200 << 20, name  # it was not taken in
        assert server.ask(ASKED).predictions == good, name
    assert _drips(server) == 408
    assert server.ask(ASKED).predictions == good
    assert server.call("/invocations", b"{}", JSON).status == 401
    assert server.megabytes_at_most() - before < 64


def _drips(server: Served) -> int:
    """A client that sends a byte now and then of a body that would be right."""
    body = json.dumps({"inputs": [ASKED]}).encode()

    def parts() -> Iterator[bytes]:
        yield server.head(f"content-length: {len(body)}")
        for byte in body:
            yield bytes([byte])
            time.sleep(0.1)

    return status_of(by_hand(server.port, parts())[0])


def test_requests_out_of_bounds_are_refused_with_the_limit_and_others_answered(server: Served) -> None:
    for asked, limit in (
        ({"n": 10**9}, "inputs.0.n: Input should be less than or equal to 1000"),
        ({"n": -5}, "inputs.0.n: Input should be greater than or equal to 1"),
        ({"steps": 0}, "inputs.0.steps: Input should be greater than or equal to 1"),
        ({"number": 5}, "inputs.0.number: Extra inputs are not permitted"),
        ({"n": 1000, "steps": 250}, "4.05 times what one answer may cost"),
        ({"atoms": 999}, "this model was trained on up to 9; ask for 1 to 36"),
    ):
        found = server.ask(asked)
        assert found.status == 422
        assert limit in found.message
    assert server.ask(ASKED).status == 200


def test_requests_at_once_get_the_bits_of_one_after_the_other(server: Served) -> None:
    asked = [{"n": 1, "seed": seed, "steps": 1} for seed in range(4)]
    alone = [server.ask(one).predictions for one in asked]
    with ThreadPoolExecutor(4) as pool:
        assert [reply.predictions for reply in pool.map(server.ask, asked)] == alone
    assert server.ask(*asked).predictions == [one[0] for one in alone]


def test_what_cannot_be_served_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "token").write_text("short")
    for arguments, message in (
        (["qm9", "--token-file", "token"], "error: token: a token has 16 to 1000 visible ASCII characters"),
        (["qm8"], "no model 'qm8'; did you mean 'qm9'"),
        (["models:/qm9@champion"], "there is no such store"),
    ):
        done = CliRunner().invoke(app, ["models", "serve", *arguments])
        assert (done.exit_code, done.stdout) == (2, "")
        assert message in done.stderr


def test_sigterm_ends_it_with_143(server: Served) -> None:  # the last: the server is everybody's
    assert server.stop() == 143
