"""The policy that prices: each move is weighed in seconds against the promises that it keeps and that it breaks.

docs/policy.md explains it in one page. In short: every waiting sequence has a last moment at which it may enter a slot
(``urgency``), and so every absent model has one at which its load must begin. Until then it waits, if there is no room:
whoever runs may end, and whoever comes meanwhile shares its turn. Then those make room who are missed least.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from math import inf
from typing import ClassVar

from hotbunk.scheduler.actions import Decision, Load, Resize, Suspend
from hotbunk.scheduler.agenda import Agenda, cost
from hotbunk.scheduler.policies import Turns, Verdict
from hotbunk.scheduler.room import Room, Rooms
from hotbunk.scheduler.snapshot import Model, Phase, Sequence, Snapshot
from hotbunk.scheduler.split import cession, gain, growth, possible, split, switch
from hotbunk.scheduler.steps import claim, enter, eviction
from hotbunk.scheduler.urgency import begin, carried, dues, laxity, overdue, remaining, settled, turned

__all__ = ["Priced"]


@dataclass(frozen=True, slots=True, eq=False)
class Priced(Turns):
    """Promises first, and as few moves as they need.

    ``share``: of a turn's time that its moves may take at most, unless the bound on waiting demands more; ``reserve``:
    the share of the promised TTFT that is kept for what nobody foresaw.
    """

    splits: ClassVar[bool] = True
    share: float = 0.5
    reserve: float = 0.25

    def ends(self, model: Model) -> float:
        """When its moves were worth it: they have had no more than their share of its turn."""
        return max(model.over, model.since + model.pace.moves * (1 / self.share - 1))

    @property
    def away(self) -> float:
        """Seconds for which one who has begun is kept out at most, late or not: well within the bound."""
        return self.bound.wait / 2

    # ------------------------------------------------------------ slots

    def _entering(self, snapshot: Snapshot, rooms: list[Room], owed: Agenda, forced: bool) -> list[Decision]:
        if forced:
            return Turns._entering(self, snapshot, rooms, owed, forced)
        leaving = snapshot.once(self._mending).keys() | self._leaving(snapshot, rooms)
        ready = (m for m in snapshot.queued if m.phase is Phase.READY and m.id not in leaving)
        return [action for m in ready for action in self._enter(m, snapshot.now, owed)]

    def _leaving(self, snapshot: Snapshot, rooms: list[Room]) -> set[str]:
        """Who leaves now, or as soon as all there have had their turn, which others who entered would put off."""
        until = snapshot.once(self._turned)
        soon = (room.victims for room in rooms if room.ready <= max([snapshot.now, *(until[v] for v in room.victims)]))
        return {victim.id for victims in soon for victim in victims}

    def _dues(self, model: Model, now: float) -> list[tuple[float, int]]:
        return dues(model, now, self.away, self.reserve)

    def _enter(self, model: Model, now: float, owed: Agenda) -> Iterator[Decision]:
        """The most urgent into free slots; where there is none, in place of one that can wait longer."""
        due = self._dues(model, now)
        if free := max(0, model.free_slots):
            yield from (enter(model, model.queue[at]) for _, at in due[:free])
        elif not model.suspending and owed.spare(model.leave + self.least(model)):
            moment, at = due[0]
            first = model.queue[at]
            if moment <= now and (victim := self._exchanged(model, first, now)):
                why = f"it can wait for {laxity(model, victim, now):.1f} s, and sequence {first.id} not any more"
                yield Suspend(model.id, why, victim.id)

    def _exchanged(self, model: Model, first: Sequence, now: float) -> Sequence | None:
        """Who makes way in its slot for one that must enter now: who can wait for as long as that one will take.

        Once that one has been away for as long as anybody may, whoever can wait longest does.
        """
        stayed = [s for moment, s in settled(model) if moment <= now]
        if not stayed:
            return None
        slack, victim = max(((laxity(model, s, now), s) for s in stayed), key=lambda pair: pair[0])
        needs = remaining(model, first, first.made) * model.pace.decode(model.slots) + first.prompt * model.pace.token
        spared = slack > needs + 2 * carried(model, victim)
        return victim if spared or overdue(model, first, now, self.away) else None

    # ------------------------------------------------------------ turns

    def _wanted(self, snapshot: Snapshot, due: str | None) -> list[Model]:
        """Absent models by the moment at which their load must begin; those that are only expected come last."""
        begins = snapshot.once(self._begins)
        return self._first(sorted(snapshot.wanted, key=lambda m: (m.standing, begins[m.id])), due)

    def _ends_for(self, snapshot: Snapshot, model: Model) -> Callable[[Model], float]:
        """As late as its promise allows: whoever runs may end before, and whoever comes meanwhile shares its turn."""
        at, stays = snapshot.once(self._begins)[model.id], snapshot.once(self._stays)
        early = self.reserve * model.promise.ttft
        patient = model.demand is not None and at < inf

        def ends(busy: Model) -> float:
            if busy.priority > model.priority:
                return inf
            end = stays[busy]
            return max(end, at - busy.way_out - early) if patient else end

        return ends

    def _stays(self, snapshot: Snapshot) -> dict[Model, float]:
        """When each resident's moves were worth it, and nobody there would go as it came."""
        until = snapshot.once(self._turned)
        return {model: max(self.ends(model), until[model]) for model in snapshot.residents}

    def _turned(self, snapshot: Snapshot) -> dict[Model, float]:
        """When whoever entered a slot of each resident last has had a turn of the loop."""
        return {model: turned(model) for model in snapshot.residents}

    def _missed(self, snapshot: Snapshot, model: Model) -> float:
        """Seconds of loading, a second and for each of its bytes, that its absence would cost at its rate of late."""
        return model.asking(snapshot.now) * model.pace.load / max(1, model.bytes)

    def decide(self, snapshot: Snapshot) -> Verdict:
        """What turns demand; else free bytes are used meanwhile, and a split model may grow, or leave to come whole."""
        verdict = Turns.decide(self, snapshot)
        if verdict.actions or not snapshot.up:
            return verdict
        if moves := self._between(snapshot):
            return Verdict(moves)
        until = snapshot.once(self._turned)
        for name, gained in snapshot.once(self._mending).items():
            if until[snapshot.models[name]] > snapshot.now:
                continue
            why = f"being split costs its requests {gained:.1f} s more than a switch"
            return Verdict(eviction(snapshot.models[name], why))
        return Verdict(grown) if (grown := self._grown(snapshot)) else verdict

    def _between(self, snapshot: Snapshot) -> list[Decision]:
        """Free bytes that are claimed, but cannot be used yet, for one that will be done by then."""
        now, free = snapshot.now, snapshot.free
        near = [m for m in snapshot.wanted if m.whole <= free and m.queue and m.retry <= now]
        small = [m for m in near if m.whole + snapshot.kept(m) <= free]
        if not small:
            return []
        owed = snapshot.once(self._owed)
        until = min((room.ready for room in self._rooms(snapshot, owed, forced=False)), default=inf)
        for model in sorted(small, key=_stay):
            stay = _stay(model)
            worth = model.pace.moves <= self.share * stay and snapshot.now + stay <= until
            if worth and owed.spare(cost(model, self.quantum)):
                why = f"{self._claim(model, snapshot.now)}; who is to have its place cannot come before it is done"
                return [Load(model.id, why, model.placements[0])]
        return []

    # ------------------------------------------------------------ splits

    def _split(self, snapshot: Snapshot) -> Iterator[Model]:
        """Who stands with less than all of it, and may be moved without delaying those who are owed a turn."""
        owed = snapshot.once(self._owed)
        for model in snapshot.residents:
            small = model.phase is Phase.READY and not model.suspending and model.bytes < model.whole
            if small and owed.spare(cost(model, self.quantum)):
                yield model

    def _grown(self, snapshot: Snapshot) -> list[Decision]:
        """A split model that is busy grows into free bytes that nobody waits for."""
        if any(m.sought and not m.resident for m in snapshot.models.values()):
            return []
        for model in self._split(snapshot):
            if model.running and (larger := growth(snapshot, model)):
                why = f"there is room for {larger.layers} layers, and its requests gain more than the move takes"
                return [Resize(model.id, why, larger)]
        return []

    def _mending(self, snapshot: Snapshot) -> dict[str, float]:
        """Split models that had better come back whole, with the seconds gained: nobody enters them any more."""
        found = {}
        for model in self._split(snapshot):
            if not (model.queue and model.placement) or self.ends(model) > snapshot.now:
                continue
            gone = snapshot.put(model.but(phase=Phase.ABSENT, placement=None))
            room = self._place(gone, model, Rooms(gone, partial(self._missed, gone)), self.ends)
            now = room and room.victims and room.ready <= snapshot.now  # into free bytes it would rather grow
            if room and now and (gained := gain(gone, model, room.victims)) > 0:
                found[model.id] = gained
        return found

    def _needs(self, snapshot: Snapshot, model: Model) -> int:
        """Those of ``_place``."""
        if snapshot.keeps or model.whole > snapshot.budget:
            return model.minimum
        return model.whole

    def _room(self, snapshot: Snapshot, model: Model, rooms: Rooms, ends: Callable[[Model], float]) -> Room | None:
        """All of it in others' place; or beside them with fewer layers (its own or one of theirs) if cheaper."""
        room = self._place(snapshot, model, rooms, ends)
        if not (room and room.victims and model.queue and model.rates):
            return room
        left = min(snapshot.free, snapshot.budget - snapshot.kept(model, rooms.models) - snapshot.used) - rooms.taken
        if not possible(snapshot, model, left, rooms):
            return room
        price = switch(snapshot, model, room.victims)
        if (cheapest := split(snapshot, model, left)) and cheapest[0] < price:
            price, room = cheapest[0], Room(model, cheapest[1], (), snapshot.now)
        given = cession(snapshot, model, rooms, price)
        if given and self._delays_nobody(snapshot, model, given.model):
            return Room(model, model.placements[0], (), snapshot.now, (given.model, given.placement))
        return room

    def _delays_nobody(self, snapshot: Snapshot, model: Model, ceding: Model) -> bool:
        """Whether those who are owed a turn are in time still, if another model is resized before this one comes."""
        resize = ceding.load + self.least(ceding)
        return snapshot.once(self._owed).spare(cost(model, self.quantum) + resize)

    def _place(self, snapshot: Snapshot, model: Model, rooms: Rooms, ends: Callable[[Model], float]) -> Room | None:
        """A room for as much of it as the budget allows beside what is to be kept, whoever has to leave."""
        return rooms.find(model, ends, model.best(snapshot.budget - snapshot.kept(model, rooms.models)))

    # ------------------------------------------------------------ when to ask again

    def _moments(self, snapshot: Snapshot) -> Iterable[float]:
        yield from Turns._moments(self, snapshot)
        for model in snapshot.queued:
            if model.phase is Phase.READY:
                due = self._dues(model, snapshot.now)
                yield from (moment for moment, _ in due[bisect(due, (snapshot.now, inf)) :][:1])
                if due[0][0] <= snapshot.now:  # who has settled can make way for it
                    yield from (moment for moment, _ in settled(model))
        until = snapshot.once(self._turned)
        yield from (until[snapshot.models[name]] for name in snapshot.once(self._mending))

    def _begins(self, snapshot: Snapshot) -> dict[str, float]:
        """For each absent model that is wanted, the moment at which its load must begin."""
        now, away = snapshot.now, self.away
        return {model.id: begin(model, now, away) for model in snapshot.wanted}

    def _claim(self, model: Model, now: float) -> str:
        at = begin(model, now, self.away)
        return claim(model, now) if at == inf else f"{claim(model, now)}, whose promise needs it in {at - now:.1f} s"


def _stay(model: Model) -> float:
    """Seconds that an absent model takes to come, to serve those who wait as far as it has slots, and to leave."""
    served, pace = model.queue[: model.slots], model.pace
    steps = max(remaining(model, s, s.made) for s in served)
    return pace.moves + sum(s.prompt for s in served) * pace.token + steps * pace.decode(len(served))
