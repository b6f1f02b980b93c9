"""Who waits, in which order they are owed a turn, and the last moment at which everyone can still be served in time.

Symbols (seconds): ``W`` the bound on waiting, ``l`` a model's ``load``, ``h`` its least turn, ``x`` its ``leave``.
A model with ``q`` unstarted sequences and ``s`` slots is owed ``ceil(q / s)`` turns; the k-th is headed by the one at
place ``k s`` of its queue, costs ``c = l + h + x`` and has the deadline ``D = since(head) + W``.

With all turns in order of their deadlines, the last moment to begin with the first is

    due = min over i of (D_i - sum of c_j for j <= i)

(the demand bound of earliest-deadline-first scheduling: a set of jobs is feasible if and only if, for every deadline,
the work due by then fits before it). The device is free for a new turn at

    horizon = max(now, over of every resident) + sum of x over the residents

A turn that has begun is part of the horizon, so it has ``c = 0``; while its model is being loaded its head keeps its
deadline in ``due``, since whatever else is loaded now may come between it and its start.

Admitting a request only if ``due >= horizon`` still holds with it, serving the first turn once ``due`` has come, and
taking a turn out of order only if ``due >= horizon + c``, keeps ``due >= horizon`` for ever, whatever arrives: nobody
admitted starts later than ``W`` after arriving. Turns of models that share the device overlap, which the sum ignores:
the bound holds all the more.

All of this holds for a constant budget, for moves that take no longer than their bounds (one that does delays everybody
by as much), and for loads that succeed. A load's ``over`` counts the ``x`` of those who leave before it. Who waits for
a model that cannot be loaded now, since none of its placements fits what has become of the budget or since a load has
failed, is owed nothing meanwhile: no order of turns could help it, and the others must not wait with it.

Sequences that were preempted are promised nothing by this, and enter after newcomers. They do not starve either: for
admission they count as if they had arrived when they were preempted, so whoever has waited for ``W`` to go on stops
the admission of newcomers until it does.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from math import inf
from typing import NamedTuple

import numpy as np

from hotbunk.scheduler.snapshot import Model, Phase, Snapshot

_MANY = 64
"""Turns from which on NumPy is faster."""


@dataclass(frozen=True, slots=True)
class Bound:
    """The promise: every admitted sequence starts within ``wait`` seconds, of at most ``queue`` waiting ones."""

    wait: float = 120.0
    queue: int = 512


def cost(model: Model, least: float) -> float:
    """Seconds that one turn takes at the least: coming, staying, leaving."""
    return model.moves + least_turn(model, least)


def least_turn(model: Model, least: float) -> float:
    """The shortest stay worth its moves: as long as they take, but no longer than ``least`` seconds."""
    return min(least, model.moves)


class Agenda(NamedTuple):
    """The ``first`` model that is owed a turn (None: nobody is) and how many ``turns`` are owed, the begun left out.

    What is ``due``, the begun turns included; the device's ``horizon``; seconds that its residents take to leave.
    """

    first: str | None
    turns: int
    due: float
    horizon: float
    leaving: float

    @property
    def forced(self) -> float:
        """When residents must begin to leave for the first turn, so that everyone is in time."""
        return self.due - self.leaving

    @property
    def feasible(self) -> bool:
        """Whether everyone who waits can be started in time."""
        return self.due >= self.horizon

    def spare(self, seconds: float) -> bool:
        """Whether a turn of this cost may be taken out of order and everyone still be in time."""
        return self.due >= self.horizon + seconds


def agenda(snapshot: Snapshot, bound: Bound, least: float, everyone: bool = False) -> Agenda:
    """What is promised to the unstarted, or (``everyone``) owed to the preempted too.

    ``least``: the longest that a least turn may be, in seconds.
    """
    now = snapshot.now
    leaving = sum([m.leave for m in snapshot.residents])
    horizon = snapshot.over + leaving
    owed: list[array[float]] = []
    costs: list[float] = []
    first, soonest, turns = None, inf, 0
    for model in snapshot.servable:  # no order of turns could help the others
        if model.retry > now and not model.resident:
            continue
        heads = model.all_heads if everyone else model.heads
        if model.phase is Phase.LOADING and heads:
            owed.append(heads[:1])
            costs.append(0.0)
            heads = heads[1:]
        if heads:
            owed.append(heads)
            costs.append(cost(model, least))
            turns += len(heads)
            if heads[0] < soonest:
                first, soonest = model.id, heads[0]
    slack = (_of_many if sum(map(len, owed)) > _MANY else _of_few)(owed, costs)
    return Agenda(first, turns, bound.wait + slack, horizon, leaving)


def _of_many(owed: list[array[float]], costs: list[float]) -> float:
    """The least head less the work up to it, in the order of the heads.

    ``owed``: the heads of models' turns; ``costs``: what each turn of these models costs.
    """
    since = np.frombuffer(b"".join(owed))
    order = since.argsort(kind="stable")  # which has little to do where each model's heads are in order
    work = np.array(costs).repeat(list(map(len, owed))).take(order).cumsum()
    return float(np.minimum.reduce(since.take(order) - work))


def _of_few(owed: list[array[float]], costs: list[float]) -> float:
    """The same without NumPy; inf if there is none."""
    slack, done = inf, 0.0
    for at, seconds in sorted([(at, seconds) for heads, seconds in zip(owed, costs, strict=True) for at in heads]):
        done += seconds
        slack = min(slack, at - done)
    return slack
