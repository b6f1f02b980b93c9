"""The clockwork of a replay: each request at its time, whatever has become of those before it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from time import time
from typing import Any

import numpy as np

from hotbunk.errors import ConfigError
from hotbunk.outcomes import Fate, Outcomes, Run
from hotbunk.replay.client import Answer, Endpoint, asked
from hotbunk.replay.prompts import Prompts
from hotbunk.replay.watch import UNKNOWN, Watch
from hotbunk.traces import Trace

__all__ = ["Replay", "Replayed", "check"]

EVERY = 0.5
"""Seconds from one look at a hotbunk server's state to the next."""
_TIMINGS = {"queued_ms", "loading_ms", "ttft_ms", "total_ms", "preemptions"}  # other servers have other ones
_BAD = (400, 422)  # statuses of what a server cannot read


@dataclass(frozen=True)
class Replayed:
    """A replay: the run, and what is to be known of how it was made.

    ``reasons`` counts why requests were refused or failed, ``examples`` has a message of each. ``lateness``: seconds by
    which the latest request was sent too late; ``words``: what the server said of prompts of tokens, if they had to be
    words instead, of inexact lengths; ``whole``: it was not broken off.
    """

    run: Run
    reasons: Mapping[str, int]
    examples: Mapping[str, str]
    lateness: float
    words: str
    whole: bool


async def check(trace: Trace, endpoint: Endpoint) -> None:
    """See that the server has all models of the trace.

    Raises:
        ConfigError: it does not answer, or has not all of them.
    """
    there = await endpoint.models()
    asked = dict.fromkeys(trace.models[place] for place in np.unique(trace.model))
    if absent := [model for model in asked if model not in there]:
        raise ConfigError(
            f"{endpoint.url} has no model {', '.join(absent)}; it has {', '.join(there) or 'none'}; "
            "give --map TRACE_MODEL=SERVER_MODEL"
        )


class Replay:
    """A trace on its way to a server, once.

    ``outcomes`` has what has come of it so far, ``sent`` says how many requests went out.
    """

    def __init__(self, trace: Trace, endpoint: Endpoint, prompts: Prompts, name: str | None = None) -> None:
        """``name`` is the run's; else it is the server's policy, or its address."""
        self._trace, self._endpoint, self._prompts, self._name = trace, endpoint, prompts, name
        self.outcomes = Outcomes.empty(trace)
        self._reasons: Counter[str] = Counter()
        self._examples: dict[str, str] = {}
        self.sent = 0
        self._lateness = 0.0
        self._words, self._settled = "", False
        self._loop = asyncio.get_running_loop()
        self._begin = 0.0

    async def run(self, stop: asyncio.Event) -> Replayed:
        """Send all requests and wait for their answers; once ``stop`` is set, take what has come so far."""
        state = await self._endpoint.state()
        watch = Watch(state, time()) if state else None
        self._begin = self._loop.time()
        playing, looking = asyncio.create_task(self._play()), asyncio.create_task(self._look(watch))
        stopped = asyncio.create_task(_set(stop))
        await asyncio.wait([playing, stopped], return_when=asyncio.FIRST_COMPLETED)
        whole, duration = playing.done(), self._now
        for task in (playing, looking, stopped):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        run = await self._run(watch, duration)
        return Replayed(run, dict(self._reasons), self._examples, self._lateness, self._words, whole)

    @property
    def _now(self) -> float:
        """Seconds since the beginning."""
        return self._loop.time() - self._begin

    async def _run(self, watch: Watch | None, duration: float) -> Run:
        name = self._name or self._endpoint.url
        after = await self._endpoint.state() if watch else None
        if not watch or not after:
            return Run(name, self.outcomes, UNKNOWN, duration)
        watch.hear(after, self._now)
        name = self._name or f"{after.get('policy', 'hotbunk')}, live"
        return Run(name, self.outcomes, watch.usage(after), duration, watch.stays(duration))

    async def _look(self, watch: Watch | None) -> None:
        while watch:
            await asyncio.sleep(EVERY)
            if state := await self._endpoint.state():
                watch.hear(state, self._now)

    async def _play(self) -> None:
        async with asyncio.TaskGroup() as group:
            for row in self._trace.roots.tolist():
                due = float(self._trace.arrival[row])
                # tasks are made when they are due: a long trace has more than a loop likes to hold
                await self._wait(due)
                group.create_task(self._request(group, row, due))

    async def _wait(self, due: float) -> None:
        if (left := due - self._now) > 0:
            await asyncio.sleep(left)

    async def _request(self, group: asyncio.TaskGroup, row: int, due: float) -> None:
        """Send a row's request when it is due, and after its answer those that follow it."""
        await self._wait(due)
        answer = Answer(self._loop.time())
        self._lateness = max(self._lateness, answer.sent - self._begin - due)
        self.sent += 1
        self.outcomes.arrived[row] = answer.sent - self._begin
        try:
            await self._ask(row, answer)
        finally:
            self._note(row, answer)
        if answer.fate is Fate.DONE:
            for follower in self._trace.followers.get(row, ()):
                after = float(self.outcomes.ended[row] + self._trace.arrival[follower])
                group.create_task(self._request(group, follower, after))

    async def _ask(self, row: int, answer: Answer) -> None:
        """In tokens; if the server has never taken any and cannot read these, in words, now and from now on."""
        words = bool(self._words)
        await self._endpoint.complete(self._body(row, words), answer)
        unread = answer.status in _BAD and answer.fate is Fate.FAILED
        if not unread or words or self._settled:
            self._settled |= answer.status == 200
            return
        again = Answer(answer.sent)
        await self._endpoint.complete(self._body(row, True), again)
        if again.status == 200:
            self._words = answer.message or answer.reason
            for name in Answer.__slots__:
                setattr(answer, name, getattr(again, name))

    def _body(self, row: int, words: bool) -> dict[str, Any]:
        request = self._trace[row]
        prompt = self._prompts.words if words else self._prompts.tokens
        return asked(request.model, prompt(row, request.prompt), request.output)

    def _note(self, row: int, answer: Answer) -> None:
        """What has come of it, also if it was broken off."""
        outcomes, begin = self.outcomes, self._begin
        outcomes.tokens[row], outcomes.fate[row] = answer.tokens, answer.fate
        if answer.first is not None:
            outcomes.first[row] = answer.first - begin
        if answer.ended is not None and answer.fate is Fate.DONE:
            outcomes.ended[row] = answer.ended - begin
        if answer.fate is Fate.DONE and answer.timings.get("ttft_ms") and answer.timings.keys() >= _TIMINGS:
            self._time(row, answer.timings)
        if answer.reason:
            self._reasons[answer.reason] += 1
            self._examples.setdefault(answer.reason, answer.message)

    def _time(self, row: int, timings: Mapping[str, Any]) -> None:
        """What hotbunk says of it: when it was given a slot, and how often it was suspended.

        hotbunk's seconds count from when it had read the request, which lies before the end by its total. A token may
        have no text, and then no chunk of its own: the first one came when hotbunk says.
        """
        outcomes, first = self.outcomes, self.outcomes.first
        read = max(outcomes.arrived[row], outcomes.ended[row] - timings["total_ms"] / 1000)
        first[row] = min(first[row], read + timings["ttft_ms"] / 1000)
        outcomes.started[row] = min(first[row], read + (timings["queued_ms"] + timings["loading_ms"]) / 1000)
        outcomes.preemptions[row] = timings["preemptions"]


async def _set(event: asyncio.Event) -> None:
    await event.wait()
