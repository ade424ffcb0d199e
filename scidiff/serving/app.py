"""A service over HTTP, with the protocol of MLflow's scoring server.

    POST /invocations   {"inputs": [REQUEST, ...]} is answered {"predictions": [[ROW, ...], ...]}: a list of rows for each request
    GET  /ping          200 as long as the server lives; /health is the same
    GET  /version       the version of scidiff

400 is no JSON, 415 another content type, 422 a request out of bounds (all its faults, or the first of a long list) or one that asks for
more than one call may.
"""

from __future__ import annotations

import asyncio
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pydantic import BaseModel, Field, TypeAdapter, ValidationError, create_model
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from scidiff import __version__
from scidiff.config import Config
from scidiff.domain import Service
from scidiff.errors import UserError
from scidiff.serving.answers import MAX_INPUTS, answer_all
from scidiff.serving.guard import Refusal, refusal_body
from scidiff.serving.limits import Limits

__all__ = ["application"]

MAX_FAULTS, MAX_SHOWN = 10, 300


class Stopped(Exception):
    """Nobody waits for the answer any more."""


def application(service: Service, limits: Limits) -> Starlette:
    """The ASGI application; put a :class:`~scidiff.serving.guard.Guard` in front of it."""
    answering = _Answering(service, limits)
    routes = [
        Route("/invocations", answering.invocations, methods=["POST"]),
        Route("/ping", _ping),
        Route("/health", _ping),
        Route("/version", _version),
    ]
    return Starlette(routes=routes, exception_handlers={Refusal: _refused, 500: _failed})


async def _ping(request: Request) -> Response:
    return PlainTextResponse("\n")


async def _version(request: Request) -> Response:
    return PlainTextResponse(__version__)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    return Response(refusal_body(error.status, str(error)), error.status, media_type="application/json")


async def _failed(request: Request, error: Exception) -> Response:
    """A fault of ours: its traceback goes to the log, and not to the client."""
    return Response(refusal_body(500, "the server failed; its log says why"), 500, media_type="application/json")


class _Answering:
    """Answers requests, so many at once, in threads; one whose client has left, or whose time is over, is stopped at its next row."""

    def __init__(self, service: Service, limits: Limits) -> None:
        self._service = service
        self._threads = ThreadPoolExecutor(limits.concurrent, thread_name_prefix="scidiff-answer")
        inputs: Any = (list[service.request_type()], Field(min_length=1, max_length=MAX_INPUTS))
        self._body: TypeAdapter[BaseModel] = TypeAdapter(create_model("Body", __base__=Config, inputs=inputs))

    async def invocations(self, request: Request) -> Response:
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise Refusal(415, f"the content type {kind!r} is not taken: send application/json")
        body = await request.body()
        stop = threading.Event()
        work = asyncio.get_running_loop().run_in_executor(self._threads, self._compute, body, stop)
        leaving = asyncio.ensure_future(_left(request))
        try:
            await asyncio.wait({work, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                raise Refusal(400, "the client has left")
            return Response(await work, media_type="application/json")
        finally:
            stop.set()
            leaving.cancel()
            work.cancel()

    def _compute(self, body: bytes, stop: threading.Event) -> bytes:
        try:
            requests = self._body.validate_json(body)
            answers = answer_all(self._service, getattr(requests, "inputs"))  # noqa: B009 - a model made at run time
            predictions: list[list[dict[str, Any]]] = []
            for answer in answers:
                rows: list[dict[str, Any]] = []
                for row in answer.rows:
                    if stop.is_set():
                        raise Stopped
                    rows.append(row)
                predictions.append(rows)
        except ValidationError as error:
            raise _of_faults(error) from error
        except UserError as error:
            raise Refusal(422, str(error)) from error
        return json.dumps({"predictions": predictions}, allow_nan=False).encode()


def _of_faults(error: ValidationError) -> Refusal:
    faults = error.errors(include_url=False, include_input=False, include_context=False)
    if faults[0]["type"] == "json_invalid":
        return Refusal(400, f"no JSON: {faults[0]['msg']}"[:MAX_SHOWN])
    lines = [f"{'.'.join(map(str, fault['loc']))[:MAX_SHOWN] or 'body'}: {fault['msg'][:MAX_SHOWN]}" for fault in faults[:MAX_FAULTS]]
    more = [f"and {len(faults) - MAX_FAULTS} more"] if len(faults) > MAX_FAULTS else []
    return Refusal(422, "; ".join([*lines, *more]))


async def _left(request: Request) -> None:
    """Ends when the client has left."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
