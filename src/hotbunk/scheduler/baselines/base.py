"""What the baselines share: they load models that are waited for, and none of them promises anything."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import inf
from typing import ClassVar

from hotbunk.placement import Placement
from hotbunk.scheduler.actions import Decision, Load, Refuse
from hotbunk.scheduler.policies import Verdict
from hotbunk.scheduler.room import fewest
from hotbunk.scheduler.snapshot import Model, Phase, Snapshot
from hotbunk.scheduler.steps import claim, eviction, relief, starts

__all__ = ["Baseline", "busy", "entering", "idle", "leaving", "swap"]


@dataclass(frozen=True)
class Baseline:
    """A policy that admits everyone, and has no least turn; a subclass says its ``steps``.

    Where a budget has fallen, which none of the peers knows, models leave as under hotbunk's own policies.
    One that is ``restless`` has something to do even when nobody waits.
    """

    restless: ClassVar[bool] = False

    def admit(self, snapshot: Snapshot, model: Model, sequence: int) -> Refuse | None:
        """Everyone may wait."""
        return None

    def least(self, model: Model) -> float:
        """A turn may end at once."""
        return 0.0

    def decide(self, snapshot: Snapshot) -> Verdict:
        """Nothing where nobody waits; else the steps, with the absent models that are waited for."""
        if not snapshot.up or (snapshot.calm and not self.restless):
            return Verdict()
        if actions := relief(snapshot, _drained) or self.steps(snapshot, _waiting(snapshot)):
            return Verdict(actions)
        return Verdict(wake=min((t for t in self.moments(snapshot) if t > snapshot.now), default=inf))

    def steps(self, snapshot: Snapshot, waiting: list[Model]) -> list[Decision]:
        """What to do now. ``waiting``: absent models that can be loaded; who has waited longest comes first."""
        raise NotImplementedError

    def moments(self, snapshot: Snapshot) -> Iterable[float]:
        """Times at which ``steps`` may say something else though nothing has happened; those past do not count."""
        return (m.retry for m in snapshot.models.values())


def _drained(model: Model) -> float:
    """A busy model's turn ends when it has nothing left to do."""
    return inf


def _waiting(snapshot: Snapshot) -> list[Model]:
    now, budget = snapshot.now, snapshot.budget
    absent = [(m.demand, m) for m in snapshot.models.values() if not m.resident and m.retry <= now]
    sought = [(since, m) for since, m in absent if since is not None and m.minimum <= budget]
    return [m for _, m in sorted(sought, key=lambda pair: pair[0])]


def entering(snapshot: Snapshot) -> list[Decision]:
    """Everyone into the free slots of resident models, before whoever waits for an absent one."""
    return [a for m in snapshot.models.values() if m.queue and m.free_slots for a in starts(m)]


def idle(snapshot: Snapshot) -> list[Model]:
    """The idle models, the least recently used first."""
    return sorted((m for m in snapshot.models.values() if m.idle), key=lambda m: m.used)


def busy(snapshot: Snapshot) -> list[Model]:
    """The busy models, those that have been there for the longest first: an order that stays while they drain."""
    return sorted((m for m in snapshot.models.values() if m.phase is Phase.READY and not m.idle), key=lambda m: m.since)


def leaving(snapshot: Snapshot, need: int, order: Iterable[Model]) -> tuple[Model, ...] | None:
    """The first models, in this ``order``, that must leave so that ``need`` bytes are free; None: all are too few."""
    lack = need - snapshot.free - snapshot.coming
    chosen = fewest(order, lack)
    return chosen if sum(m.bytes for m in chosen) >= lack else None


def swap(
    snapshot: Snapshot, model: Model, placement: Placement, order: Iterable[Model], besides: int = 0
) -> list[Decision]:
    """Load the model where the bytes are free, and ``besides`` others; else evict for it, in this ``order``."""
    need, why = placement.device.total + besides, claim(model, snapshot.now)
    if need <= snapshot.free:
        return [Load(model.id, why, placement)]
    return [a for victim in leaving(snapshot, need, order) or () for a in eviction(victim, why)]
