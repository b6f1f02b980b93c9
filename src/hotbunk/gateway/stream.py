"""Server-sent events, and work that ends when its client goes away or the server stops."""

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from contextlib import aclosing
from typing import Any, TypeVar

import msgspec
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from hotbunk.gateway.faults import Stopping, body

T = TypeVar("T")


class Disconnected(Exception):
    """The client went away before its answer was complete."""


async def while_wanted(stopping: asyncio.Event, work: Coroutine[Any, Any, T], receive: Receive | None = None) -> T:
    """Do ``work``, but cancel it as soon as the server stops, or its client disconnects.

    With ``receive`` the request's body must have been read; without, ``work`` hears itself that the client went away.

    Raises:
        Disconnected: the client went away first.
        Stopping: the server stopped first.
    """
    task, stop = asyncio.create_task(work), asyncio.create_task(stopping.wait())
    gone = [asyncio.create_task(_gone(receive))] if receive else []
    try:
        await asyncio.wait([task, stop, *gone], return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise Disconnected if any(each.done() for each in gone) else Stopping
    finally:
        for each in (task, stop, *gone):
            each.cancel()
        await asyncio.gather(task, stop, *gone, return_exceptions=True)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class EventStream(Response):
    """Sends events as they come; ends at once when the client disconnects, and with an error when the server stops."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncGenerator[bytes, None], stopping: asyncio.Event) -> None:
        """``events`` are the data of each event, on one line."""
        super().__init__(headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._events, self._stopping = events, stopping

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve it, as ASGI has it."""
        async with aclosing(self._events):
            try:
                await while_wanted(self._stopping, self._send(send), receive)
            except Disconnected:
                return
            except Stopping as error:
                await send(_event(msgspec.json.encode(body(error)), more=False))

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async for event in self._events:
            await send(_event(event, more=True))
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def _event(data: bytes, *, more: bool) -> Message:
    return {"type": "http.response.body", "body": b"data: " + data + b"\n\n", "more_body": more}
