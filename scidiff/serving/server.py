"""A server of one model: uvicorn around the guard around the application, on a port of its own."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from scidiff.domain import Service
from scidiff.errors import UserError
from scidiff.serving.app import application
from scidiff.serving.guard import Guard, refusal_body
from scidiff.serving.limits import Limits

__all__ = ["listening", "serve"]

MAX_HEAD = 16 * 2**10
SECONDS_TO_STOP = 5


def serve(service: Service, token: str, limits: Limits, host: str, port: int, started: Callable[[str], None]) -> None:
    """Serve until a signal ends it. ``port`` 0 takes a free one; ``started`` is told the URL as soon as clients may connect.

    Raises UserError for an address that cannot be taken.
    """
    with listening(host, port, limits.connections) as listener:
        protocol = type("Patient", (PatientProtocol,), {"limits": limits})
        config = uvicorn.Config(
            Guard(application(service, limits), token, limits),
            http=protocol,
            ws="none",
            lifespan="off",
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=limits.connections,
            h11_max_incomplete_event_size=MAX_HEAD,
            timeout_graceful_shutdown=SECONDS_TO_STOP,
        )
        address = listener.getsockname()
        shown = f"[{address[0]}]" if listener.family == socket.AF_INET6 else address[0]
        started(f"http://{shown}:{address[1]}")
        uvicorn.Server(config).run(sockets=[listener])


def listening(host: str, port: int, backlog: int) -> socket.socket:
    """A socket that clients may connect to. Raises UserError for an address that cannot be taken."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=backlog)
    except (OSError, OverflowError) as error:
        raise UserError(f"{host}:{port} cannot be listened on ({error}): choose another --host or --port (0: any free one)") from error


class PatientProtocol(H11Protocol):
    """Uvicorn's HTTP, with patience for a request's head and for a whole connection; it has none of its own for either."""

    limits: Limits

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        loop = asyncio.get_running_loop()
        self._head = loop.call_later(self.limits.head_seconds, self._late)
        self._end = loop.call_later(self.limits.lifetime, transport.abort)

    def handle_events(self) -> None:
        super().handle_events()
        if self.scope:  # there is a request
            self._head.cancel()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head.cancel()
        self._end.cancel()
        super().connection_lost(exc)

    def _late(self) -> None:
        """The head is not there: the answer is written past h11, which knows of no request yet."""
        if not self.scope and not self.transport.is_closing():
            body = refusal_body(408, f"the request's head was not there within {self.limits.head_seconds:g} seconds")
            lines = ["HTTP/1.1 408 Request Timeout", "content-type: application/json", f"content-length: {len(body)}", "connection: close"]
            self.transport.write("\r\n".join([*lines, "", ""]).encode() + body)
            self.transport.close()
