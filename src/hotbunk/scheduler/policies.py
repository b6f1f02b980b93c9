"""The policies, chosen by name. A policy looks at one snapshot and says what to do next; it keeps no state."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import inf
from operator import attrgetter
from typing import ClassVar, NamedTuple, Protocol

from hotbunk.scheduler.actions import Decision, Load, Refuse, Resize, Suspend
from hotbunk.scheduler.agenda import Agenda, Bound, agenda, cost, least_turn
from hotbunk.scheduler.room import Room, Rooms
from hotbunk.scheduler.snapshot import Model, Phase, Snapshot
from hotbunk.scheduler.steps import claim, eviction, relief, starts


class Verdict(NamedTuple):
    """What to do now, and when to ask again if nothing happens before (inf: never)."""

    actions: Sequence[Decision] = ()
    wake: float = inf


class Policy(Protocol):
    """A way to decide. It keeps no state: whatever it goes by is in the snapshot."""

    def admit(self, snapshot: Snapshot, model: Model, sequence: int) -> Refuse | None:
        """Whether a request that has just come for ``model``, and is the last in its queue, may wait there."""

    def least(self, model: Model) -> float:
        """Seconds that a turn of ``model`` lasts at the least, from when it is ready."""

    def decide(self, snapshot: Snapshot) -> Verdict:
        """The next actions, each legal after those before it. It is asked again, with them done, until it has none."""


@dataclass(frozen=True, slots=True, eq=False)
class Turns:
    """What both policies share: turns on the device.

    Absent models that are waited for get turns in the order of priority and age, each taking room from those whose own
    turn is over. A subclass says when that is (``ends``). Whatever it says, once the agenda is due, any turn that has
    had its least duration may be ended for the first in it: that keeps the bound on waiting (``agenda`` has the proof).
    A model that is only expected comes last, and only where that costs nobody anything but idle models their place.
    Only to one that ``splits`` more placements of a model are offered than its best.
    """

    bound: Bound = field(default_factory=Bound)
    quantum: float = 2.0
    drains: ClassVar[bool] = False
    splits: ClassVar[bool] = False

    def ends(self, model: Model) -> float:
        """When the turn of a busy model ends if its room is wanted; inf: when it has nothing left to do."""
        raise NotImplementedError

    def admit(self, snapshot: Snapshot, model: Model, sequence: int) -> Refuse | None:
        """Admit whom we can serve within the bound; one who would be alone in waiting is always admitted."""
        everyone, waiting = sum([len(m.queue) for m in snapshot.queued]), snapshot.waiting
        if everyone == 1:
            return None
        if waiting > self.bound.queue:
            return Refuse(model.id, f"{waiting - 1} requests wait, as many as may", sequence, 1.0)
        if everyone > waiting:
            owed = agenda(snapshot, self.bound, self.quantum, everyone=True)
        else:  # then it is what the next decision asks for
            owed = snapshot.once(self._owed)
        if owed.turns > 1 and not owed.feasible:
            late = owed.horizon - owed.due
            why = f"it could not be started within {self.bound.wait:g} s: {owed.turns - 1} turns are owed already"
            return Refuse(model.id, why, sequence, late)
        return None

    def least(self, model: Model) -> float:
        """As long as its moves take, but no longer than the quantum."""
        return least_turn(model, self.quantum)

    def decide(self, snapshot: Snapshot) -> Verdict:
        """Start what can start, then make room and load where that can be done now; else say when to ask again.

        Before all that, whoever is too much for a budget that has fallen leaves.
        """
        if not snapshot.up or snapshot.calm:
            return Verdict()
        if surplus := relief(snapshot, self.ends):
            return Verdict(surplus)
        owed = snapshot.once(self._owed)
        now = snapshot.now
        forced = owed.first is not None and now >= owed.forced
        rooms = list(self._rooms(snapshot, owed, forced))
        if entering := self._entering(snapshot, rooms, owed, forced):
            return Verdict(entering)
        for room in rooms:
            if room.ready <= now and (moves := self._moves(snapshot, room, forced)):
                return Verdict(moves)
        if forced and owed.first and (rotation := _rotation(snapshot, snapshot.models[owed.first])):
            return Verdict(rotation)
        soon = [owed.forced, *[r.ready for r in rooms], *self._moments(snapshot)]
        if forced and owed.first:
            soon.append(snapshot.models[owed.first].over)  # then its slots can be given to others
        return Verdict(wake=min([t for t in soon if t > now], default=inf))

    def _owed(self, snapshot: Snapshot) -> Agenda:
        """Who is owed a turn, of those whose start is promised."""
        return agenda(snapshot, self.bound, self.quantum)

    def _entering(self, snapshot: Snapshot, rooms: list[Room], owed: Agenda, forced: bool) -> list[Decision]:
        """Who gets a free slot now."""
        ready = [m for m in snapshot.queued if m.free_slots]
        return [a for m in ready for a in starts(m, self._barrier(m, rooms, snapshot.now))]

    def _moments(self, snapshot: Snapshot) -> Iterable[float]:
        """When something else may be decided though nothing has happened; those past do not count."""
        return [m.retry for m in snapshot.models.values() if m.retry]

    def _rooms(self, snapshot: Snapshot, owed: Agenda, forced: bool) -> Iterator[Room]:
        """A room for each absent model that is wanted, as far as that delays nobody beyond the bound."""
        now, first, budget = snapshot.now, owed.first, snapshot.budget
        if not (wanted := self._wanted(snapshot, first if forced else None)):
            return
        rooms, needs = Rooms(snapshot, partial(self._missed, snapshot)), [self._needs(snapshot, m) for m in wanted]
        least = min(needs)
        for model, needed in zip(wanted, needs, strict=True):
            if rooms.taken + least > budget:
                return  # nothing is left for anybody
            if rooms.taken + needed > budget:
                continue  # those before it leave nothing
            if model.retry > now or not (model.id == first or owed.spare(cost(model, self.quantum))):
                continue
            ends = _least if forced and model.id == first else self._ends_for(snapshot, model)
            room = self._room(snapshot, model, rooms, ends)
            if room and (model.sought or _harmless(room, now)):
                yield room
                rooms.claim(room)

    def _needs(self, snapshot: Snapshot, model: Model) -> int:
        """The least bytes of the device that a room for it takes."""
        return model.minimum

    def _room(self, snapshot: Snapshot, model: Model, rooms: Rooms, ends: Callable[[Model], float]) -> Room | None:
        """Where an absent model goes, and who leaves for it."""
        return rooms.find(model, ends)

    def _wanted(self, snapshot: Snapshot, due: str | None) -> list[Model]:
        """Absent models that somebody waits for, in the order of their turns (``rank``), the one that is due first."""
        return self._first(sorted(snapshot.wanted, key=_rank), due)

    def _first(self, models: list[Model], due: str | None) -> list[Model]:
        """The one that is due before the others."""
        return models if due is None else sorted(models, key=lambda m: m.id != due)

    def _missed(self, snapshot: Snapshot, model: Model) -> float:
        """How much a model would be missed on the device: the least recently used least."""
        return model.used

    def _ends_for(self, snapshot: Snapshot, model: Model) -> Callable[[Model], float]:
        """When each busy model's turn ends for ``model``: for a lower priority, not before it has nothing to do."""
        if model.priority >= snapshot.once(_highest):
            return self.ends  # for all such models they leave in the same order
        return lambda busy: inf if busy.priority > model.priority else self.ends(busy)

    def _moves(self, snapshot: Snapshot, room: Room, forced: bool) -> list[Decision]:
        """Preempt and unload the victims; with none left and the bytes free, load."""
        if not (room.ceding or room.victims) and room.placement.device.total > snapshot.free:
            return []  # those who leave have not left yet
        model, why = room.model, self._claim(room.model, snapshot.now)
        if room.ceding:
            other, placement = room.ceding
            return [Resize(other.id, f"{why}; {placement.layers} layers are left to it", placement)]
        if room.victims:
            why += ", due by the bound on waiting" if forced else ""
            return [a for v in room.victims for a in eviction(v, why)]
        return [Load(model.id, why, room.placement)]

    def _claim(self, model: Model, now: float) -> str:
        """What the model claims the device for, in words."""
        return claim(model, now)

    def _barrier(self, model: Model, rooms: list[Room], now: float) -> float:
        """Younger sequences than this are not let in.

        Where the model leaves now, nobody is; where it drains, nobody who came after it was loaded and after those who
        wait for it to drain.
        """
        claimants = [r for r in rooms if model.id in {v.id for v in r.victims}]
        if any(r.ready <= now for r in claimants):
            return -inf
        demands = [r.model.demand for r in claimants if self.drains and r.model.priority >= model.priority]
        return max(model.since, min((t for t in demands if t is not None), default=inf))


