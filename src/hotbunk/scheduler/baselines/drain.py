"""Drain first: nobody is ever preempted, but who has waited for long closes the door of whoever is in the way.

It mirrors no peer, but what their users ask for (llama-swap #612, "max wait"). It is least recently used by bytes
(``lru``), with this besides: once the first that waits has waited for ``wait`` seconds, the models in its way take only
those who came before it, or before they were loaded themselves. When these have ended, they leave. How long that takes
is up to the longest request: ``wait`` is when the draining begins, not a bound on waiting.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import inf

from hotbunk.scheduler.actions import Decision
from hotbunk.scheduler.baselines.base import Baseline, busy, entering, idle, leaving, swap
from hotbunk.scheduler.snapshot import Model, Snapshot
from hotbunk.scheduler.steps import claim, eviction, starts

__all__ = ["Drain"]


@dataclass(frozen=True)
class Drain(Baseline):
    """Idle models leave at once; busy ones are drained for who has waited for ``wait`` seconds."""

    wait: float = 120.0

    def steps(self, snapshot: Snapshot, waiting: list[Model]) -> list[Decision]:
        """Start those whose door is open; then make room for the first that waits, or load it."""
        placement = waiting[0].best(snapshot.budget) if waiting else None
        if placement is None:
            return entering(snapshot)
        first, since = waiting[0], waiting[0].demand or 0.0
        order = [*idle(snapshot), *(busy(snapshot) if snapshot.now >= since + self.wait else [])]
        victims = leaving(snapshot, placement.device.total, order) or ()
        doors = {m.id: max(m.since, since) for m in victims}
        ready = [m for m in snapshot.models.values() if m.queue and m.free_slots]
        if actions := [a for m in ready for a in starts(m, doors.get(m.id, inf))]:
            return actions
        why = claim(first, snapshot.now)
        if actions := [a for m in victims if _drained(m, doors[m.id]) for a in eviction(m, why)]:
            return actions
        return swap(snapshot, first, placement, ())

    def moments(self, snapshot: Snapshot) -> Iterable[float]:
        """Also when the draining begins."""
        yield from super().moments(snapshot)
        yield from (m.demand + self.wait for m in snapshot.models.values() if m.demand is not None and not m.resident)


def _drained(model: Model, door: float) -> bool:
    return not (model.running or model.suspending) and not (model.queue and model.queue[0].since <= door)
