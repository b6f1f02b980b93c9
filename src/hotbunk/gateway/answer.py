"""One answer to one request: its choices as they grow, and the objects of the OpenAI API made of them."""

import asyncio
import time
import uuid
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Literal

from hotbunk.errors import BadRequest, Overloaded
from hotbunk.gateway.backend import Backend
from hotbunk.gateway.intake import Order
from hotbunk.gateway.shapes import Shape
from hotbunk.gateway.text import Delta, Writer
from hotbunk.llama.vocab import Vocab
from hotbunk.runtime.job import Generation, Timings

Outcome = Literal["stop", "length", "error", "disconnected"]


class Choice:
    """One of the answers asked for: a generation and the text made of it."""

    def __init__(self, index: int, prompt: int, generation: Generation, writer: Writer) -> None:
        """``prompt`` is the number of tokens in the prompt."""
        self.index = index
        self.prompt = prompt
        self.writer = writer
        self.outcome: Outcome = "disconnected"  # until it comes to another end
        self._generation = generation
        self._started = time.perf_counter()
        self._elapsed: float | None = None

    @property
    def timings(self) -> Timings:
        """Where the time went."""
        return self._generation.timings

    @property
    def total(self) -> float:
        """Seconds from submission to the end; 0 before it."""
        return self.timings.total or self._elapsed or 0.0

    async def deltas(self) -> AsyncGenerator[Delta, None]:
        """The text as it comes; at the end ``outcome`` is set.

        Raises:
            EngineError: it cannot be finished.
        """
        try:
            async for tokens in self._generation:
                delta = self.writer.feed(tokens)
                if self.writer.stopped:
                    self._generation.cancel()
                if delta.text or delta.tokens:
                    yield delta
                if self.writer.stopped:
                    break
        except Exception:
            self.outcome = "error"
            raise
        finally:
            self.cancel()
        last = self.writer.close()
        self.outcome = "stop" if self.writer.stopped else self._generation.finish_reason or "stop"
        if last.text or last.tokens:
            yield last

    def cancel(self) -> None:
        """Stop generating; harmless when it is over."""
        self._generation.cancel()
        if self._elapsed is None:
            self._elapsed = time.perf_counter() - self._started


@dataclass(slots=True)
class Answer:
    """All choices of one request, under one id."""

    model: str
    shape: Shape
    order: Order
    choices: list[Choice]
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    created: int = field(default_factory=lambda: int(time.time()))

    def cancel(self) -> None:
        """Stop all that still runs."""
        for choice in self.choices:
            choice.cancel()

    async def whole(self) -> dict[str, Any]:
        """The answer once all choices are complete.

        Raises:
            EngineError: one of them cannot be finished.
        """
        parts: list[list[Delta]] = [[] for _ in self.choices]
        async with aclosing(_merge(self.choices)) as deltas:
            async for choice, delta in deltas:
                if delta is not None:
                    parts[choice.index].append(delta)
        choices = [self._complete(choice, parts[choice.index]) for choice in self.choices]
        return self._object(self.shape.whole, choices) | {"usage": self._usage(), "timings": self._timings()}

    async def chunks(self, usage: bool) -> AsyncGenerator[dict[str, Any], None]:
        """The answer in chunks as it grows; the last one carries timings, and usage if asked for.

        Raises:
            EngineError: one of the choices cannot be finished.
        """
        for choice in self.choices:
            opening = self.shape.opening(self.order.prefix[choice.index])
            if opening is not None:
                yield self._chunk(choice.index, opening, None, None)
        left = len(self.choices)
        async with aclosing(_merge(self.choices)) as deltas:
            async for choice, delta in deltas:
                if delta is not None:
                    yield self._chunk(choice.index, self.shape.piece(delta.text), self.shape.logprobs(delta), None)
                    continue
                left -= 1
                last = self._chunk(choice.index, self.shape.piece(""), None, choice.outcome)
                yield last if left or usage else last | {"timings": self._timings()}
        if usage:
            yield self._object(self.shape.chunk, []) | {"usage": self._usage(), "timings": self._timings()}

    def _complete(self, choice: Choice, parts: list[Delta]) -> dict[str, Any]:
        text = self.order.prefix[choice.index] + "".join(part.text for part in parts)
        logprobs = self.shape.logprobs(Delta(text, [each for part in parts for each in part.tokens]))
        return {"index": choice.index, **self.shape.message(text), "logprobs": logprobs} | _finish(choice.outcome)

    def _chunk(self, index: int, body: dict[str, Any], logprobs: Any, reason: str | None) -> dict[str, Any]:
        return self._object(self.shape.chunk, [{"index": index, **body, "logprobs": logprobs} | _finish(reason)])

    def _object(self, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": f"{self.shape.prefix}-{self.id}",
            "object": kind,
            "created": self.created,
            "model": self.model,
            "choices": choices,
        }

    def _usage(self) -> dict[str, int]:
        made, given = sum(choice.writer.count for choice in self.choices), self.order.prompt_tokens
        return {"prompt_tokens": given, "completion_tokens": made, "total_tokens": given + made}

    def _timings(self) -> dict[str, float | None]:
        # of several choices the one that took longest: it is what the client waited for
        slowest = max(self.choices, key=lambda choice: choice.total)
        return _milliseconds(slowest)


