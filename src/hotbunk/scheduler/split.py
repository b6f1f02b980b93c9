"""Whether a model does better with fewer layers on the device, beside the others, than with all of it in their place.

Both ways are priced in seconds of the device. Of ``n`` requests that would share a turn (those that are there, and
those that come, at the rate of late, within the promised TTFT) each takes ``w(p)`` seconds of the device's loop at a
placement ``p``: an average prompt, and an average answer's share of the steps that it takes with the others. ``g(p)``
are the seconds of coming and going once, in which the placement's share of the memory does nothing, while the others
go on with theirs. ``h`` is a state's way, and ``a`` the requests a second of late:

    switch    = g + sum over the victims v of x (g_v + 2 h_v + b_v)
    split(p)  = g(p) + n (w(p) - w(whole))
    cede(v,p) = g + g_v(p) + n_v (w_v(p) - w_v(here))

where ``x`` is 1 for a busy victim, which will come back; an idle one does if it is asked for before those who are
absent: x = a_v / (a_v + the sum of a over them). A promise that is broken costs what was promised, T. If ``l`` seconds
pass until the victim begins to come back (the newcomer's load, and a stay as long as its moves), and ``r`` until it has
come and done an average prompt, those who ask for it early enough wait longer than that:

    b = T a_v max(0, l + r - T), but at least T where r > T: then anybody does

A split model leaves, to come back whole, when what it loses is more than a switch, the promises of those in its queue
that either breaks included, and grows where there is room and it would lose more than the move takes.

``cede`` is a resident v that gives up layers, so that all of the newcomer has room; ``g_v(p)`` keeps all of v's memory.
Both keep the promises: a step of everyone who is busy, in turn, within the least promised TPOT; load and longest
prompt within the promised TTFT, or what they take at the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from hotbunk.costs.rates import Rates
from hotbunk.placement import Placement
from hotbunk.scheduler.room import Rooms
from hotbunk.scheduler.snapshot import Model, Phase, Snapshot
from hotbunk.scheduler.urgency import ANSWER, carried

__all__ = ["Cession", "cession", "gain", "growth", "possible", "split", "switch"]


class Cession(NamedTuple):
    """A resident that has to do with a smaller placement, and its price in seconds."""

    price: float
    model: Model
    placement: Placement


def switch(snapshot: Snapshot, model: Model, victims: Iterable[Model]) -> float:
    """Seconds that it takes to have all of a model in the place of others, with their coming back."""
    price, new = _coming(snapshot, model), model.best_pace
    rivals = snapshot.once(_absent)
    for victim in victims:
        own = victim.asking(snapshot.now)
        again = (own and own / (own + rivals)) if victim.idle else 1.0
        carries = sum(carried(victim, s) for s in victim.running)
        whole, promised = victim.best_pace, victim.promise.ttft
        back = whole.load + victim.prompts * whole.token
        late = max(float(back > promised), own * (new.load + new.moves + back - promised))
        price += again * (_coming(snapshot, victim) + 2 * carries + late * promised)
    return price


def _absent(snapshot: Snapshot) -> float:
    """Requests a second for models that are not there."""
    now = snapshot.now
    return sum([m.asking(now) for m in snapshot.models.values() if not m.resident])


def split(snapshot: Snapshot, model: Model, room: int) -> tuple[float, Placement] | None:
    """The cheapest placement within ``room`` bytes that keeps everyone's promise, and its price."""
    beside, lost = _busy(snapshot, model), _losses(model, snapshot.now)
    found = [
        (_moves(snapshot, model, each) + lost(each), each)
        for each in model.placements[1:]
        if each.device.total <= room and _kept(model, each, beside)
    ]
    return min(found, key=lambda pair: pair[0], default=None)


def possible(snapshot: Snapshot, model: Model, room: int, rooms: Rooms) -> bool:
    """Whether ``room`` bytes have a place for less than all of a model, or a resident could give up enough for it."""
    missing = _missing(snapshot, model, rooms)
    return model.minimum <= room or any(m.spared >= missing for m in snapshot.once(_ceding))


def cession(snapshot: Snapshot, model: Model, rooms: Rooms, below: float) -> Cession | None:
    """The cheapest that makes room for all of a model for less than ``below``, and keeps everyone's promise."""
    whole = model.placements[0]
    if whole.device.total + snapshot.kept(model, rooms.models) > snapshot.budget:
        return None
    best, missing, coming = None, _missing(snapshot, model, rooms), _coming(snapshot, model)
    for other in snapshot.once(_ceding):
        if other.spared < missing or other.id in rooms.leaving or other.priority > model.priority:
            continue
        share = other.bytes / snapshot.budget
        enough = ((moves * share, less) for spared, moves, less in other.lesser if spared >= missing)
        if not (near := [each for each in enough if each[0] + coming < below]):
            continue  # whatever it loses besides
        lost, beside = _losses(other, snapshot.now), _beside(snapshot, other, model)
        for moves, less in near:
            price = moves + max(0.0, lost(less)) + coming
            if price < below and _kept(other, less, beside):
                best, below = Cession(price, other, less), price
    return best


