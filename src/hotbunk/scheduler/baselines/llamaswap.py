"""llama-swap: one model at a time, or the sets that its administrator wrote down; whoever can be served is.

It mirrors llama-swap of 2026-08-22: ``internal/router/scheduler/fifo.go`` (``OnRequest``, ``OnServeDone``, ``admit``,
``enqueue``, ``drainQueue``, ``collidesWith``) and, for whom a model evicts, ``internal/matrix/program.go`` (``Solve``):

- more than 10 requests for a model, waiting or being served, are refused (``concurrencyLimit``, HTTP 429);
- a request for a model that is ready is served at once, so requests are collated: A B C A B C becomes AA BB CC. Nothing
  bounds that, so overlapping requests starve the others;
- a model evicts those that are not with it in a set: in the set in which that costs the least (``evict_costs``, 1 each
  by default), the first of several. A model in no set evicts all. Without sets that is the default group (``swap`` and
  ``exclusive``): one model at a time;
- a swap begins when none of those that it evicts has a request, and if it does not collide with another one: all are
  stopped at once, then the model is started. Swaps that do not collide go side by side;
- who cannot be served nor swapped in waits, in the order of priority (``settings.fifo.priority``) and arrival. Nobody
  is preempted, and a model that nobody else needs the room of stays (``ttl`` 0).

llama-swap knows nothing of memory; its administrator writes down placements that work. Here a model gets the best that
fits its part of the budget: all of it, divided by the models of the largest set that it is in; or, where none fits
that, what its set leaves. Where even that is too little it evicts all, as if the set had not been written down.

Left out: groups beyond what sets can say (``persistent``), ``ttl``, the grace before a process is killed (a model's
``leave`` covers it).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import fsum, inf

from hotbunk.scheduler.actions import Decision, Load, Refuse
from hotbunk.scheduler.baselines.base import Baseline, entering
from hotbunk.scheduler.snapshot import Model, Phase, Snapshot
from hotbunk.scheduler.steps import claim, eviction

__all__ = ["LlamaSwap"]


@dataclass(frozen=True)
class LlamaSwap(Baseline):
    """``sets`` of models that may be there together; ``costs`` of evicting a model, 1 where it is not named."""

    limit: int = 10
    sets: tuple[frozenset[str], ...] = ()
    costs: Mapping[str, float] = field(default_factory=dict)

    def admit(self, snapshot: Snapshot, model: Model, sequence: int) -> Refuse | None:
        """As many for one model as the limit says."""
        if len(model.queue) + len(model.running) + len(model.suspending) <= self.limit:
            return None
        return Refuse(
            model.id, f"{self.limit} requests for {model.id} wait or are served, as many as may", sequence, 1.0
        )

    def steps(self, snapshot: Snapshot, waiting: list[Model]) -> list[Decision]:
        """Start what can start; then begin, or go on with, the first swap that collides with none before it."""
        if (actions := entering(snapshot)) or not waiting:
            return actions
        residents = {m.id: m for m in snapshot.residents}
        targets = {m.id for m in residents.values() if m.phase is Phase.LOADING}
        evicted: set[str] = set()
        queue = self._queue(snapshot, waiting)
        for model in queue if self.sets else queue[:1]:  # without sets, what blocks the first blocks all
            out = self._evicted(snapshot, model, {*residents, *targets})
            there = [m for m in residents.values() if m.id in out]
            if out & (targets | evicted) or not all(m.idle or m.phase is Phase.LEAVING for m in there):
                continue
            if actions := self._swap(snapshot, model, there):
                return actions
            targets.add(model.id)
            evicted |= out
        return []

    def _queue(self, snapshot: Snapshot, waiting: list[Model]) -> list[Model]:
        """Those whose swap has begun, since they waited when the last to stop was stopped; then by priority and age."""
        models = snapshot.models.values()
        stopping = {m.id for m in models if m.phase is Phase.LEAVING}
        just = [
            m for m in models if m.id in stopping or (m.phase is Phase.ABSENT and m.left and m.since == snapshot.now)
        ]
        begin = max((m.left for m in just), default=-inf)
        residents = {m.id for m in snapshot.residents}
        early = [m for m in waiting if (m.demand or 0.0) <= begin]
        begun = {m.id for m in early if self._evicted(snapshot, m, residents) <= stopping}
        return sorted(waiting, key=lambda m: (m.id not in begun, -m.priority))

    def _evicted(self, snapshot: Snapshot, model: Model, running: set[str]) -> set[str]:
        """Whom of the ``running`` a swap evicts for ``model``."""
        options = [running - members for members in self.sets if model.id in members]
        out = min(options, key=lambda out: fsum(self.costs.get(id, 1.0) for id in out), default=running)
        staying = sum(snapshot.models[id].bytes for id in running - out)
        return out if model.best(snapshot.budget - staying) else running

    def _swap(self, snapshot: Snapshot, model: Model, there: list[Model]) -> list[Decision]:
        """Stop those who are still there; with all of them gone, start the model."""
        why = claim(model, snapshot.now)
        if there:
            return [a for m in there if m.idle for a in eviction(m, why)]
        together = max((len(s & snapshot.models.keys()) for s in self.sets if model.id in s), default=1)
        placement = model.best(min(snapshot.budget // together, snapshot.free)) or model.best(snapshot.free)
        return [Load(model.id, why, placement)] if placement else []
