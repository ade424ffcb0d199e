"""The guard and the application behind it, on a real port, with a service that takes as long as it is told to."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.serving import JSON, TOKEN, Served, by_hand, status_of, stub
from support.stores import until

from scidiff.errors import UserError
from scidiff.serving.server import listening
from scidiff.serving.token import find_token


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One answer at a time, one waits; half a second for a request to come, two for its answer."""
    limits = {"body_bytes": 100_000, "head_seconds": 0.5, "body_seconds": 0.5, "answer_seconds": 2, "concurrent": 1, "queue": 1}
    with stub(tmp_path_factory.mktemp("stub"), **limits) as running:
        yield running


def rows(server: Served, text: str) -> int:
    """How many rows of a request have been begun."""
    path = server.log.parent / "rows.txt"
    return sum(line.startswith(f"{text} ") for line in path.read_text().splitlines()) if path.exists() else 0


def test_a_good_request_is_answered_a_list_of_rows_for_each_input(server: Served) -> None:
    found = server.ask({"rows": 2, "text": "a"}, {"text": "b"})
    assert found.predictions == [[{"row": 0, "text": "a"}, {"row": 1, "text": "a"}], [{"row": 0, "text": "b"}]]
    assert found.headers["connection"] == "close"
    assert server.call("/version").status == 200


@pytest.mark.parametrize(
    "headers",
    [{}, {"authorization": f"Bearer {TOKEN}x"}, {"authorization": TOKEN}, {"authorization": f"Basic {TOKEN}"}, {"authorization": "Bearer"}],
)
def test_without_the_token_nothing_is_told(server: Served, headers: dict[str, str]) -> None:
    for path, body in (("/invocations", b"{}"), ("/version", None), ("/nowhere", None)):
        found = server.call(path, body, headers | JSON)
        assert (found.status, found.headers["www-authenticate"]) == (401, "Bearer")
    assert server.call("/ping", headers=headers).status == 200


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (b'{"inputs": [{"rows": 1000000000}]}', 422, "inputs.0.rows: Input should be less than or equal to 1000"),
        (b'{"inputs": [{"rows": -1}]}', 422, "inputs.0.rows: Input should be greater than or equal to 1"),
        (b'{"inputs": [{"rows": 0, "sedo": 1}]}', 422, "greater than or equal to 1; inputs.0.sedo: Extra inputs are not permitted"),
        (b'{"inputs": [{"rows": 101}]}', 422, "these 1 requests cost 1.01 times what one call may"),
        (b'{"inputs": [{"rows": 60}, {"rows": 60}]}', 422, "these 2 requests cost 1.2 times what one call may"),
        (b'{"inputs": [{}, {"text": "wrong"}]}', 422, r"inputs[1]: this text is wrong: give another"),
        (b'{"inputs": []}', 422, "at least 1 item"),
        (b'{"inputs": [' + b"{}," * 10_000 + b"{}]}", 422, "at most 64 items"),
        (b'{"inputs": [{}], "params": {}}', 422, "params: Extra inputs are not permitted"),
        (b"[]", 422, "body: Input should be an object"),
        (b'{"inputs": [{"seconds": NaN}]}', 422, "finite"),
        (b"[" * 90_000, 400, "recursion"),
        (b'{"inputs": [', 400, "no JSON"),
        (b"\xff\xfe", 400, "no JSON"),
        (b"", 400, "no JSON"),
    ],
)
def test_a_request_out_of_bounds_is_refused_with_the_limit(server: Served, body: bytes, status: int, message: str) -> None:
    found = server.call("/invocations", body)
    assert found.status == status
    assert message in found.message
    assert len(found.body) < 2000


def test_another_content_type_or_a_compressed_body_is_refused(server: Served) -> None:
    assert server.call("/invocations", b"rows\n1\n", server.headers | {"content-type": "text/csv"}).status == 415
    assert server.call("/invocations", b"\x1f\x8b", server.headers | JSON | {"content-encoding": "gzip"}).status == 415
    assert server.call("/invocations").status == 405
    assert server.call("/nowhere").status == 404


def test_a_fault_of_ours_tells_the_client_nothing_and_the_log_all(server: Served) -> None:
    found = server.ask({"text": "broken"})
    assert found.status == 500
    assert b"secret" not in found.body
    until(lambda: "ValueError: a secret of ours" in server.log.read_text(), 10)


