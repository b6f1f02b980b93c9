"""A server that speaks the OpenAI API, asked for any number of streams at once."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import httpx
import msgspec

from hotbunk.errors import ConfigError
from hotbunk.outcomes import Fate

__all__ = ["Answer", "Endpoint", "asked"]

_REFUSED = (429, 503)
_TOO_LONG = "context_length_exceeded"
_CONNECT = 30.0
"""Seconds that a connection may take; an answer may take as long as it does."""
_POOLS = 32
_LINE = b"data: "


class _Choice(msgspec.Struct):
    text: str | None = None
    finish_reason: str | None = None


class _Usage(msgspec.Struct):
    completion_tokens: int = 0


class _Chunk(msgspec.Struct):
    choices: list[_Choice] = []
    usage: _Usage | None = None
    timings: dict[str, Any] | None = None
    error: Any = None


_chunk = msgspec.json.Decoder(_Chunk)


@dataclass(slots=True)
class Answer:
    """What has come of a request so far, as its client sees it. Times are seconds of the event loop's clock.

    ``reason`` says in a few words why it was refused or failed, ``message`` in the server's own. ``timings`` are those
    of hotbunk. ``status`` is HTTP's, 0 where none came.
    """

    sent: float
    first: float | None = None
    ended: float | None = None
    tokens: int = 0
    fate: Fate = Fate.OPEN
    status: int = 0
    reason: str = ""
    message: str = ""
    timings: dict[str, Any] = field(default_factory=dict)

    def fail(self, reason: str, message: str) -> None:
        """It comes to nothing. Who has no time or no room for it has refused it; all else is a failure."""
        refused = self.status in _REFUSED or _TOO_LONG in reason
        self.fate = Fate.REFUSED if refused else Fate.FAILED
        self.reason, self.message = reason, message


def asked(model: str, prompt: list[int] | str, tokens: int) -> dict[str, Any]:
    """The body of a request for a streamed completion of so many tokens, come what may."""
    return {
        "model": model,
        "prompt": prompt,
        "max_tokens": tokens,
        "temperature": 0,
        "ignore_eos": True,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


class Endpoint:
    """One client for all requests, with as many connections as they need. To be entered before it is used."""

    def __init__(self, url: str, key: str | None = None) -> None:
        """``url`` may end in ``/v1`` or not; ``key`` is sent as a bearer's token.

        Raises:
            ConfigError: one of them cannot be.
        """
        self.url = url.rstrip("/").removesuffix("/v1")
        if odd := sorted({c for c in key or "" if not (c.isascii() and c.isprintable())}):
            raise ConfigError(f"--api-key has {', '.join(map(repr, odd))}, which no HTTP header takes; give it anew")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        timeout = httpx.Timeout(None, connect=_CONNECT)
        try:
            self._http = httpx.AsyncClient(base_url=self.url, transport=_Pools(), headers=headers, timeout=timeout)
        except httpx.InvalidURL as error:
            raise ConfigError(f"--url {url}: {error}; write it like http://127.0.0.1:8080") from error

    async def __aenter__(self) -> Self:
        await self._http.__aenter__()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType) -> None:
        await self._http.__aexit__(kind, error, at)

    async def models(self) -> list[str]:
        """The names that it knows, aliases too.

        Raises:
            ConfigError: it does not answer, or not as such a server does.
        """
        try:
            answer = await self._http.get("/v1/models")
            answer.raise_for_status()
            rows = answer.json()["data"]
            return list(dict.fromkeys(name for row in rows for name in (row["id"], *row.get("alias", ()))))
        except httpx.HTTPStatusError as error:
            raise ConfigError(f"{self.url} answers /v1/models with {error.response.status_code}; {_HINT}") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ConfigError(f"{self.url} does not answer: {str(error) or type(error).__name__}; {_HINT}") from error
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise ConfigError(f"{self.url} answers /v1/models, but not with a list of models; {_HINT}") from error

    async def state(self) -> dict[str, Any] | None:
        """What hotbunk shows of itself; None if it is another server, or does not answer."""
        try:
            answer = await self._http.get("/api/state", timeout=_CONNECT)
            state = answer.json() if answer.status_code == 200 else None
        except (httpx.HTTPError, ValueError):
            return None
        return state if isinstance(state, dict) and {"devices", "models", "counters"} <= state.keys() else None

    async def complete(self, body: dict[str, Any], answer: Answer) -> None:
        """Ask for a streamed completion; fills in ``answer`` as it comes, also what went wrong."""
        content = msgspec.json.encode(body)
        headers = {"Content-Type": "application/json"}
        try:
            async with self._http.stream("POST", "/v1/completions", content=content, headers=headers) as response:
                answer.status = response.status_code
                if response.status_code != 200:
                    _refuse(answer, await response.aread())
                    return
                async for data in _events(response):
                    _take(answer, data, asyncio.get_running_loop().time())
            _end(answer)
        except (httpx.HTTPError, msgspec.DecodeError) as error:
            answer.fail(type(error).__name__, str(error))


class _Pools(httpx.AsyncBaseTransport):
    """Many pools of connections, which take turns: what one does for each request grows with its connections squared.

    A proxy that the environment names is not used: it would take part of the time that is measured.
    """

    def __init__(self) -> None:
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
        trust = httpx.create_ssl_context()
        self._pools = [httpx.AsyncHTTPTransport(verify=trust, limits=limits) for _ in range(_POOLS)]
        self._turns = itertools.cycle(self._pools)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return await next(self._turns).handle_async_request(request)

    async def aclose(self) -> None:
        for pool in self._pools:
            await pool.aclose()


_HINT = "give the address of a running server as --url"


async def _events(response: httpx.Response) -> AsyncIterator[bytes]:
    """The data of each event; an event has one line."""
    rest = b""
    async for part in response.aiter_bytes():
        *lines, rest = (rest + part).split(b"\n")
        for line in lines:
            if line.startswith(_LINE) and not line.startswith(b"data: [DONE]"):
                yield line[len(_LINE) :]


def _take(answer: Answer, data: bytes, now: float) -> None:
    """One more chunk, which may hold text, the end, usage, timings or an error."""
    chunk = _chunk.decode(data)
    if chunk.error is not None:
        answer.fail(*_said(chunk.error, "error in the stream"))
    for choice in chunk.choices:
        if choice.text:
            answer.tokens += 1  # more or less; usage says it exactly
            answer.first = answer.first or now
        if choice.text or choice.finish_reason:
            answer.ended = now
    answer.timings = chunk.timings or answer.timings
    if chunk.usage:
        answer.tokens = chunk.usage.completion_tokens


def _end(answer: Answer) -> None:
    """The stream is over, and well if it had an end."""
    if answer.fate is not Fate.OPEN:
        answer.ended = None
    elif answer.ended is None:
        answer.fail("no answer", "the stream ended without a token")
    else:
        answer.fate = Fate.DONE
        answer.first = answer.first or answer.ended


def _refuse(answer: Answer, content: bytes) -> None:
    try:
        error = msgspec.json.decode(content)["error"]
    except (msgspec.DecodeError, LookupError, TypeError):
        error = content[:200].decode(errors="replace")
    answer.fail(*_said(error, str(answer.status)))


def _said(error: Any, what: str) -> tuple[str, str]:
    """An error of the OpenAI API in a few words, and its message."""
    if not isinstance(error, dict):
        return what, str(error)
    kind = error.get("code") or error.get("type") or ""
    return f"{what} {kind}".strip(), str(error.get("message", ""))
