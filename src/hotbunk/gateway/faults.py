"""Errors in OpenAI's form, each with its HTTP status."""

import logging
import math
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import msgspec
from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from hotbunk.errors import BadRequest, EngineError, HotbunkError, Overloaded, UnknownModel, UnusableModel

log = logging.getLogger("hotbunk.gateway")

_FORESEEN = (HotbunkError, HTTPException, ClientDisconnect)

CLOSED = 499
"""The status of an answer that nobody reads, since the client went away; for the log and the metrics."""


class TooLarge(BadRequest):
    """The body is longer than any request may be."""


class Foreign(HotbunkError):
    """A page of another origin asks, and was not allowed to."""

    def __init__(self, origin: str) -> None:
        super().__init__(
            f"pages of {origin} may not ask this server; allow them with --cors-origins {origin}, "
            "or with cors_origins in the configuration file"
        )


class Stopping(HotbunkError):
    """The server ends before the answer is complete."""

    def __init__(self) -> None:
        super().__init__("the server is stopping; ask again when it is back")


def status(error: Exception) -> int:
    """The HTTP status of an error."""
    match error:
        case TooLarge():
            return 413
        case BadRequest():
            return 400
        case Foreign():
            return 403
        case UnknownModel():
            return 404
        case Overloaded():
            return 429
        case UnusableModel() | Stopping():
            return 503
        case HTTPException():
            return error.status_code
        case ClientDisconnect():
            return CLOSED
        case _:
            return 500


def body(error: Exception) -> dict[str, Any]:
    """The error as OpenAI's clients expect it."""
    match error:
        case BadRequest():
            return _body(str(error), "invalid_request_error", error.param, error.code)
        case Foreign():
            return _body(str(error), "invalid_request_error", None, "origin_not_allowed")
        case UnknownModel():
            return _body(str(error), "invalid_request_error", "model", "model_not_found")
        case Overloaded():
            return _body(str(error), "rate_limit_error", None, "overloaded")
        case UnusableModel():
            return _body(str(error), "server_error", "model", "model_unusable")
        case EngineError():
            return _body(str(error), "server_error", None, "engine_error")
        case HotbunkError():
            return _body(str(error), "server_error")
        case HTTPException():
            return _body(error.detail, "invalid_request_error", None, HTTPStatus(error.status_code).name.lower())
        case _:
            # what went wrong inside is for the log, not for the client
            return _body("internal error; the server's log says more", "server_error", None, "internal_error")


def install(app: FastAPI, refused: Callable[[int], None]) -> None:
    """Answer every error of ``app`` in this form; ``refused`` is told the status."""

    async def answer(request: Request, error: Exception) -> Response:
        code = status(error)
        refused(code)
        headers = dict(getattr(error, "headers", None) or {})
        if isinstance(error, Overloaded):
            headers["Retry-After"] = str(max(1, math.ceil(error.retry_after)))
        if not isinstance(error, _FORESEEN):
            # it is raised again for the server's log, and then the server closes the connection: a next request that
            # is on its way by then must not be lost with it
            headers["Connection"] = "close"
        if isinstance(error, HTTPException):
            error.detail = _route(request, error)
        content = msgspec.json.encode(body(error))
        return Response(content, code, headers, media_type="application/json")

    for kind in (*_FORESEEN, Exception):
        app.add_exception_handler(kind, answer)


def _route(request: Request, error: HTTPException) -> str:
    what = {404: "there is no such route", 405: "this route does not take that method"}.get(error.status_code)
    return f"{what}: {request.method} {request.url.path}" if what else error.detail


def _body(message: str, kind: str, param: str | None = None, code: str | None = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}