def test_more_than_may_wait_are_told_so_and_those_that_wait_are_answered(server: Served) -> None:
    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(server.ask, {"rows": 1, "seconds": 1.5, "text": "first"})
        until(lambda: rows(server, "first") == 1, 10)
        others = [pool.submit(server.ask, {"text": f"other {number}"}) for number in range(3)]
        assert server.call("/ping").status == 200
        found = sorted((other.result() for other in others), key=lambda reply: reply.status)
        assert [reply.status for reply in (first.result(), *found)] == [200, 200, 429, 429]
        assert found[-1].headers["retry-after"] == "5"
    assert server.ask({}).status == 200


def test_an_answer_that_takes_too_long_is_stopped(server: Served) -> None:
    found = server.ask({"rows": 100, "seconds": 0.1, "text": "long"})
    assert found.status == 504
    assert "no answer within 2 seconds" in found.message
    assert server.ask({}).status == 200
    assert rows(server, "long") < 50


def test_work_is_stopped_when_its_client_leaves(server: Served) -> None:
    body = json.dumps({"inputs": [{"rows": 100, "seconds": 0.05, "text": "left"}]}).encode()
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(server.head(f"content-length: {len(body)}") + body)
        until(lambda: rows(server, "left") >= 1, 10)
    assert server.ask({}).status == 200  # there is one thread: it is free again
    assert rows(server, "left") < 40


@pytest.mark.parametrize("kind", ["nothing", "head", "body", "short", "chunks"])
def test_a_client_that_drips_is_cut_off(server: Served, kind: str) -> None:
    whole = {
        "nothing": b"",
        "head": server.head("x-long: " + "x" * 1000),
        "body": server.head("content-length: 5000") + b" " * 5000,
        "short": server.head("content-length: 5000") + b"{}",
        "chunks": server.head("transfer-encoding: chunked") + b"1\r\n \r\n" * 5000,
    }[kind]
    begin = 0 if kind == "head" else whole.find(b"\r\n\r\n") + 4

    def drip() -> Iterator[bytes]:
        yield whole[:begin]
        for place in range(begin, min(len(whole), begin + 400)):
            yield whole[place : place + 1]
            time.sleep(0.01)

    answer, _ = by_hand(server.port, drip())
    assert status_of(answer) == 408
    assert server.ask({}).status == 200


def test_a_head_that_does_not_end_is_refused(server: Served) -> None:
    assert status_of(by_hand(server.port, [b"POST / HTTP/1.1\r\nx: " + b"x" * 100_000])[0]) in (400, 408)
    assert status_of(by_hand(server.port, [server.head("content-length: -5")])[0]) == 400
    assert status_of(by_hand(server.port, [server.head("content-length: 5", "content-length: 500000000")])[0]) == 400
    assert server.ask({}).status == 200


def test_a_client_that_expects_to_be_asked_is_refused_before_it_sends(server: Served) -> None:
    answer, sent = by_hand(server.port, [server.head("content-length: 1000000000", "expect: 100-continue")])
    assert status_of(answer) == 413
    assert sent < 1000


def test_sigterm_ends_it_at_once_with_its_own_status_also_in_an_answer(tmp_path: Path) -> None:
    with stub(tmp_path) as running, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(running.ask, {"rows": 100, "seconds": 0.3, "text": "cut"})
        until(lambda: rows(running, "cut") >= 1, 20)
        assert running.stop() == -signal.SIGTERM
        with contextlib.suppress(OSError, http.client.HTTPException):
            assert waiting.result().status != 200
    assert rows(running, "cut") < 60


def test_a_token_comes_from_a_file_the_environment_or_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "token"
    path.write_text(f"{TOKEN}\n")
    assert find_token(path) == (TOKEN, False)
    monkeypatch.setenv("SCIDIFF_TOKEN", TOKEN[::-1])
    assert find_token(None) == (TOKEN[::-1], False)
    monkeypatch.delenv("SCIDIFF_TOKEN")
    (first, made), (second, _) = find_token(None), find_token(None)
    assert made
    assert len(first) >= 40
    assert first != second
    for wrong in ("short", "x" * 2000, "sixteen letters and spaces", ""):
        path.write_text(wrong)
        with pytest.raises(UserError, match="a token has 16 to 1000 visible"):
            find_token(path)
    path.write_bytes(os.urandom(64) + b"\xff")
    with pytest.raises(UserError, match="cannot be read"):
        find_token(path)
    with pytest.raises(UserError, match="cannot be read"):
        find_token(tmp_path / "absent")


def test_an_address_that_is_taken_is_told(server: Served) -> None:
    for host, port in (("127.0.0.1", server.port), ("no.such.host.invalid", 0)):
        with pytest.raises(UserError, match=rf"{host}:{port} cannot be listened on .*choose another --host or --port"):
            listening(host, port, 1)
