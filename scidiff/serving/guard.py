"""A guard in front of any ASGI application: a token, and bounds on body, queue and time, told by status.

    401  no token, or another                          408  the body does not come within its time
    413  the body is larger than allowed               429  as many requests as may wait are waiting
    415  the body is compressed                        504  the answer was not there within its time

The token is asked for first, before a byte of the body is read; the declared length is looked at next; then the body is counted as it
comes, so a false or absent length gains nothing. A refused client is sent its status at once, and what it still sends is thrown away for a
moment, so that it can read the status before the connection ends. ``/ping`` and ``/health`` say no more than that the server lives, and
need no token.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from collections.abc import Awaitable, Callable, MutableMapping
from http import HTTPStatus
from typing import Any

from scidiff.serving.limits import Limits

__all__ = ["Guard", "Refusal", "refusal_body"]

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

OPEN = {"/ping", "/health"}
LINGER_SECONDS, LINGER_BYTES = 2.0, 64 * 2**20


class Refusal(Exception):
    """A request that is not answered: the status, and why."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def refusal_body(status: int, message: str) -> bytes:
    """As MLflow's server words its errors."""
    return json.dumps({"error_code": HTTPStatus(status).name, "message": message}).encode()


class Guard:
    """Implements ASGI around ``app``. Every answer ends its connection."""

    def __init__(self, app: Application, token: str, limits: Limits) -> None:
        self.app, self.limits = app, limits
        self._digest = hashlib.sha256(token.encode()).digest()
        self._inside = 0

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise RuntimeError(f"{scope['type']} is not served")
        headers = {bytes(name).lower(): bytes(value) for name, value in scope["headers"]}
        response = _Response(send)
        try:
            await self._guarded(scope, headers, receive, response)
        except Refusal as refusal:
            await response.refuse(refusal)
            if headers.get(b"expect", b"").lower() != b"100-continue":  # which waits to be asked, and has sent nothing
                await _discard(receive)
            await response.end()

    async def _guarded(self, scope: MutableMapping[str, Any], headers: dict[bytes, bytes], receive: Receive, response: _Response) -> None:
        if scope["path"] in OPEN:
            await self.app(scope, _Replay(b"", receive), response.send)
            return
        self._authorise(headers)
        self._check_declared(headers)
        if self._inside >= self.limits.concurrent + self.limits.queue:
            raise Refusal(429, f"{self._inside} requests are being answered or wait; try again later")
        self._inside += 1
        try:
            body = await self._read(receive)
            await self._answer(scope, _Replay(body, receive), response)
        finally:
            self._inside -= 1

    def _authorise(self, headers: dict[bytes, bytes]) -> None:
        scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
        given = hashlib.sha256(token.strip()).digest()
        if not hmac.compare_digest(given, self._digest) or scheme.lower() != b"bearer":
            raise Refusal(401, "a token is needed: send the header 'Authorization: Bearer TOKEN', with the token that the server was given")

    def _check_declared(self, headers: dict[bytes, bytes]) -> None:
        if headers.get(b"content-encoding", b"identity") != b"identity":
            raise Refusal(415, "compressed bodies are not taken: send plain JSON")
        declared = headers.get(b"content-length", b"0")
        if not declared.isdigit() or len(declared) > 20 or int(declared) > self.limits.body_bytes:
            raise self._too_large()

    async def _read(self, receive: Receive) -> bytes:
        """The whole body, at most as large and as slow as allowed."""
        parts: list[bytes] = []
        size, more = 0, True
        try:
            async with asyncio.timeout(self.limits.body_seconds):
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise Refusal(400, "the client has left")
                    parts.append(message.get("body", b""))
                    size, more = size + len(parts[-1]), message.get("more_body", False)
                    if size > self.limits.body_bytes:
                        raise self._too_large()
        except TimeoutError as error:
            raise Refusal(408, f"the body was not there within {self.limits.body_seconds:g} seconds") from error
        return b"".join(parts)

    async def _answer(self, scope: MutableMapping[str, Any], receive: Receive, response: _Response) -> None:
        try:
            async with asyncio.timeout(self.limits.answer_seconds) as timeout:
                # To send it may take as long as the connection lives.
                response.on_begin = lambda: None if timeout.expired() else timeout.reschedule(None)
                await self.app(scope, receive, response.send)
        except TimeoutError as error:
            message = f"no answer within {self.limits.answer_seconds:g} seconds: ask for less at a time"
            raise Refusal(504, message) from error

    def _too_large(self) -> Refusal:
        return Refusal(413, f"the body is larger than {self.limits.body_bytes:,} bytes: send less at a time")


class _Replay:
    """Gives the application the body that was read, and then what the connection says."""

    def __init__(self, body: bytes, receive: Receive) -> None:
        self._body: bytes | None = body
        self._receive = receive

    async def __call__(self) -> Message:
        if self._body is None:
            return await self._receive()
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}


class _Response:
    """What is sent. A refusal after the application has begun to answer cannot be told any more, and ends the connection."""

    def __init__(self, send: Send) -> None:
        self._send, self._begun = send, False
        self.on_begin: Callable[[], None] = lambda: None

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._begun = True
            self.on_begin()
            message = {**message, "headers": [*message.get("headers", ()), (b"connection", b"close")]}
        await self._send(message)

    async def refuse(self, refusal: Refusal) -> None:
        """Send the whole refusal; the connection goes on until :meth:`end`."""
        if self._begun:
            raise refusal
        body = refusal_body(refusal.status, str(refusal))
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        if refusal.status == 401:
            headers.append((b"www-authenticate", b"Bearer"))
        if refusal.status == 429:
            headers.append((b"retry-after", b"5"))
        await self.send({"type": "http.response.start", "status": refusal.status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body, "more_body": True})

    async def end(self) -> None:
        await self.send({"type": "http.response.body", "body": b"", "more_body": False})


async def _discard(receive: Receive) -> None:
    """Throw away what the client still sends, for a moment: closing on unread bytes would take the answer back from it."""
    size = 0
    try:
        async with asyncio.timeout(LINGER_SECONDS):
            while size < LINGER_BYTES:
                message = await receive()
                size += len(message.get("body", b""))
                if message["type"] == "http.disconnect" or not message.get("more_body", False):
                    return
    except TimeoutError:
        return
