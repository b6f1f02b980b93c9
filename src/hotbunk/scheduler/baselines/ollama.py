"""Ollama: the oldest request whose model is not loaded is worked on, and all others that need a load wait behind it.

It mirrors Ollama v0.33-rc, ``server/sched.go``: ``getRunner``, ``processPending``, ``processCompleted``, ``load``,
``ByDurationAndName``, ``findRunnerToUnload``; knobs by ``envconfig/config.go``:

- a request for a loaded model goes past the queue; in a model as many run as ``OLLAMA_NUM_PARALLEL`` says (1);
- the others stand in one queue of at most 512 (``OLLAMA_MAX_QUEUE``; beyond it HTTP 503). The scheduler works on the
  first until its model is loaded. A request that came before its model was loaded stays in its place even when it is;
- beside other models a model is loaded only if it fits fully, into 80 % of the free memory, and there are fewer than
  ``OLLAMA_MAX_LOADED_MODELS`` (3 for each GPU). Only a model that is loaded alone is split by ``--fit``;
- else one victim is chosen, and no other until it is gone: the first idle one by keep-alive, then by name (not by use
  or size); if none is idle, the first of all, and the queue waits until it has nothing to do. Which was chosen follows
  from who was idle when the scheduler last began to choose: when the first in the queue came, or the last load or
  unload was complete;
- who has been idle for ``OLLAMA_KEEP_ALIVE`` (5 minutes) leaves. A model to be kept has an endless keep-alive: it
  leaves last, but it leaves.

What a model takes is its best placement, which is meant to be all of it, by the device's own figures: Ollama's
estimate (file and f16 cache) and its errors are left out, as are out-of-memory retries, keep-alive by request, and
reloads for other options. So is the 1 GiB that ``--fit`` leaves free: the budget is meant to be net of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from math import inf
from typing import ClassVar

from hotbunk.scheduler.actions import Decision, Load, Refuse
from hotbunk.scheduler.baselines.base import Baseline
from hotbunk.scheduler.snapshot import Model, Phase, Sequence, Snapshot
from hotbunk.scheduler.steps import claim, enter, eviction

__all__ = ["Ollama"]


@dataclass(frozen=True)
class Ollama(Baseline):
    """At most ``limit`` models, ``parallel`` sequences in each, ``queue`` waiting for a load; ``alive``: seconds.

    ``share`` is the part of the free bytes that a model may take beside others.
    """

    restless: ClassVar[bool] = True
    limit: int = 3
    parallel: int = 1
    queue: int = 512
    alive: float = 300.0
    share: float = 0.8

    def admit(self, snapshot: Snapshot, model: Model, sequence: int) -> Refuse | None:
        """Who asks for a loaded model; and as many others as the queue holds, besides the one that is worked on."""
        if model.phase is Phase.READY:
            return None
        waiting = sum(len(m.queue) for m in snapshot.queued if m.phase is not Phase.READY)
        if waiting - 2 < self.queue:
            return None
        return Refuse(model.id, f"server busy: {self.queue} requests wait, as many as may", sequence, 1.0)

    def steps(self, snapshot: Snapshot, waiting: list[Model]) -> list[Decision]:
        """Start whoever may run, unload who has been unused for long, and work on the first in the queue."""
        models = snapshot.models.values()
        loading = next((m for m in models if m.phase is Phase.LOADING), None)
        turn = _turn(loading, waiting)
        ready = [m for m in models if m.phase is Phase.READY]
        if actions := [enter(m, s) for m in ready if m.queue for s in self._starts(m, turn)]:
            return actions
        unused = [m for m in ready if not _used(m, turn)]
        why = f"unused for {self.alive:g} s"
        if actions := [a for m in unused if self._expiry(m) <= snapshot.now for a in eviction(m, why)]:
            return actions
        if not waiting or loading or any(m.phase is Phase.LEAVING for m in models):
            return []
        return self._work(snapshot, waiting[0], ready, unused)

    def moments(self, snapshot: Snapshot) -> Iterable[float]:
        """Also when an unused model leaves."""
        yield from super().moments(snapshot)
        yield from (self._expiry(m) for m in snapshot.models.values() if m.phase is Phase.READY and not m.running)

    def _starts(self, model: Model, turn: float) -> Iterator[Sequence]:
        """Those whose turn it was before the model was loaded, and those who came after, in the order of their age."""
        free = min(model.free_slots, self.parallel - len(model.running) - len(model.suspending))
        return islice((s for s in model.queue if s.since <= turn or s.since >= model.since), max(0, free))

    def _work(self, snapshot: Snapshot, first: Model, ready: list[Model], unused: list[Model]) -> list[Decision]:
        """Load the first in the queue alone, or beside others where it fits fully; else one victim leaves for it."""
        residents, why = snapshot.residents, claim(first, snapshot.now)
        if not residents and (placement := first.best(snapshot.budget)):
            return [Load(first.id, f"{why}; nothing else is loaded", placement)]
        whole = first.placements[0]
        if len(residents) < self.limit and whole.device.total <= self.share * snapshot.free:
            return [Load(first.id, f"{why}; it fits fully into {self.share:.0%} of the free bytes", whole)]
        settled = (m.since for m in snapshot.models.values() if m.phase in (Phase.ABSENT, Phase.READY))
        chosen = max(first.demand or 0.0, *settled)
        order = sorted(ready, key=lambda m: (m.keep, m.id))
        victim = next((m for m in order if m in unused and _idle(m) <= chosen), order[0] if order else None)
        return eviction(victim, why) if victim and victim in unused else []

    def _expiry(self, model: Model) -> float:
        return inf if model.keep else _idle(model) + self.alive


def _turn(loading: Model | None, waiting: list[Model]) -> float:
    """Who came later has not had their turn in the queue; it is that of the first whose model is not loaded."""
    first = loading or next(iter(waiting), None)
    return inf if first is None else first.since if first.demand is None else first.demand


def _used(model: Model, turn: float) -> bool:
    """Whether somebody uses the model; who is still in the queue does not."""
    queue = model.queue
    return bool(
        model.running or model.suspending or (queue and (queue[0].since <= turn or queue[-1].since >= model.since))
    )


def _idle(model: Model) -> float:
    """Since when nobody has used it, if nobody does."""
    return max(model.used, model.since)
