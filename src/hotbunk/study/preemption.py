"""Preemption: job A is interrupted, model B has the device for a while, and A goes on where it was.

Method. A and B have the device one at a time, whole. A is started with 16 tokens and generates, greedy, up to each of
some points; there it is preempted. One preemption is: A's sequence to host memory (KV out), A off the device, B onto it
with a context of the same length, B's answer, B off, A on, A's sequence back (KV in). What each step takes is the
worker's own account; what lies between them (queues, the socket, the step under way) is the rest of the whole, timed in
this process. The overhead is all but B's answer; B's own load is in it and also told apart, since it comes with any way
to serve B. In repeats, which go over all points again, a prompt of that length stands in for decoding up to a point
(the cache has the same bytes). Where time is short it always does, and B's answer ends early. Before anything is timed,
the host store is complete and B has had the device once.

All this is done with moving weights (``fast``: out of pinned memory, models stay open) and with a worker that loads
models the ordinary way each time (``ordinary``: libllama's ``llama_model_load_from_file``, files in the page cache).
Then a job of A with 1,000 tokens behind it is preempted several times, 32 tokens apart.

A's uninterrupted time for 7,000 tokens is the integral of its decode step over the context, measured at each point.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Literal

from hotbunk.errors import OutOfMemory
from hotbunk.study.job import PROMPT, Job
from hotbunk.study.pace import Clock, Point, Say, go
from hotbunk.study.results import Results, Row
from hotbunk.study.stage import Stage

__all__ = ["LENGTH", "POINTS", "RUN", "TIMES", "Pair", "Way", "measure"]

Way = Literal["fast", "ordinary"]
POINTS = (100, 250, 500, 1000, 1500, 2000, 3000, 4000, 5000)
TIMES = (1, 2, 4, 8)
RUN = 500
LENGTH = 7000
"""Tokens of A's whole job."""
_BETWEEN = 8  # tokens that A generates before it is preempted again
_SEVERAL = 1000  # tokens behind A when it is preempted several times
_APART = 32  # tokens between those
_ROOM = 512  # tokens of context beyond the last point, at least
_BRIEF = 16  # tokens of B's answer where there is no time for all


@dataclass(frozen=True)
class Pair:
    """The model that is preempted, and the one that it makes way for; a copy of the same has a name of its own."""

    model: str
    other: str


def measure(
    stage: Stage,
    pair: Pair,
    way: Way,
    results: Results,
    clock: Clock,
    say: Say,
    lengths: Sequence[int] = POINTS,
    run: int = RUN,
    repeats: int = 3,
) -> int:
    """Measure all that is not there yet; returns for how many points there was no time.

    Raises:
        Impossible: one of them was trained for too few tokens.
        EngineError: the worker failed.
        ConfigError: the results cannot be written.
    """
    stage.needs(pair.model, min(lengths) + _ROOM)
    stage.needs(pair.other, PROMPT + run)
    room = stage.trained[pair.model] - _ROOM
    fitting = sorted({min(length, room) for length in lengths})
    plan = _Plan(pair, way, fitting, run, repeats, results)
    if all(point.done(results) for point in plan.all(None)):
        return 0
    # in proportion: the context of a job that goes on after its last interruption; B's answer has to find room, too
    context = max(fitting[-1] * LENGTH // POINTS[-1] + _ROOM, PROMPT + run)
    job = Job(stage, pair.model, pair.other, context)
    try:
        say(f"{plan.title}: both have the device once")
        job.begin()
        return len(go(list(plan.all(job)), results, clock, say))
    except OutOfMemory as error:
        results.note(plan.title, f"left out: {error}")
        return 0
    finally:
        job.end()


@dataclass(frozen=True)
class _Plan:
    """What is measured of a pair. Points can be listed without a job."""

    pair: Pair
    way: Way
    lengths: Sequence[int]
    run: int
    repeats: int
    results: Results

    @property
    def title(self) -> str:
        return f"preempt {self.pair.model} for {self.pair.other}, {self.way}"

    def all(self, job: Job | None) -> Iterator[Point]:
        """Each length once, while the job goes on from one to the next; then the series; then the repeats."""
        for repeat in range(self.repeats):
            for tokens in self.lengths:
                what, key = f"at {tokens} tokens, repeat {repeat + 1}", self._key(tokens, repeat, 1)
                yield self._point(what, key, self._single(job, key), lambda rows: _answered(rows) >= self.run)
            if not repeat:
                for times in TIMES:
                    tokens = min(_SEVERAL, max(self.lengths))
                    yield self._point(f"{times} times", self._key(tokens, -1, times), self._series(job, tokens, times))

    def _key(self, tokens: int, repeat: int, times: int) -> Row:
        pair: Row = {"model": self.pair.model, "other": self.pair.other, "way": self.way}
        return {**pair, "tokens": tokens, "repeat": repeat, "times": times}

    def _point(
        self, what: str, key: Row, rows: Callable[[float], list[Row]], whole: Callable[[Sequence[Row]], bool] = bool
    ) -> Point:
        return Point("preemption", f"{self.title}, {what}", key, lambda seconds: {"preemption": rows(seconds)}, whole)

    def _single(self, job: Job | None, key: Row) -> Callable[[float], list[Row]]:
        tokens, known = key["tokens"], self.results.rows("preemption", **key)

        def measure(seconds: float) -> list[Row]:
            assert job
            limit = monotonic() + seconds
            if key["repeat"]:
                job.start(tokens)
            else:
                job.reach(tokens, seconds / 2)
            row: Row = {"nth": 0, **job.preempt(_BETWEEN, self.run, _BRIEF, limit)}
            return [row] if _answered([row]) > _answered(known) else []

        return measure

    def _series(self, job: Job | None, tokens: int, times: int) -> Callable[[float], list[Row]]:
        def measure(seconds: float) -> list[Row]:
            assert job
            job.start(tokens)
            brief = min(self.run, _BRIEF)
            return [{"nth": nth, **job.preempt(_APART, brief, brief)} for nth in range(times)]

        return measure


def _answered(rows: Sequence[Row]) -> int:
    """Tokens of the longest of B's answers."""
    return max((row["run_tokens"] for row in rows), default=0)