def begin(backend: Backend, model: str, order: Order, shape: Shape, vocab: Vocab) -> Answer:
    """Submit all jobs of an order, or none.

    Raises:
        Overloaded, UnusableModel, BadRequest: as ``Backend.submit`` does.
        BadRequest: the order alone is more than can be admitted, so that it is no use to come back with it.
    """
    choices: list[Choice] = []
    try:
        for index, job in enumerate(order.jobs):
            writer = Writer(vocab.piece, order.stops)
            choices.append(Choice(index, len(job.prompt), backend.submit(job), writer))
    except BaseException as error:
        for choice in choices:
            choice.cancel()
        if isinstance(error, Overloaded) and choices and error.present == len(choices):
            most = (
                f"of {len(order.jobs)} choices only {len(choices)} can be admitted, though there is nothing else to do"
            )
            raise BadRequest(f"{most}; ask for fewer at a time ({error})", order.param) from error
        raise
    return Answer(model, shape, order, choices)


async def _merge(choices: list[Choice]) -> AsyncGenerator[tuple[Choice, Delta | None], None]:
    """All choices' deltas in the order they come, and None at the end of each choice."""
    if len(choices) == 1:  # the usual case needs no tasks
        async with aclosing(choices[0].deltas()) as deltas:
            async for delta in deltas:
                yield choices[0], delta
        yield choices[0], None
        return
    queue: asyncio.Queue[tuple[Choice, Delta | Exception | None]] = asyncio.Queue()
    tasks = [asyncio.create_task(_pump(choice, queue.put_nowait)) for choice in choices]
    try:
        left = len(choices)
        while left:
            choice, item = await queue.get()
            if isinstance(item, Exception):
                raise item
            left -= item is None
            yield choice, item
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _pump(choice: Choice, put: Callable[[tuple[Choice, Delta | Exception | None]], None]) -> None:
    try:
        async for delta in choice.deltas():
            put((choice, delta))
        put((choice, None))
    except Exception as error:  # raised again where the queue is read
        put((choice, error))


def _finish(reason: str | None) -> dict[str, str | None]:
    return {"finish_reason": reason}


def _milliseconds(choice: Choice) -> dict[str, float | None]:
    timings = choice.timings
    spans = {
        "queued_ms": timings.queued,
        "loading_ms": timings.loading,
        "prefill_ms": timings.prefill,
        "decode_ms": timings.decode,
        "preempted_ms": timings.preempted,
        "ttft_ms": timings.first_token,
        "total_ms": choice.total,
    }
    return {
        **{name: None if seconds is None else round(1000 * seconds, 3) for name, seconds in spans.items()},
        "preemptions": timings.preemptions,
        "recoveries": timings.recoveries,
        "prompt_n": choice.prompt,
        "prompt_per_second": _rate(choice.prompt, timings.prefill),
        "predicted_n": choice.writer.count,
        "predicted_per_second": _rate(choice.writer.count, timings.decode),
    }


def _rate(count: int, seconds: float) -> float | None:
    return round(count / seconds, 3) if seconds else None
