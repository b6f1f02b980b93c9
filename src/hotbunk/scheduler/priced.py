"""The policy that prices: each move is weighed in seconds against the promises that it keeps and that it breaks.

docs/policy.md explains it in one page. In short: every waiting sequence has a last moment at which it may enter a slot
(``urgency``), and so every absent model has one at which its load must begin. Until then it waits, the longer the more
the device has to do: whoever comes meanwhile shares its turn. Then those make room who are missed least.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from heapq import nsmallest
from math import inf

from hotbunk.scheduler.actions import Decision, Suspend
from hotbunk.scheduler.agenda import Agenda
from hotbunk.scheduler.policies import Turns
from hotbunk.scheduler.room import Room
from hotbunk.scheduler.snapshot import Model, Phase, Sequence, Snapshot
from hotbunk.scheduler.steps import claim, enter
from hotbunk.scheduler.urgency import ANSWER, begin, carried, latest, laxity, remaining

__all__ = ["Priced"]

FULL = 0.5
"""Share of the time for which a device has work, from which on it is spared every move: arrivals come in bursts."""
_STEPS = 2  # decode steps that may pass until a command is carried out
_FIRST = 32  # of those who wait for a slot, so many are looked at: who has just come is hardly the most urgent


@dataclass(frozen=True, slots=True)
class Priced(Turns):
    """Promises first, and as few moves as they need.

    ``share``: of a turn's time that its moves may take at most, unless the bound on waiting demands more; ``reserve``:
    the share of the promised TTFT that is kept for what nobody foresaw.
    """

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
        leaving = {victim.id for room in rooms if room.ready <= snapshot.now for victim in room.victims}
        ready = (m for m in snapshot.queued if m.phase is Phase.READY and m.id not in leaving)
        return [action for model in ready for action in self._enter(model, snapshot.now, owed)]

    def _enter(self, model: Model, now: float, owed: Agenda) -> Iterator[Decision]:
        """The most urgent into free slots; where there is none, in place of one that can wait longer."""

        def moment(sequence: Sequence) -> float:
            return latest(model, sequence, now, self.away)

        if free := max(0, model.free_slots):
            yield from (enter(model, s) for s in nsmallest(free, model.queue[:_FIRST], key=moment))
        elif not model.suspending and owed.spare(model.leave + self.least(model)):
            first = min(model.queue[:_FIRST], key=moment)
            due = moment(first) - carried(model, first) - self._ahead(model) <= now
            if due and (victim := _exchanged(model, first, now)):
                why = f"it can wait for {laxity(model, victim, now):.1f} s, and sequence {first.id} not any more"
                yield Suspend(model.id, why, victim.id)

    def _ahead(self, model: Model) -> float:
        """Seconds before the last moment at which one enters a slot: others' prompts may be before it."""
        return _STEPS * model.pace.decode(model.slots) + self.reserve * model.promise.ttft

    # ------------------------------------------------------------ turns

    def _wanted(self, snapshot: Snapshot, due: str | None) -> list[Model]:
        """Absent models by the moment at which their load must begin; those that are only expected come last."""
        begins = snapshot.once(self._begins)

        def rank(model: Model) -> tuple[bool, bool, bool, int, float]:
            return model.id != due, not model.keep, not model.sought, -model.priority, begins[model.id]

        return sorted((snapshot.models[name] for name in begins), key=rank)

    def _ends_for(self, snapshot: Snapshot, model: Model) -> Callable[[Model], float]:
        """For a promise, as late as it can be when the device is full, and at once when it has nothing else to do."""
        since, at, load = model.demand, snapshot.once(self._begins)[model.id], snapshot.once(_load)

        def ends(busy: Model) -> float:
            if busy.priority > model.priority:
                return inf
            if since is None or at == inf:
                return self.ends(busy)
            out = busy.pace.unload + sum(carried(busy, s) for s in busy.running)
            last = at - out - self.reserve * model.promise.ttft
            return max(self.ends(busy), since + load * (last - since))

        return ends

    def _missed(self, snapshot: Snapshot, model: Model) -> float:
        """Seconds of loading, a second and for each of its bytes, that its absence would cost at its rate of late."""
        return model.asking(snapshot.now) * model.pace.load / max(1, model.bytes)

    def _moments(self, snapshot: Snapshot) -> Iterable[float]:
        yield from Turns._moments(self, snapshot)
        for model in snapshot.queued:
            if model.phase is Phase.READY:
                ahead = self._ahead(model)
                yield from (latest(model, s, snapshot.now, self.away) - ahead for s in model.queue[:_FIRST])

    def _begins(self, snapshot: Snapshot) -> dict[str, float]:
        """For each absent model that is wanted, the moment at which its load must begin."""
        now = snapshot.now
        absent = (m for m in snapshot.models.values() if not m.resident and (m.sought or m.expected > now))
        return {model.id: begin(model, now, self.away) for model in absent}

    def _claim(self, model: Model, now: float) -> str:
        at = begin(model, now, self.away)
        return claim(model, now) if at == inf else f"{claim(model, now)}, whose promise needs it in {at - now:.1f} s"


def _exchanged(model: Model, first: Sequence, now: float) -> Sequence | None:
    """Who makes way in its slot for one that must enter now: who can wait for as long as that one will take."""
    step = model.pace.decode(model.slots)
    slack, victim = max(((laxity(model, s, now), s) for s in model.running), key=lambda pair: pair[0])
    needs = remaining(model, first, first.made) * step + first.prompt * model.pace.token
    return victim if slack > needs + 2 * carried(model, victim) else None


def _load(snapshot: Snapshot) -> float:
    """How full the device is, by what was asked of late: 1 from ``FULL`` on."""
    work = 0.0
    for model in snapshot.models.values():
        if model.rate:
            pace = model.pace
            token = pace.decode(model.slots) / model.slots
            each = model.prompts * pace.token + (model.answers or ANSWER) * token
            work += each * model.asking(snapshot.now)
    return min(1.0, work / FULL)
