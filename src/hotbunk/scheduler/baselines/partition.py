"""Static partition: the device is divided once, and every model has its share for ever.

It mirrors no peer, but what an administrator does who starts one server for each model (llama.cpp's ``llama-server``,
or vLLM, with a share of the memory each). Each model has the best placement that fits its share and, once loaded at
its first request, stays; nothing is ever moved for another. The shares are equal, or in proportion to ``weights``.

A model for which not even the smallest placement fits its share gets none. As many bytes as the smallest placement of
any such model takes are set aside before the others' shares are made, and with what these leave unused they are the
common room for all such models: they are loaded there on demand, in the order in which they were first asked for, and
leave when idle for the next, the least recently used first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from hotbunk.placement import Placement
from hotbunk.scheduler.actions import Decision
from hotbunk.scheduler.baselines.base import Baseline, entering, idle, swap
from hotbunk.scheduler.snapshot import Model, Snapshot

__all__ = ["Partition"]


@dataclass(frozen=True)
class Partition(Baseline):
    """Shares in proportion to ``weights``, by the models' names; a model without one has the weight 1."""

    weights: Mapping[str, float] = field(default_factory=dict)

    def steps(self, snapshot: Snapshot, waiting: list[Model]) -> list[Decision]:
        """Start what can start; load whoever has a share, and in the common room the first of the others."""
        if (actions := entering(snapshot)) or not waiting:
            return actions
        places = self.places(snapshot)
        common = snapshot.budget - sum(p.device.total for p in places.values())
        guests = [m for m in waiting if m.id not in places]
        # where the budget or the models have changed, a model may be in another one's place: it is a guest there
        movable = [m for m in idle(snapshot) if m.id not in places or m.bytes > places[m.id].device.total]
        for model in [m for m in waiting if m.id in places]:
            if actions := swap(snapshot, model, places[model.id], movable):
                return actions
        placement = guests[0].best(common) if guests else None
        reserved = sum(p.device.total for id, p in places.items() if not snapshot.models[id].resident)
        return swap(snapshot, guests[0], placement, movable, reserved) if placement else []

    def places(self, snapshot: Snapshot) -> dict[str, Placement]:
        """By model, where it is for ever; those without a share are left out."""
        sized = ((m, m.minimum, self.weights.get(m.id, 1.0)) for m in snapshot.models.values())
        members = [(model, size, weight) for model, size, weight in sized if size <= snapshot.budget]
        common = 0
        while members:
            unit = (snapshot.budget - common) / sum(weight for _, _, weight in members)
            large = [size for _, size, weight in members if size > unit * weight]
            if not large:
                return {m.id: place for m, _, weight in members if (place := m.best(int(unit * weight)))}
            members = [member for member in members if member[1] <= unit * member[2]]
            common = max(common, *large)
        return {}
