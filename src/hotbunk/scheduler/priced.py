"""The policy that prices: every move is weighed in seconds against the promises that it keeps and breaks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from math import exp, inf

from hotbunk.scheduler.actions import Decision, Suspend
from hotbunk.scheduler.ledger import OF_LATE
from hotbunk.scheduler.policies import Turns
from hotbunk.scheduler.room import Room
from hotbunk.scheduler.snapshot import Model, Phase, Sequence, Snapshot
from hotbunk.scheduler.steps import enter
from hotbunk.scheduler.urgency import begin, latest, laxity, remaining

__all__ = ["Priced"]


@dataclass(frozen=True, slots=True)
class Priced(Turns):
    """Promises first, and as few moves as they need.

    ``share``: of a turn's time that its moves may take at most while the promises of others can still be kept;
    ``late``: the same where they cannot, and all that counts is to get done.
    """

    share: float = 0.5
    reserve: float = 0.3

    def ends(self, model: Model) -> float:
        """When it has had its least turn."""
        return model.over

    def least(self, model: Model) -> float:
        """As long as makes its moves no more than their share, but no longer than the bound on waiting allows."""
        return Turns.least(self, model)

    def _entering(self, snapshot: Snapshot, rooms: list[Room], forced: bool) -> list[Decision]:
        if forced:
            return Turns._entering(self, snapshot, rooms, forced)
        leaving = {v.id for room in rooms if room.ready <= snapshot.now for v in room.victims}
        found: list[Decision] = []
        for model in snapshot.queued:
            if model.phase is Phase.READY and model.id not in leaving:
                found += self._enter(model, snapshot.now)
        return found

    def _enter(self, model: Model, now: float) -> Iterator[Decision]:
        """The most urgent into free slots; where there is none, in place of one that can wait longer."""
        order = sorted(model.queue, key=lambda s: _urgency(model, s, now))
        free = model.free_slots
        yield from (enter(model, s) for s in order[:free])
        if free <= 0 and not model.suspending and (pair := self._exchange(model, order, now)):
            sequence, victim = pair
            why = f"it can wait, and sequence {sequence.id} cannot"
            yield Suspend(model.id, why, victim.id)

    def _exchange(self, model: Model, order: list[Sequence], now: float) -> tuple[Sequence, Sequence] | None:
        """Who must enter now or never, and who can be out of its slot for as long as that one will take."""
        first, pace = order[0], model.pace
        step = pace.decode(model.slots)
        if not now <= latest(model, first, now) <= now + 2 * step + _carried(model, first):
            return None
        slack, victim = max(((laxity(model, s, now), s) for s in model.running), key=lambda pair: pair[0])
        needs = remaining(model, first, first.made) * step + first.prompt * pace.token
        return (first, victim) if slack > needs + 2 * _carried(model, victim) else None

    def _moments(self, snapshot: Snapshot) -> Iterable[float]:
        yield from Turns._moments(self, snapshot)
        now = snapshot.now
        for model in snapshot.queued:
            if model.phase is Phase.READY:
                ahead = 2 * model.pace.decode(model.slots)
                yield from (latest(model, s, now) - ahead for s in model.queue[: model.slots])

    def _wanted(self, snapshot: Snapshot, due: str | None) -> list[Model]:
        """Those whose promises can be kept by the time at which they must begin, then the others by what they gain."""
        now = snapshot.now
        absent = [m for m in snapshot.models.values() if not m.resident and (m.sought or m.expected > now)]

        def rank(model: Model) -> tuple[bool, bool, bool, int, float]:
            first = model.id != due, not model.keep, not model.sought
            return *first, -model.priority, begin(model, now)

        return sorted(absent, key=rank)

    def _ends_for(self, snapshot: Snapshot, model: Model) -> Callable[[Model], float]:
        at = begin(model, snapshot.now)

        def ends(busy: Model) -> float:
            if busy.priority > model.priority:
                return inf
            fair = busy.since + busy.pace.moves * (1 / self.share - 1)
            early = self.reserve * model.promise.ttft + busy.pace.unload + _carrying(busy, snapshot.now)
            return max(busy.over, fair, at - early)

        return ends

    def _missed(self, snapshot: Snapshot, model: Model) -> float:
        """Seconds of loading a second that its absence would cost, for each of its bytes."""
        rate = model.rate * exp((model.asked - snapshot.now) / OF_LATE)
        return rate * model.pace.load / max(1, model.bytes)


def _urgency(model: Model, sequence: Sequence, now: float) -> tuple[bool, float]:
    """Who must enter first; whose promise is broken anyway comes after those whose is not."""
    at = latest(model, sequence, now)
    return at < now, sequence.since if at < now else at


def _gain(model: Model) -> float:
    """Requests that would be served for each second that it takes."""
    waiting = model.queue[: model.slots]
    work = sum(remaining(model, s, s.made) * model.pace.step + s.prompt * model.pace.token for s in waiting)
    return len(waiting) / (model.pace.moves + work)


def _carried(model: Model, sequence: Sequence) -> float:
    return (sequence.prompt + sequence.made) * model.pace.carry


def _carrying(model: Model, now: float) -> float:
    """Seconds to suspend all that run."""
    return sum(_carried(model, s) for s in model.running)
