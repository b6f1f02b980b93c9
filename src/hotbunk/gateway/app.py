"""The HTTP application: the OpenAI API, the admin API, health and metrics."""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection
from contextlib import aclosing, asynccontextmanager
from typing import Any

import msgspec
from fastapi import Depends, FastAPI, Request, Response
from starlette.middleware.cors import CORSMiddleware

from hotbunk.errors import HotbunkError
from hotbunk.gateway import faults, intake, schema
from hotbunk.gateway.answer import Answer, begin
from hotbunk.gateway.backend import Backend
from hotbunk.gateway.intake import Order
from hotbunk.gateway.lexicon import Lexicon, Lexicons
from hotbunk.gateway.metrics import MEDIA_TYPE, Metrics
from hotbunk.gateway.shapes import Chat, Completion
from hotbunk.gateway.stream import Disconnected, EventStream, while_wanted
from hotbunk.runtime.job import ModelInfo

log = logging.getLogger("hotbunk.gateway")

LARGEST_BODY = 32 << 20
"""Bytes of the longest request that is read."""
_READ = ["GET", "HEAD"]
_SHORT = 4096  # bytes of a body whose text is dealt with at once: a thread would cost more than the work


class Gateway:
    """What the routes share: the backend, the lexicons and the metrics; once ``stopping`` is set, all answers end."""

    def __init__(self, backend: Backend) -> None:
        """Serve what ``backend`` has."""
        self.backend = backend
        self.lexicons = Lexicons()
        self.metrics = Metrics(backend.state)
        self.stopping = asyncio.Event()

    async def chat(self, request: Request) -> Response:
        """``POST /v1/chat/completions``."""
        body = await self.read(request)
        ask = schema.parse(schema.ChatRequest, body)
        info = self.backend.resolve(ask.model)
        lexicon, order = await self._order(ask, body, info, lambda lexicon: intake.chat(ask, info, lexicon))
        shape = Chat(lexicon.vocab, bool(ask.logprobs))
        return await self._respond(request, ask, begin(self.backend, info.id, order, shape, lexicon.vocab))

    async def completion(self, request: Request) -> Response:
        """``POST /v1/completions``."""
        body = await self.read(request)
        ask = schema.parse(schema.CompletionRequest, body)
        info = self.backend.resolve(ask.model)
        lexicon, order = await self._order(ask, body, info, lambda lexicon: intake.completion(ask, info, lexicon))
        shape = Completion(lexicon.vocab, ask.logprobs is not None)
        return await self._respond(request, ask, begin(self.backend, info.id, order, shape, lexicon.vocab))

    async def read(self, request: Request) -> bytes:
        """The body, which may never be complete.

        Raises:
            TooLarge: it is longer than any request may be.
            Stopping: the server stops before it is there.
        """
        return await while_wanted(self.stopping, _body(request))

    async def _order(
        self, ask: schema.Request, body: bytes, info: ModelInfo, make: Callable[[Lexicon], Order]
    ) -> tuple[Lexicon, Order]:
        """Prepare the prompt; where that takes a while, the model may be on its way to the device meanwhile."""
        if len(body) <= _SHORT and not ask.constrained:  # a few bytes of grammar can take long
            lexicon = await self.lexicons.get(info)
            return lexicon, make(lexicon)
        self.backend.expect(info.id)
        lexicon = await self.lexicons.get(info)
        return lexicon, await self.lexicons.aside(lambda: make(lexicon))

    async def _respond(self, request: Request, ask: schema.Request, answer: Answer) -> Response:
        if ask.stream:
            return EventStream(self._events(answer, ask.wants_usage), self.stopping)
        try:
            return _json(await while_wanted(self.stopping, answer.whole(), request.receive))
        except Disconnected:
            return Response(status_code=faults.CLOSED)
        finally:
            self._end(answer)

    async def _events(self, answer: Answer, usage: bool) -> AsyncGenerator[bytes, None]:
        try:
            async with aclosing(answer.chunks(usage)) as chunks:
                async for chunk in chunks:
                    yield msgspec.json.encode(chunk)
            yield b"[DONE]"
        except Exception as error:  # the status is sent already: the error has to go into the stream
            if not isinstance(error, HotbunkError):
                log.exception("an answer of model %s broke off", answer.model)
            yield msgspec.json.encode(faults.body(error))
        finally:
            self._end(answer)

    def _end(self, answer: Answer) -> None:
        answer.cancel()
        for choice in answer.choices:
            self.metrics.ended(answer.model, choice)


def build(gateway: Gateway, origins: Collection[str] = ()) -> FastAPI:
    """The application around a gateway, which it closes when it shuts down.

    Pages of other ``origins`` than the server's own and these may not ask it for anything; ``*`` allows all.
    """

    async def own(request: Request) -> None:
        # a page is not let read what it gets from elsewhere, but its browser sends a plain POST all the same
        here = f"{request.url.scheme}://{request.headers.get('host')}"
        origin = request.headers.get("origin", here)
        if request.method == "POST" and origin not in (here, *origins) and "*" not in origins:
            raise faults.Foreign(origin)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        gateway.lexicons.close()

    app = FastAPI(
        title="hotbunk", docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan, dependencies=[Depends(own)]
    )
    app.add_middleware(
        CORSMiddleware,
        allow_origins=origins,
        allow_methods=[*_READ, "POST"],
        allow_headers=["*"],
        expose_headers=["Retry-After"],
    )
    app.add_api_route("/v1/chat/completions", gateway.chat, methods=["POST"], response_model=None)
    app.add_api_route("/v1/completions", gateway.completion, methods=["POST"], response_model=None)
    _add_models(app, gateway.backend)
    _add_admin(app, gateway)
    faults.install(app, gateway.metrics.refused)
    return app


def _add_models(app: FastAPI, backend: Backend) -> None:
    @app.api_route("/v1/models", methods=_READ)
    async def models() -> Response:
        return _json({"object": "list", "data": [_model(info) for info in backend.models()]})

    @app.api_route("/v1/models/{name:path}", methods=_READ)
    async def model(name: str) -> Response:
        # an unusable one is shown too, with its problem
        found = (info for info in backend.models() if name == info.id or name in info.alias)
        return _json(_model(next(found, None) or backend.resolve(name)))


def _add_admin(app: FastAPI, gateway: Gateway) -> None:
    backend = gateway.backend

    @app.api_route("/healthz", methods=_READ)
    async def health() -> Response:
        return _json({"status": "ok"})

    @app.api_route("/metrics", methods=_READ)
    async def metrics() -> Response:
        return Response(gateway.metrics.render(), media_type=MEDIA_TYPE)

    @app.api_route("/api/state", methods=_READ)
    async def state() -> Response:
        return _json(backend.state())

    @app.post("/api/models/{name:path}/load")
    async def load(name: str, request: Request) -> Response:
        ask = schema.parse(schema.LoadRequest, await gateway.read(request) or b"{}")
        return _json(await backend.load(name, ask.layers))

    @app.post("/api/models/{name:path}/unload")
    async def unload(name: str) -> Response:
        return _json(await backend.unload(backend.resolve(name).id))


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > LARGEST_BODY:
            raise faults.TooLarge(f"the body is longer than {LARGEST_BODY} bytes; shorten the request")
    return bytes(body)


def _model(info: ModelInfo) -> dict[str, Any]:
    extra = {"context": info.context, "alias": info.alias, "problem": info.problem}
    return {"id": info.id, "object": "model", "created": info.created, "owned_by": "hotbunk", **extra}


def _json(value: Any) -> Response:
    return Response(msgspec.json.encode(value), media_type="application/json")
