"""A job on its way: what the gateway iterates over, and what the driver needs to begin it anew after a loss."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from time import monotonic

from hotbunk.errors import EngineError
from hotbunk.runtime.job import FinishReason, Job, Timings
from hotbunk.worker.protocol import Ended, Start, Token


class LiveGeneration:
    """One sequence and its tokens so far. ``working`` is whether a worker has it."""

    def __init__(self, number: int, job: Job, on_cancel: Callable[[LiveGeneration], None]) -> None:
        """``number`` is the sequence's id; ``on_cancel`` is called once, if the client gives up."""
        self.number, self.job = number, job
        self.timings = Timings()
        self.finish_reason: FinishReason | None = None
        self.generated: list[int] = []
        self.working = False
        self.cancelled = False
        self._on_cancel = on_cancel
        self._news: asyncio.Queue[list[Token] | Exception | None] = asyncio.Queue()
        self.arrived = monotonic()
        self._paused: float | None = None

    def __aiter__(self) -> AsyncIterator[list[Token]]:
        return self._tokens()

    async def _tokens(self) -> AsyncIterator[list[Token]]:
        while (news := await self._news.get()) is not None:
            if isinstance(news, Exception):
                raise news
            yield news

    def cancel(self) -> None:
        """Stop it and free its slot at once; harmless when it is over."""
        if not self.cancelled and not self.over:
            self.cancelled = True
            self._estimate()
            self._on_cancel(self)

    def _estimate(self) -> None:
        """Prefill and decode time as seen from here: who cancels does not wait for the worker's own figures."""
        timings, age = self.timings, monotonic() - self.arrived
        before = timings.queued + timings.loading
        if self.working and timings.first_token is not None:
            timings.prefill = timings.first_token - before
            timings.decode = age - timings.first_token - timings.preempted

    @property
    def over(self) -> bool:
        """Whether it has ended, well or badly."""
        return self.timings.total > 0

    def command(self) -> Start:
        """What makes a worker begin it, or begin it again from the tokens it has."""
        job = self.job
        return Start(
            sequence=self.number,
            model=job.model,
            prompt=job.prompt,
            sampling=job.sampling,
            max_tokens=job.max_tokens,
            stop_tokens=job.stop_tokens,
            generated=list(self.generated),
            logprobs=job.logprobs,
        )

    def started(self, loading: tuple[float, float] | None) -> None:
        """A worker has been told to begin; ``loading`` is when its model was last on its way in."""
        self.working = True
        if self.timings.recoveries or self.generated:
            self.resumed()
            return
        now = monotonic()
        begin, end = loading or (now, now)
        self.timings.loading = max(0.0, min(end, now) - max(begin, self.arrived))
        self.timings.queued = now - self.arrived - self.timings.loading

    def paused(self) -> None:
        """It is to leave its slot; a worker that has ended it by then does not suspend it."""
        if self._paused is None:
            self._paused = monotonic()

    def suspended(self) -> None:
        """It has been taken out of its slot."""
        self.paused()
        self.timings.preemptions += 1

    def resumed(self) -> None:
        """It is back in a slot."""
        if self._paused is not None:
            self.timings.preempted += monotonic() - self._paused
            self._paused = None

    def lost(self) -> None:
        """The worker that had it is gone; it will begin again from its tokens."""
        if self.working:
            self.working = False
            self.timings.recoveries += 1
            self._paused = monotonic() if self._paused is None else self._paused

    def push(self, token: Token) -> None:
        """One more token, for whoever iterates."""
        if not self.generated:
            self.timings.first_token = monotonic() - self.arrived
        self.generated.append(token.token)
        self._news.put_nowait([token])

    def end(self, report: Ended) -> None:
        """The worker is done with it."""
        self.timings.prefill, self.timings.decode = report.prefill, report.decode
        if report.reason == "error":
            self.fail(report.message)
            return
        self.finish_reason = "length" if report.reason == "length" else "stop"
        self._close(None)

    def fail(self, why: str) -> None:
        """It cannot be finished."""
        self._close(EngineError(why))

    def _close(self, last: Exception | None) -> None:
        self.timings.total = monotonic() - self.arrived
        self._news.put_nowait(last)
