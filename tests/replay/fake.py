"""A small server that speaks the OpenAI API, and does with each request what its model's name says."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from hotbunk.gateway.server import address, bind

MODELS = ("good", "busy", "down", "broken", "wordy", "short", "cut", "silent", "endless")


class Fake:
    """Keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.endless = threading.Event()
        """An answer without end has begun."""

    @property
    def app(self) -> Starlette:
        return Starlette(
            routes=[Route("/v1/models", self.models), Route("/v1/completions", self.complete, methods=["POST"])]
        )

    async def models(self, request: Request) -> Response:
        return JSONResponse({"data": [{"id": model} for model in MODELS]})

    async def complete(self, request: Request) -> Response:
        body = await request.json()
        self.asked.append(body | {"key": request.headers.get("authorization")})
        match body["model"]:
            case "busy":
                return _error(429, "come back later", "overloaded")
            case "down":
                return Response("no upstream", 503)
            case "broken":
                return _error(500, "it fell over", "engine_error")
            case "short":
                return _error(400, "too long", "context_length_exceeded")
            case "wordy" if not isinstance(body["prompt"], str):
                return _error(422, "a prompt is a string", "")
            case _:
                return StreamingResponse(self._stream(body), media_type="text/event-stream")

    async def _stream(self, body: dict[str, Any]) -> AsyncIterator[str]:
        for n in range(body["max_tokens"]):
            yield _event(choices=[{"index": 0, "text": "" if body["model"] == "silent" else f" {n}"}])
            if body["model"] == "cut":
                yield _event(error={"message": "the worker was lost", "code": "engine_error"})
                return
            if body["model"] == "endless":
                self.endless.set()
                await asyncio.sleep(60)
        yield _event(choices=[{"index": 0, "text": "", "finish_reason": "length"}])
        yield _event(choices=[], usage={"completion_tokens": body["max_tokens"]})
        yield "data: [DONE]\n\n"


@contextmanager
def served(app: Starlette) -> Iterator[str]:
    """An application, in a thread; its address."""
    with bind("127.0.0.1", 0) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=1))
        thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])))
        thread.start()
        try:
            yield address(listener)
        finally:
            server.should_exit = True
            thread.join()


def _event(**chunk: Any) -> str:
    return f"data: {json.dumps(chunk)}\n\n"


def _error(status: int, message: str, code: str) -> Response:
    return JSONResponse({"error": {"message": message, "type": "error", "code": code}}, status)
