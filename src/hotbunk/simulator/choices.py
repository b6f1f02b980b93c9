"""What can sensibly be done at a moment, as a policy that lets somebody else choose.

At each event, and at each multiple of ``grid`` seconds if that is given, it offers one choice after the other until
"nothing more, for now" is chosen:

- *enter*: a sequence that waits, into a free slot of its model; any of them, in any order. Of sequences that are alike
  in all, the first.
- *load*: an absent model for which somebody waits, or, with ``foresight``, will wait; each placement that fits.
- *evict*: a ready model, so that one that does not fit can be loaded. One that has something to do leaves only for one
  for which somebody waits, one that has nothing to do not before it has served somebody.
- *suspend*: a running sequence, in place: for one that waits for its slot, or for another model that is at work.
- *nothing more*: but not while the device has nothing to compute and a sequence could enter, nor if nothing would ever
  happen then.

What is done at the same moment is done in the order evict, load, suspend, enter, so that fewer ways lead to the same.
Nobody leaves in the moment in which he came. Nobody is refused, and nobody is resized.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import floor, inf

from hotbunk.scheduler.actions import Decision, Load, Refuse, Suspend
from hotbunk.scheduler.policies import Verdict
from hotbunk.scheduler.snapshot import Model, Phase, Sequence, Snapshot
from hotbunk.scheduler.steps import enter, eviction
from hotbunk.traces.trace import Trace

__all__ = ["Choice", "Choices"]

_EVICT, _LOAD, _SUSPEND, _ENTER, _PASS = range(5)
_WHY = "the search's choice"


@dataclass(frozen=True, slots=True)
class Choice:
    """Actions to take together, and which ``kind`` of choice that is; none: nothing more, for now."""

    kind: int
    actions: tuple[Decision, ...] = ()


_NOTHING = Choice(_PASS)


class Choices:
    """A policy for one run: first it does again what a ``beginning`` says, then it lets ``ask`` choose.

    ``ask`` is given a snapshot and the choices, two or more, the likely ones first.

    Attributes:
        path: what has been chosen so far, where there was no choice too.
    """

    def __init__(
        self,
        trace: Trace,
        beginning: tuple[Choice, ...],
        ask: Callable[[Snapshot, list[Choice]], Choice],
        foresight: bool = True,
        grid: float = inf,
    ) -> None:
        self.path: list[Choice] = []
        self._outputs = trace.output.tolist()
        self._last = {
            model: max(trace.arrival[trace.model == place], default=-inf) for place, model in enumerate(trace.models)
        }
        self._beginning, self._ask, self._foresight, self._grid = beginning, ask, foresight, grid
        self._passed: object = None
        self._before = 0.0, _EVICT, ""  # the last choice: when, its kind, its model

    def admit(self, snapshot: Snapshot, model: Model, sequence: int) -> Refuse | None:
        """Everybody."""

    def least(self, model: Model) -> float:
        """No turn has to last."""
        return 0.0

    def decide(self, snapshot: Snapshot) -> Verdict:
        """What was chosen."""
        place = len(self.path)
        chosen = self._beginning[place] if place < len(self._beginning) else self._chosen(snapshot)
        self.path.append(chosen)
        if chosen.actions:
            self._before = snapshot.now, chosen.kind, chosen.actions[-1].model
            return Verdict(chosen.actions)
        self._passed = self._state(snapshot)
        busy = any(m.queue or m.running for m in snapshot.models.values())
        return Verdict(wake=(self._tick(snapshot.now) + 1) * self._grid if busy and self._grid < inf else inf)

    def _chosen(self, snapshot: Snapshot) -> Choice:
        """Where nothing has changed since nothing more was to be done, nobody is asked again."""
        found = self._found(snapshot) if self._state(snapshot) != self._passed else []
        if len(found) > 1:
            return self._ask(snapshot, found)
        return found[0] if found else _NOTHING

    def _state(self, snapshot: Snapshot) -> object:
        models = tuple((m.phase, m.queue, m.running, m.suspending) for m in snapshot.models.values())
        return self._tick(snapshot.now), models

    def _tick(self, now: float) -> int:
        return floor(now / self._grid + 1e-9)

    def _found(self, snapshot: Snapshot) -> list[Choice]:
        since, kind, model = self._before
        if since < snapshot.now:
            kind = _EVICT
        entering = list(self._entering(snapshot))
        loading = list(self._loading(snapshot)) if kind <= _LOAD else []
        evicting = list(self._evicting(snapshot)) if kind == _EVICT else []
        if since == snapshot.now:  # of those that leave together there is one order, that of their names
            evicting = [each for each in evicting if each.actions[-1].model > model]
        suspending = list(self._suspending(snapshot)) if kind <= _SUSPEND else []
        waiting = [_NOTHING] if self._can_wait(snapshot, bool(entering)) else []
        if any(not m.resident for m in snapshot.queued):  # then room is made by those who have nothing to do
            idle = [each for each in evicting if len(each.actions) == 1]
            waiting = [*idle, *waiting]
            evicting = [each for each in evicting if each not in idle]
        return [*entering, *loading, *waiting, *evicting, *suspending]

    def _can_wait(self, snapshot: Snapshot, could_enter: bool) -> bool:
        models = snapshot.models.values()
        if any(m.running or m.suspending for m in models):
            return True
        moving = any(m.phase not in (Phase.ABSENT, Phase.READY) for m in models)
        return not could_enter and (moving or any(self._comes(m, snapshot.now) for m in models))

    def _comes(self, model: Model, now: float) -> bool:
        """Whether there will be requests for it."""
        return self._last[model.id] >= now

    def _wanted(self, snapshot: Snapshot) -> Iterator[Model]:
        """Absent models that should be loaded at some time, the longest waited for first."""
        absent = [m for m in snapshot.models.values() if not m.resident]
        yield from sorted((m for m in absent if m.queue), key=lambda m: m.queue[0].since)
        yield from (m for m in absent if self._foresight and not m.queue and self._comes(m, snapshot.now))

    def _loading(self, snapshot: Snapshot) -> Iterator[Choice]:
        for model in self._wanted(snapshot):
            for place in model.placements:
                if place.device.total <= snapshot.free:
                    yield Choice(_LOAD, (Load(model.id, _WHY, place),))

    def _evicting(self, snapshot: Snapshot) -> Iterator[Choice]:
        room = snapshot.free + snapshot.coming
        lacking = [m for m in self._wanted(snapshot) if m.placements[0].device.total > room]
        for model in snapshot.residents:
            busy = bool(model.running or model.suspending or model.queue)
            new = max(model.since, *(s.since for s in model.running), 0.0) >= snapshot.now
            may = model.phase is Phase.READY and not new and (busy or model.used > model.since)
            if may and any(other.queue or not busy for other in lacking):
                yield Choice(_EVICT, tuple(eviction(model, _WHY)))

    def _suspending(self, snapshot: Snapshot) -> Iterator[Choice]:
        at_work = [m.id for m in snapshot.residents if m.phase is Phase.READY and (m.running or m.queue)]
        for model in snapshot.residents:
            if (model.queue and not model.free_slots) or len(at_work) > 1:
                for each in model.running:
                    if each.since < snapshot.now:
                        yield Choice(_SUSPEND, (Suspend(model.id, _WHY, each.id),))

    def _entering(self, snapshot: Snapshot) -> Iterator[Choice]:
        """The shortest first."""
        ready = [m for m in snapshot.queued if m.free_slots > 0]
        alike = {(m.id, s.prompt, self._left(s), s.held, s.made): (m, s) for m in ready for s in reversed(m.queue)}
        for model, each in sorted(alike.values(), key=lambda pair: (self._left(pair[1]), pair[1].id)):
            yield Choice(_ENTER, (enter(model, each),))

    def _left(self, sequence: Sequence) -> int:
        return int(self._outputs[sequence.id]) - sequence.made
