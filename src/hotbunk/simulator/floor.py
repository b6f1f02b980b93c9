"""A proven lower bound: what no schedule can beat, whoever decides, from any moment of a run on.

Four things hold for any schedule on the simulated device.

1. **Alone.** A request ends no sooner than its model can be used (loaded alone, at once), plus the chunks of its prompt
   and its steps, each at the best placement and in the best company for it.
2. **Shares.** The device's loop does one thing at a time. A chunk is one request's. A step of ``n`` sequences takes
   ``step(n)``; let each of them own ``step(n) / n`` of it. That is at least ``min over m of step(m) / m`` for all ``m``
   up to the slots of the model and to how many of its requests are still to be served.
3. **Loads.** Nothing is computed while a model loads beside which no other fits.
4. **Few of many.** Let the first ``k`` ends be those of requests for a set ``F`` of models. Before the k-th, the
   loop has owned all their chunks and shares, and what 3 says of ``F``'s loads has passed. On one machine that is free
   after these loads, the rule of the shortest remaining time (SRPT) has the k-th of any jobs done as early as can be
   (Schrage 1968); so with the requests for ``F`` as jobs, released when they come and as long as chunks and shares, it
   bounds the k-th end, and so does the k-th of their ends by 1. Which ``F`` it is nobody knows: the least over all.

The sum of latencies is at least the sum of these bounds over ``k`` less the sum of arrivals. It is assumed that a step
takes no less with more sequences, nor with more tokens behind them, and that each sequence more then adds no less.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from math import inf

from hotbunk.simulator.case import Case
from hotbunk.simulator.device import Job
from hotbunk.simulator.moving import Moving
from hotbunk.simulator.pace import CHUNK, TILE
from hotbunk.simulator.simulation import Subject

__all__ = ["Floor", "Pending", "Score", "Work", "ends", "srpt"]

Score = tuple[int, float]
"""Requests that miss their SLO, and a sum of seconds: of their latencies, or ends; less is better."""

_MANY = 6
"""Of more models than these the sets are too many, and the loads are left out of account."""


@dataclass(frozen=True, slots=True)
class Work:
    """Seconds that are left of a request: to its ``first`` token, and to its end if ``alone``.

    ``share``: what it owns of the device's time; ``beside``: what it adds to the steps of another at the least.
    """

    first: float
    alone: float
    share: float
    beside: float


@dataclass(frozen=True, slots=True)
class Pending:
    """A request that is not over: when it can go on at the earliest (``start``), and what it then needs.

    ``known`` is when it can have the device's time at the earliest. If it ends after its ``deadline``, its SLO is
    missed. All in seconds.
    """

    row: int
    model: str
    known: float
    start: float
    work: Work
    deadline: float = inf

    @property
    def first(self) -> float:
        """When its first token comes at the earliest, if it has not."""
        return self.start + self.work.first

    @property
    def end(self) -> float:
        """When it ends at the earliest."""
        return self.start + self.work.alone


class Floor:
    """The least that a case's models need.

    Attributes:
        loads: seconds by model until it can be used at the earliest.
        apart: models beside which no other fits.
        switches: seconds by two models, the second one apart, between the last token of the one and the first step of
            the other, in which nothing is computed.
    """

    def __init__(self, case: Case) -> None:
        self._subjects = {each.name: each for each in case.subjects}
        moving = case.moving()
        self.loads = {s.name: min(moving.soonest(s.costs, place) for place in s.placements) for s in case.subjects}
        sizes = {s.name: min(place.device.total for place in s.placements) for s in case.subjects}
        self.apart = {
            one for one in sizes if all(sizes[one] + sizes[other] > case.budget for other in sizes if other != one)
        }
        leaves = {each.name: _leaving(case.moving(), each) for each in case.subjects}
        hops = 2 * case.delays.hop  # the load's, and the start's
        self.switches = {
            (one, other): self.loads[other] + (leaves[one] + hops if one in self.apart else 0.0)
            for one in sizes
            for other in self.apart
            if one != other
        }
        self._step, self._chunk = cache(self._steps), cache(self._chunks)

    def work(self, job: Job, company: int) -> Work:
        """What is left of a request; ``company``: how many of its model's are not over, itself among them."""
        first, behind, todo = 0.0, job.behind, job.todo
        while todo:
            tokens = min(CHUNK, todo)
            first += self._chunk(job.model, behind, tokens)
            behind, todo = behind + tokens, todo - tokens
        alone = share = beside = first
        steps = job.left - 1 if job.todo else job.left
        while steps:
            rounds = min(steps, TILE - behind % TILE)
            costs = self._step(job.model, behind // TILE, company)
            alone, share, beside = (
                have + rounds * each for have, each in zip((alone, share, beside), costs, strict=True)
            )
            behind, steps = behind + rounds, steps - rounds
        return Work(first, alone, share, beside)

    def _steps(self, model: str, tiles: int, company: int) -> tuple[float, float, float]:
        """Of a step behind so many tiles: its least seconds, the least share in them, and the least one more adds."""
        subject, least, share, more = self._subjects[model], inf, inf, inf
        for place in subject.placements:
            counts = range(1, min(place.slots, company) + 1)
            seconds = [subject.costs.decode(place, (tiles * TILE,) * count).seconds for count in counts]
            least = min(least, *seconds)
            share = min(share, *(each / count for each, count in zip(seconds, counts, strict=True)))
            more = min([more, *((each - seconds[0]) / count for count, each in enumerate(seconds) if count)])
        return least, share, min(more, share)

    def _chunks(self, model: str, start: int, tokens: int) -> float:
        subject = self._subjects[model]
        return min(subject.costs.chunk(place, start, tokens).seconds for place in subject.placements)


def _leaving(moving: Moving, subject: Subject) -> float:
    """Seconds until its bytes are free at the earliest."""
    times = [moving.unload(subject.name, subject.costs, place, 0.0) for place in subject.placements]
    return min(time.front + time.behind for time in times)


def ends(pending: Sequence[Pending], clock: float, loads: Mapping[str, float]) -> list[float]:
    """Seconds before which the first, the second, ... of them cannot have ended.

    ``loads``: seconds by model, from ``clock`` on, in which it is loaded and nothing is computed.
    """
    found = [inf] * len(pending)
    names = sorted({each.model for each in pending})
    if len(names) > _MANY:
        sets, loads = [tuple(names)], {}
    else:
        sets = [some for size in range(1, len(names) + 1) for some in combinations(names, size)]
    for models in sets:
        some = [each for each in pending if each.model in models]
        free = clock + sum(loads.get(model, 0.0) for model in models)
        alone = sorted(each.end for each in some)
        shared = srpt(((each.known, each.work.share) for each in some), free)
        for place, pair in enumerate(zip(alone, shared, strict=True)):
            found[place] = min(found[place], max(pair))
    return found


def srpt(jobs: Iterable[tuple[float, float]], clock: float) -> list[float]:
    """When jobs end on one machine that, from ``clock`` on, does the one with the least left.

    Each has a release and a length. What is over before ends then.
    """
    coming = sorted(jobs)
    left: list[float] = []
    found: list[float] = []
    place = 0
    while left or place < len(coming):
        if not left:
            clock = max(clock, coming[place][0])
        while place < len(coming) and coming[place][0] <= clock:
            heapq.heappush(left, coming[place][1])
            place += 1
        until = coming[place][0] if place < len(coming) else inf
        shortest = heapq.heappop(left)
        if clock + shortest <= until:
            clock += shortest
            found.append(clock)
        else:
            heapq.heappush(left, shortest - (until - clock))
            clock = until
    return found
