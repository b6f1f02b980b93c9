"""All that a policy may know: one immutable value. Times are seconds of the driver's clock, sizes bytes."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from math import exp, inf
from operator import attrgetter
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

from hotbunk.costs.rates import PROMISE, Promise, Rates
from hotbunk.placement import Placement
from hotbunk.scheduler.line import Line, Sequence
from hotbunk.scheduler.value import Value, lazy

__all__ = ["OF_LATE", "Chain", "Model", "Phase", "Sequence", "Snapshot"]

T = TypeVar("T")

OF_LATE = 120.0
"""Seconds over which the rate of requests is taken: what is older by as much counts for 1/e."""


class Phase(Enum):
    """Where a model is on its way to the device and back."""

    ABSENT = "absent"
    LOADING = "loading"
    READY = "ready"
    RESIZING = "resizing"
    LEAVING = "leaving"


@dataclass(frozen=True, eq=False)
class Model(Value):
    """A model, its place, and those who want it. What follows from it is worked out once.

    ``placements`` are the ways it may be loaded, best first. ``load`` and ``leave`` bound the seconds that bringing it
    in and taking it out (its sequences' state included) may take; what takes longer delays all by as much. A **turn**
    is one stay on the device: ``over`` is when the turn has had its ``least`` duration, so that the model may be
    preempted for one whose time has come. Its time counts from ``turn`` on, the first moment with no move under way
    (inf: that is still to come), since others' moves may keep it from making a token. A resize under way ``yields`` so
    many bytes. Until ``expected`` a request that is being prepared may be submitted. ``asked`` is when the last one
    came, ``used`` when one last entered or left a slot, ``left`` when the model last began to leave.

    An administrator may have ordered the first of ``placements``: then ``offers`` are those without the order, which
    hold again when the model has left; else they are empty.

    ``rates`` are what it costs at each of ``placements``, as far as known, ``promise`` is what its users may expect.
    ``answers`` is the mean length of the latest ``answered`` answers in tokens, ``prompts`` that of prompts, ``rate``
    the requests a second of late, as they were at ``asked``.
    """

    id: str
    placements: tuple[Placement, ...]
    load: float = 1.0
    leave: float = 0.5
    priority: int = 0
    keep: bool = False
    rates: tuple[Rates, ...] = ()
    promise: Promise = PROMISE
    offers: tuple[Placement, ...] = ()
    phase: Phase = Phase.ABSENT
    placement: Placement | None = None
    yields: int = 0
    since: float = 0.0
    asked: float = 0.0
    used: float = 0.0
    left: float = 0.0
    turn: float = inf
    over: float = 0.0
    least: float = 0.0
    retry: float = 0.0
    wanted: float | None = None
    expected: float = 0.0
    answers: float = 0.0
    answered: int = 0
    prompts: float = 0.0
    rate: float = 0.0
    queue: Line = field(default_factory=Line)
    running: tuple[Sequence, ...] = ()
    suspending: tuple[Sequence, ...] = ()

    @lazy
    def bytes(self) -> int:
        """Device bytes it takes now, or is about to take, or has not yet given back."""
        return self.placement.device.total if self.placement else 0

    def asking(self, now: float) -> float:
        """Requests a second for it, of late."""
        return self.rate * exp((self.asked - now) / OF_LATE)

    def costs(self, placement: Placement) -> Rates:
        """What it costs at one of its placements; what is not known is taken for average."""
        return self._prices.get(_form(placement)) or self._average

    @lazy
    def _average(self) -> Rates:
        return Rates(load=self.load)

    @lazy
    def _prices(self) -> dict[tuple[object, ...], Rates]:
        """What is known of its costs, by the form of a placement; of those that are alike the first counts."""
        known: dict[tuple[object, ...], Rates] = {}
        for placement, rates in zip(self.placements, self.rates, strict=False):
            known.setdefault(_form(placement), rates)
        return known

    @lazy
    def pace(self) -> Rates:
        """What it costs where it is now, or where it would best be."""
        return self.costs(self.placement or self.placements[0])

    @lazy
    def best_pace(self) -> Rates:
        """What it costs where it would best be."""
        return self.costs(self.placements[0])

    @lazy
    def way_out(self) -> float:
        """Seconds in which it leaves, the states of those who run carried out before."""
        return self.pace.unload + sum([s.prompt + s.made for s in self.running]) * self.pace.carry

    @lazy
    def slots(self) -> int:
        """Sequences that can run at once: where it is now, or where it would best be."""
        return (self.placement or self.placements[0]).slots

    @lazy
    def free_slots(self) -> int:
        """Slots in which a sequence could start at once; a suspending sequence still has its own."""
        ready = self.phase is Phase.READY
        return self.slots - len(self.running) - len(self.suspending) if ready else 0

    @lazy
    def resident(self) -> bool:
        """Whether it takes device memory."""
        return self.phase is not Phase.ABSENT

    @property
    def newcomers(self) -> tuple[Sequence, ...]:
        """Those who wait and have not been started yet."""
        return self.queue.newcomers

    @property
    def entry(self) -> Iterator[Sequence]:
        """Those who wait, in the order in which they may enter: newcomers, whose start is promised, then preempted."""
        yield from self.queue.newcomers
        if self.queue.preempted:
            yield from (s for s in self.queue if s.started)

    @lazy
    def heads(self) -> array[float]:
        """Since when the first of each turn waits that is owed to newcomers; a turn is for as many as have slots."""
        return self.queue.heads(self.slots)

    @lazy
    def all_heads(self) -> array[float]:
        """The same for everyone who waits."""
        return self.queue.heads(self.slots, everyone=True)

    @lazy
    def idle(self) -> bool:
        """Ready, and nobody has a use for it."""
        return self.phase is Phase.READY and not (self.running or self.suspending or self.queue)

    @lazy
    def demand(self) -> float | None:
        """Since when somebody waits for it; None if nobody does."""
        since = [self.queue[0].since] if self.queue else []
        if self.wanted is not None and not self.resident:
            since.append(self.wanted)
        return min(since, default=None)

    @lazy
    def sought(self) -> bool:
        """Whether it has a claim to the device: somebody waits for it, or it is to be kept there."""
        return self.keep or self.demand is not None

    @lazy
    def standing(self) -> tuple[bool, bool, int]:
        """Its place among absent models: first those to be kept, then by priority, last those only expected."""
        return not self.keep, not self.sought, -self.priority

    @lazy
    def rank(self) -> tuple[tuple[bool, bool, int], float]:
        """The same, those that are alike by how long they have been without the device.

        Who has just left is not loaded again before the next.
        """
        return self.standing, max(self.since, self.demand or 0.0)

    @lazy
    def whole(self) -> int:
        """Bytes of the device that the best placement takes."""
        return self.placements[0].device.total

    @property
    def space(self) -> tuple[Phase, Placement | None, int, bool]:
        """All of it that tells how much of the device it takes, and whether it is to stay there."""
        return self.phase, self.placement, self.yields, self.keep

    @lazy
    def smallest(self) -> Placement:
        """The placement that takes the least of the device."""
        return min(self.placements, key=lambda p: p.device.total)

    @lazy
    def lasting(self) -> dict[Any, Any]:
        """What others work out of it, which holds as long as it says itself (``urgency``)."""
        return {}

    @lazy
    def minimum(self) -> int:
        """The least bytes of the device that it can do with."""
        return self.smallest.device.total

    @lazy
    def lesser(self) -> tuple[tuple[int, float, Placement], ...]:
        """Placements with slots for those who run, that give back bytes of the device: how many, and what moves cost.

        Those are the seconds of coming and going once.
        """
        running, here = len(self.running), self.bytes
        less = [p for p in self.placements if p.slots >= running]
        return tuple([(spared, self.costs(p).moves, p) for p in less if (spared := here - p.device.total) > 0])

    @lazy
    def spared(self) -> int:
        """The most bytes that one of them gives back."""
        return max([spared for spared, _, _ in self.lesser], default=0)

    @lazy
    def moves(self) -> float:
        """Seconds that it takes to come and to leave, at the most."""
        return self.load + self.leave

    def best(self, room: int) -> Placement | None:
        """The best placement that takes no more than ``room`` bytes of the device."""
        return next((p for p in self.placements if p.device.total <= room), None)

    def sequences(self) -> Iterator[Sequence]:
        """All its sequences, in whatever state."""
        yield from self.queue
        yield from self.running
        yield from self.suspending


class Chain(NamedTuple):
    """Who is asked after a model's answers (``chains``): ``heirs`` has the share of them after which another model was.

    Those ``seen`` until the moment ``open`` follow the last answer.
    """

    heirs: Mapping[str, float] = MappingProxyType({})
    open: float = 0.0
    seen: frozenset[str] = frozenset()


@dataclass(frozen=True, eq=False)
class Snapshot(Value):
    """One device at one moment. ``up`` is False while its worker is being restarted.

    The ``budget`` may change; when it falls, more may be used than it allows until enough models have left. ``chains``
    are apart from the models, since each request tells something of many, whose last moments are kept with them.
    """

    budget: int
    now: float = 0.0
    up: bool = True
    models: Mapping[str, Model] = field(default_factory=dict)
    chains: Mapping[str, Chain] = field(default_factory=dict)

    @lazy
    def used(self) -> int:
        """Device bytes taken or promised."""
        return sum([m.bytes for m in self.residents])

    @lazy
    def free(self) -> int:
        """Bytes of the budget that a load may take at once; negative when the budget has just fallen."""
        return self.budget - self.used

    def could(self, model: Model, placement: Placement) -> bool:
        """Whether a model that stands could be resized to a placement now."""
        return model.phase is Phase.READY and placement.device.total <= self.free + model.bytes

    @lazy
    def coming(self) -> int:
        """Bytes that those who leave, or become smaller, give back."""
        return sum([m.bytes if m.phase is Phase.LEAVING else m.yields for m in self.residents])

    @lazy
    def excess(self) -> int:
        """Bytes above the budget that nobody gives back yet."""
        return -self.free - self.coming if self.free < 0 else 0

    @lazy
    def _known(self) -> dict[Any, Any]:
        return {}

    def once(self, function: Callable[[Snapshot], T]) -> T:
        """What a function makes of this moment, worked out once."""
        known = self._known
        if function not in known:
            known[function] = function(self)
        found: T = known[function]
        return found

    @lazy
    def keeps(self) -> bool:
        """Whether there is a model to be kept on the device."""
        return any(map(_keep, self.models.values()))

    @property
    def calm(self) -> bool:
        """Whether nobody waits for anything: no sequence for a slot, no absent model to be loaded, no byte too much."""
        return not (self.queued or self.excess > 0 or self.wanted)

    def kept(self, model: Model, besides: Collection[str] = ()) -> int:
        """Bytes of the budget that are not for ``model`` but for those to be kept, apart from ``besides``.

        One to be kept yields to those known before it; what cannot be there anyway gets nothing.
        """
        if not self.keeps:
            return 0
        taken, known = 0, False
        for other in self.models.values():
            if other.id == model.id:
                known = True
            elif other.keep and other.id not in besides:
                wish = 0 if model.keep and known else other.placements[0].device.total
                taken += max(other.bytes, wish if taken + wish <= self.budget else 0)
        return taken

    def fits(self, model: Model) -> bool:
        """Whether there is a placement that the budget allows it, whoever else has to leave."""
        return model.minimum + self.kept(model) <= self.budget

    @lazy
    def residents(self) -> tuple[Model, ...]:
        """The models that take device memory."""
        return tuple([m for m in self.models.values() if m.resident])

    @lazy
    def moving(self) -> bool:
        """Whether a move is under way."""
        return bool([m for m in self.residents if m.phase is not Phase.READY])

    @property
    def over(self) -> float:
        """When the turn of every resident has had its least duration."""
        return max([self.now, *[m.over for m in self.residents]])

    @property
    def clear(self) -> float:
        """The same, and whoever leaves now has left: a load that is ordered now begins by then.

        So a model that is there within its bound can only be there sooner than ``over`` says (``agenda``).
        """
        return self.over + sum([m.leave for m in self.residents if m.phase is Phase.LEAVING])

    @property
    def settled(self) -> float:
        """When moves under way are over, and the turns that they begin: nobody else's turn is waited for."""
        return max([self.now, *[m.over for m in self.residents if m.phase is not Phase.READY]])

    @lazy
    def queued(self) -> tuple[Model, ...]:
        """The models for which somebody waits."""
        return tuple([m for m in self.models.values() if m.queue])

    @lazy
    def wanted(self) -> tuple[Model, ...]:
        """The absent models that have a claim to the device, or for which a request is expected."""
        return tuple([m for m in self.models.values() if not m.resident and (m.sought or m.expected > self.now)])

    @lazy
    def servable(self) -> tuple[Model, ...]:
        """Those of them for whom the budget has room, whoever else has to leave."""
        return tuple([m for m in self.queued if m.resident or self.fits(m)])

    @lazy
    def waiting(self) -> int:
        """How many sequences have not been started yet."""
        return sum([len(m.queue) - m.queue.preempted for m in self.queued])

    def put(self, model: Model, now: float | None = None) -> Snapshot:
        """The same with one model changed, maybe at another moment. Most changes leave the ``space`` as it is."""
        models = {**self.models, model.id: model}
        made, before = self.but(models=models, now=self.now if now is None else now), self.models.get(model.id)
        return made._like(self, _SPACE) if before and before.space == model.space else made

    def at(self, now: float, **changes: Any) -> Snapshot:
        """The same models and budget at another moment: what follows from these lasts."""
        return self.but(now=now, **changes)._like(self, _LASTING)

    def _like(self, other: Snapshot, names: Iterable[str]) -> Snapshot:
        """With what is known of another one."""
        known, mine = other.__dict__, self.__dict__
        for name in names:
            if name in known:
                mine[name] = known[name]
        return self


_SPACE = ("used", "free", "coming", "excess", "keeps", "moving")
"""What follows from the models' ``space`` and the budget alone."""
_LASTING = (*_SPACE, "residents", "queued", "servable", "waiting")
_keep = attrgetter("keep")


def _form(placement: Placement) -> tuple[object, ...]:
    """What makes a placement, but for the bytes that it takes."""
    return placement.layers, placement.experts, placement.context, placement.slots