class Fifo(Turns):
    """First come, first served: a busy model makes room only when its sequences have ended.

    It takes no newcomers while an older request waits for its room. Nobody is preempted unless the bound on waiting
    would be broken.
    """

    drains: ClassVar[bool] = True

    def ends(self, model: Model) -> float:
        """Not by the clock: a busy model drains; those who waited when it was loaded belong to its turn."""
        entering = bool(model.queue) and model.queue[0].since <= model.since  # the first has waited longest
        return inf if model.running or model.suspending or entering else model.since


class Timeslice(Turns):
    """Models share the device by time: one that others wait for is preempted when it has had ``quantum`` seconds."""

    def ends(self, model: Model) -> float:
        """A quantum after it could make its first token, but not before its least turn is over."""
        return max(model.turn + self.quantum, model.over)


_rank = attrgetter("rank")


def _least(model: Model) -> float:
    return model.over


def _highest(snapshot: Snapshot) -> float:
    """The highest priority of a resident."""
    return max([m.priority for m in snapshot.residents], default=-inf)


def _harmless(room: Room, now: float) -> bool:
    """Whether it can be had now, from nobody who has any use for it."""
    return room.ready <= now and all(victim.idle for victim in room.victims)


def _rotation(snapshot: Snapshot, model: Model) -> list[Decision]:
    """Slots for those who cannot wait longer, from the sequences that have run longest."""
    full = model.phase is Phase.READY and model.free_slots == 0 and not model.suspending
    if not full or snapshot.now < model.over:
        return []
    oldest = sorted(model.running, key=lambda s: s.since)[: len(model.newcomers)]
    return [Suspend(model.id, "its slot is due to one who has waited to the bound", s.id) for s in oldest]
