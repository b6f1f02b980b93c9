"""Round robin: models that are waited for take turns in a fixed order, each for a fixed slice of time.

It mirrors no peer, but the simplest way to share a device by time, as operating systems do. The order is that in which
the models were added; the next turn is that of the first, behind the one that was loaded last, that is waited for. Its
room comes from idle models, the least recently used first, and then from those that have been there for the longest,
each when it has had its ``slice`` seconds: its sequences are suspended, and go on before any newcomer when its turn
comes again. A model for which there is room beside the others is loaded at its turn, which takes nobody's. What moves
cost plays no part, nor who has waited for how long.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

from hotbunk.scheduler.actions import Decision
from hotbunk.scheduler.baselines.base import Baseline, busy, idle, leaving, swap
from hotbunk.scheduler.snapshot import Model, Phase, Snapshot
from hotbunk.scheduler.steps import enter

__all__ = ["RoundRobin"]


@dataclass(frozen=True)
class RoundRobin(Baseline):
    """Slices of ``slice`` seconds, counted from when a model is ready."""

    slice: float = 10.0

    def steps(self, snapshot: Snapshot, waiting: list[Model]) -> list[Decision]:
        """Start what can start; then give the next its room, if it is there or due."""
        ready = (m for m in snapshot.models.values() if m.queue and m.free_slots)
        if actions := [a for m in ready for a in _starts(m)]:
            return actions
        first = _next(snapshot, waiting) if waiting else None
        placement = first.best(snapshot.budget) if first else None
        if first is None or placement is None:
            return []
        order = [*idle(snapshot), *busy(snapshot)]
        victims = leaving(snapshot, placement.device.total, order) or ()
        due = all(m.idle or m.since + self.slice <= snapshot.now for m in victims)
        return swap(snapshot, first, placement, order if due else ())

    def moments(self, snapshot: Snapshot) -> Iterable[float]:
        """Also when slices end."""
        yield from super().moments(snapshot)
        yield from (m.since + self.slice for m in snapshot.models.values() if m.phase is Phase.READY and not m.idle)


def _starts(model: Model) -> list[Decision]:
    """Those whose slice ended go on before newcomers are let in."""
    order = sorted(model.queue, key=lambda s: not s.started) if any(s.started for s in model.queue) else model.queue
    return [enter(model, s) for s in islice(order, max(0, model.free_slots))]


def _next(snapshot: Snapshot, waiting: list[Model]) -> Model:
    """The first that waits behind the one that was loaded last; of those that left, if none is there."""
    places = {id: place for place, id in enumerate(snapshot.models)}
    there = [m for m in snapshot.models.values() if m.phase not in (Phase.ABSENT, Phase.LEAVING)]
    last = max(there or snapshot.models.values(), key=lambda m: m.since)
    after = places[last.id] + 1 if last.since > 0 else 0
    return min(waiting, key=lambda m: (places[m.id] - after) % len(places))