def _missing(snapshot: Snapshot, model: Model, rooms: Rooms) -> int:
    """Bytes to be given up for all of a model: also those above the budget, which a resize cannot leave to others."""
    return max(rooms.missing(model.placements[0]), -snapshot.free)


def _ceding(snapshot: Snapshot) -> list[Model]:
    """Residents that may be made smaller now."""
    ready = [m for m in snapshot.residents if m.phase is Phase.READY and m.rates and m.over <= snapshot.now]
    return [m for m in ready if not (m.suspending or m.keep)]


def _beside(snapshot: Snapshot, model: Model, newcomer: Model) -> list[tuple[float, float]]:
    """Steps and promised TPOTs of those who are busy beside a model once another one, whole, has come."""
    step = newcomer.best_pace.decode(min(len(newcomer.queue), newcomer.placements[0].slots))
    return [*_busy(snapshot, model), (step, newcomer.promise.tpot)]


def growth(snapshot: Snapshot, model: Model) -> Placement | None:
    """A larger placement in the free bytes, if what a resident model's requests gain there is more than the move."""
    here, larger = model.placement, model.best(model.bytes + snapshot.free)
    if here is None or larger is None or larger.slots < here.slots or larger.device.total <= here.device.total:
        return None
    return larger if -_losses(model, snapshot.now)(larger) > model.costs(larger).load else None


def _losses(model: Model, now: float) -> Callable[[Placement], float]:
    """Seconds by which the requests that would share a turn take longer at a placement than where the model is now.

    If it is absent, than at the whole.
    """
    count = len(model.queue) + len(model.running) + model.asking(now) * model.promise.ttft
    here = _each(model, model.placement or model.placements[0], count)
    return lambda placement: count * (_each(model, placement, count) - here)


def gain(snapshot: Snapshot, model: Model, victims: Iterable[Model]) -> float:
    """Seconds saved if a split model comes back whole in the place of others; ``snapshot`` is without it."""
    whole, left = model.best_pace, model.pace
    prompts = [s.prompt for s in model.queue if not s.started]
    kept = sum(_broken(model, left, n) - _broken(model, whole, n, left.unload + whole.load) for n in prompts)
    lost = -_losses(model, snapshot.now)(model.placements[0])
    return lost + kept - switch(snapshot, model, victims)


def _broken(model: Model, costs: Rates, prompt: float, before: float = 0.0) -> float:
    """The price of a promise that is broken by a prompt, and by what comes ``before`` it: what was promised."""
    promised = model.promise.ttft
    return promised if before + prompt * costs.token > promised else 0.0


def _each(model: Model, placement: Placement, count: float) -> float:
    """Seconds of the loop for one request of so many."""
    costs, together = model.costs(placement), max(1.0, min(count, placement.slots))
    step = (costs.step + (together - 1) * costs.each) / together
    return model.prompts * costs.token + (model.answers or ANSWER) * step


def _moves(snapshot: Snapshot, model: Model, placement: Placement) -> float:
    """Seconds of the device that coming and going once take of its memory's time."""
    return model.costs(placement).moves * placement.device.total / snapshot.budget


def _coming(snapshot: Snapshot, model: Model) -> float:
    """The same for all of it."""
    return model.best_pace.moves * model.whole / snapshot.budget


def _kept(model: Model, placement: Placement, others: Sequence[tuple[float, float]]) -> bool:
    """Whether a model at a placement keeps its promise, and ``others`` theirs: their steps and TPOTs, in seconds."""
    costs, whole = model.costs(placement), model.best_pace
    at_once = min(len(model.queue) + len(model.running), placement.slots)
    cycle = costs.decode(at_once) + sum(step for step, _ in others)
    longest = max((s.prompt for s in model.queue if not s.started), default=0)
    first = costs.load + longest * costs.token
    in_time = first <= max(model.promise.ttft, whole.load + longest * whole.token)
    return in_time and cycle <= min([model.promise.tpot, *(tpot for _, tpot in others)])


def _busy(snapshot: Snapshot, but: Model) -> list[tuple[float, float]]:
    """Steps and promised TPOTs of those who have something to do."""
    return [beside for name, beside in snapshot.once(_all_busy) if name != but.id]


def _all_busy(snapshot: Snapshot) -> list[tuple[str, tuple[float, float]]]:
    busy = [m for m in snapshot.residents if not m.idle]
    return [(m.id, (m.pace.decode(len(m.running)) if m.running else 0.0, m.promise.tpot)) for m in busy]
