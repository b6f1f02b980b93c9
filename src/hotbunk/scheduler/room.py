"""Which models must leave so that another fits."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import inf

from hotbunk.placement import Placement
from hotbunk.scheduler.snapshot import Model, Phase, Snapshot


@dataclass(frozen=True, slots=True)
class Room:
    """A place for ``model``: ``victims`` must leave, which may begin at ``ready`` (inf: not before something ends)."""

    model: Model
    placement: Placement
    victims: tuple[Model, ...]
    ready: float


@dataclass(frozen=True, slots=True)
class Claims:
    """What earlier turns count on: ``taken`` bytes for ``models``, for which those ``leaving`` make room."""

    taken: int = 0
    models: tuple[str, ...] = ()
    leaving: tuple[str, ...] = ()

    def add(self, room: Room) -> Claims:
        """The claims, with one more turn's."""
        victims = tuple(m.id for m in room.victims)
        taken = self.taken + room.placement.device.total
        return Claims(taken, (*self.models, room.model.id), self.leaving + victims)


def find(
    snapshot: Snapshot, model: Model, claims: Claims, ends: Callable[[Model], float], missed: Callable[[Model], float]
) -> Room | None:
    """The best placement that the budget allows beside what is kept and claimed, and the fewest to leave for it.

    ``ends`` says when a busy model's turn ends; idle ones can leave at once. Of those who can leave at the same time
    the one goes first that is ``missed`` least.
    """
    kept = snapshot.kept(model, claims.models)
    for placement in model.placements:
        need = placement.device.total + claims.taken
        if need + kept <= snapshot.budget:
            victims = _victims(snapshot, need, claims, ends, missed)
            ready = max((_free_at(snapshot, m, ends) for m in victims), default=snapshot.now)
            return Room(model, placement, victims, ready)
    return None


def _victims(
    snapshot: Snapshot, need: int, claims: Claims, ends: Callable[[Model], float], missed: Callable[[Model], float]
) -> tuple[Model, ...]:
    missing, staying = need - snapshot.free, list[Model]()
    for model in snapshot.residents:
        if model.phase is Phase.LEAVING or model.id in claims.leaving:
            missing -= model.bytes
        elif not model.keep:
            staying.append(model)
    if missing <= 0:
        return ()
    return fewest(sorted(staying, key=lambda m: (_free_at(snapshot, m, ends), not m.idle, missed(m))), missing)


def shed(snapshot: Snapshot, ends: Callable[[Model], float]) -> tuple[Model, ...]:
    """Who leaves, since more is used than the budget allows: the first that suffice.

    Idle models go first, the least recently used before the others, then those whose turn is over, then any; those to
    be kept go last. What is on its way goes when it has come.
    """
    ready = [m for m in snapshot.models.values() if m.phase is Phase.READY]
    order = sorted(ready, key=lambda m: (m.keep, _free_at(snapshot, m, ends), not m.idle, m.used))
    return fewest(order, snapshot.excess)


def fewest(models: Iterable[Model], missing: int) -> tuple[Model, ...]:
    """As many of the models, in this order, as have the missing bytes."""
    chosen: list[Model] = []
    for model in models:
        if missing <= 0:
            break
        chosen.append(model)
        missing -= model.bytes
    for model in reversed(chosen.copy()):  # a later, larger one may have made an earlier one needless
        if missing + model.bytes <= 0:
            chosen.remove(model)
            missing += model.bytes
    return tuple(chosen)


def _free_at(snapshot: Snapshot, model: Model, ends: Callable[[Model], float]) -> float:
    """When the model may begin to leave; an idle one at once, unless a request for it is on its way."""
    if model.phase is not Phase.READY:
        return inf
    end = min(model.expected, model.over) if model.idle else ends(model)
    return max(snapshot.now, end)
