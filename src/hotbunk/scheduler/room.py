"""Which models must leave so that another fits."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import inf
from typing import NamedTuple

from hotbunk.placement import Placement
from hotbunk.scheduler.snapshot import Model, Phase, Snapshot
from hotbunk.scheduler.value import lazy


class Room(NamedTuple):
    """A place for ``model``: ``victims`` must leave, which may begin at ``ready`` (inf: not before something ends).

    ``ceding``: one who stays, and has to do with the placement beside it.
    """

    model: Model
    placement: Placement
    victims: tuple[Model, ...]
    ready: float
    ceding: tuple[Model, Placement] | None = None


class Rooms:
    """Rooms at one moment, found one after the other: what is claimed for one is not there for the next.

    ``taken``: bytes that are claimed so far; ``models``: for whom; ``leaving``: who makes room for them.
    """

    def __init__(self, snapshot: Snapshot, missed: Callable[[Model], float]) -> None:
        """Of those who can leave at the same time the one goes first that is ``missed`` least."""
        self.taken = 0
        self._snapshot, self._missed = snapshot, missed
        self._free = snapshot.free + snapshot.coming
        self.models: list[str] = []
        self.leaving: set[str] = set()
        self._known: dict[Callable[[Model], float], dict[Model, float]] = {}

    def claim(self, room: Room) -> None:
        """Nobody else gets it."""
        self.taken += room.placement.device.total
        self.models.append(room.model.id)
        for victim in room.victims:
            self.leaving.add(victim.id)
            self._free += victim.bytes
        if room.ceding:
            model, placement = room.ceding
            self.leaving.add(model.id)
            self._free += model.bytes - placement.device.total

    def missing(self, placement: Placement) -> int:
        """Bytes that are not there for it, beside what is claimed."""
        return placement.device.total + self.taken - self._free

    def find(self, model: Model, ends: Callable[[Model], float], only: Placement | None = None) -> Room | None:
        """The best placement that the budget allows beside what is kept and claimed, and the fewest to leave for it.

        ``ends`` says when a busy model's turn ends; idle ones can leave at once. ``only``: no other placement is tried.
        """
        snapshot = self._snapshot
        left = snapshot.budget - self.taken - snapshot.kept(model, self.models)
        for placement in (only,) if only else model.placements:
            if placement.device.total <= left:
                return self._room(model, placement, self.missing(placement), ends)
        return None

    def _room(self, model: Model, placement: Placement, missing: int, ends: Callable[[Model], float]) -> Room:
        if missing <= 0:
            return Room(model, placement, (), self._snapshot.now)
        moments, leaving = self._moments(ends), self.leaving
        victims = fewest([m for m in moments if m.id not in leaving], missing)
        return Room(model, placement, victims, moments[victims[-1]] if victims else self._snapshot.now)

    def _moments(self, ends: Callable[[Model], float]) -> dict[Model, float]:
        """When each that may leave can begin to, in the order in which they would."""
        found = self._known.get(ends)
        if found is None:
            now, leaving = self._snapshot.now, self.leaving
            may = [each for each in self._candidates if each[3].id not in leaving]
            order = sorted([(_free_at(now, m, ends), busy, missed, place, m) for busy, missed, place, m in may])
            found = self._known[ends] = {m: at for at, _, _, _, m in order}
        return found

    @lazy
    def _candidates(self) -> list[tuple[bool, float, int, Model]]:
        """Who may leave: whether it is busy, how much it would be missed, and its place among them."""
        may = [m for m in self._snapshot.residents if not (m.keep or m.phase is Phase.LEAVING)]
        return [(not m.idle, self._missed(m), place, m) for place, m in enumerate(may)]


def shed(snapshot: Snapshot, ends: Callable[[Model], float]) -> tuple[Model, ...]:
    """Who leaves, since more is used than the budget allows: the first that suffice.

    Idle models go first, the least recently used before the others, then those whose turn is over, then any; those to
    be kept go last. What is on its way goes when it has come.
    """
    ready = [m for m in snapshot.models.values() if m.phase is Phase.READY]
    order = sorted(ready, key=lambda m: (m.keep, _free_at(snapshot.now, m, ends), not m.idle, m.used))
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


def _free_at(now: float, model: Model, ends: Callable[[Model], float]) -> float:
    """When the model may begin to leave; an idle one at once, unless a request for it is on its way."""
    if model.phase is not Phase.READY:
        return inf
    end = min(model.expected, model.over) if model.idle else ends(model)
    return max(now, end)
