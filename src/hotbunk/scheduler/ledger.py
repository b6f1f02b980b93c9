"""How the snapshot changes: one pure function for events, one for actions. Illegal actions are refused here.

Whatever a policy does, the ledger keeps the budget: a load or a resize that does not fit in the free bytes raises.
"""

from collections.abc import Iterable
from dataclasses import replace
from math import inf
from typing import Any

from hotbunk.placement import Placement
from hotbunk.scheduler import actions, events
from hotbunk.scheduler.chains import followed
from hotbunk.scheduler.line import Line, Sequence
from hotbunk.scheduler.snapshot import OF_LATE, Model, Phase, Snapshot

LATEST = 64
"""Answers over which their length is taken."""


class IllegalAction(Exception):
    """A policy asked for what cannot be; a bug in the policy."""


def observe(snapshot: Snapshot, event: events.Event) -> Snapshot:
    """The snapshot after ``event``. Events on what is not known (any more) change nothing but the time."""
    after = followed(_observed(snapshot, event), event)
    return _turning(after, inf, after.now) if snapshot.moving and not after.moving else after


def _turning(snapshot: Snapshot, before: float, turn: float) -> Snapshot:
    """Turns that counted from the moment ``before`` count from another one."""
    changed = {m.id: m.but(turn=turn) for m in snapshot.residents if m.turn == before}
    return snapshot.but(models={**snapshot.models, **changed}) if changed else snapshot


def _observed(snapshot: Snapshot, event: events.Event) -> Snapshot:
    now = max(event.now, snapshot.now)
    match event:
        case events.Lost():
            return snapshot.but(now=now, up=False, models={m.id: _lost(m, now) for m in snapshot.models.values()})
        case events.Restored():
            return snapshot.at(now, up=True)
        case events.Budget():
            return snapshot.but(now=now, budget=event.budget)
        case events.Added():
            return snapshot.put(_added(snapshot, event), now=now)
        case events.Removed():
            return snapshot.but(now=now, models={k: m for k, m in snapshot.models.items() if k != event.model})
    model = snapshot.models.get(getattr(event, "model", ""))
    if model is None:
        return snapshot.at(now)
    match event:
        case events.Wanted(placement=Placement() as ordered) if not model.resident or snapshot.could(model, ordered):
            model = _ordered(model, ordered) if event.holds else _offered(model)
    return snapshot.put(_changed(model, event, now), now=now)


def _added(snapshot: Snapshot, event: events.Added) -> Model:
    known = snapshot.models.get(event.model, Model(event.model, event.placements))
    ordered = known.placements[0] if known.offers else None
    known = known.but(placements=event.placements, offers=(), priority=event.priority, keep=event.keep)
    known = known.but(rates=event.rates, promise=event.promise, load=event.load, leave=event.leave)
    return _ordered(known, ordered) if ordered and ordered.device.total <= snapshot.budget else known


def _changed(model: Model, event: events.Event, now: float) -> Model:
    match event:
        case events.Expected():
            return model.but(expected=event.until)
        case events.Submitted():
            comes = Sequence(event.sequence, now, now, prompt=event.prompt, limit=event.limit)
            rate = model.asking(now) + 1 / OF_LATE
            prompts = model.prompts + (event.prompt - model.prompts) / (LATEST if model.prompts else 1)
            return model.but(queue=model.queue.joined(comes), asked=now, expected=0.0, rate=rate, prompts=prompts)
        case events.Finished():
            return _finished(model, event.sequence, event.made, now)
        case events.Suspended():
            return _suspended(model, event.sequence, event.made, now)
        case events.Loaded():
            if model.offers and event.placement == model.placements[0]:  # it counts for what it really takes
                model = _ordered(model, replace(event.placement, device=event.device))
            # whatever the bound on loading said: with no time left it would have come for nothing
            over = now + model.least
            ready = {"phase": Phase.READY, "placement": replace(event.placement, device=event.device), "yields": 0}
            times = {"since": now, "used": now, "turn": inf, "over": over, "retry": 0.0, "wanted": None}
            return model.but(**ready, **times, **_bounded(event.bounds))
        case events.Unloaded():
            return _gone(model, now, **_bounded(event.bounds))
        case events.Failed():
            return _gone(model, now, retry=event.retry, wanted=None)
        case events.Dismissed():
            return (model if model.resident else _offered(model)).but(wanted=None)
        case events.Wanted() if not model.resident:
            return model.but(wanted=now)
        case _:
            return model


def _ordered(model: Model, placement: Placement) -> Model:
    """With a placement that an administrator has ordered before all that it is offered."""
    offers = model.offers or model.placements
    return _placed(model, tuple(dict.fromkeys((placement, *offers))), offers)


def _offered(model: Model) -> Model:
    """With no placements but those that it is offered: what was ordered holds until it leaves."""
    return _placed(model, model.offers, ()) if model.offers else model


def _placed(model: Model, placements: tuple[Placement, ...], offers: tuple[Placement, ...]) -> Model:
    """With these placements, and what each costs beside it still."""
    rates = tuple(map(model.costs, placements)) if model.rates else ()
    return model.but(placements=placements, offers=offers, rates=rates)


def _bounded(bounds: tuple[float, float] | None) -> dict[str, float]:
    """What its moves were found to take."""
    return {"load": bounds[0], "leave": bounds[1]} if bounds else {}


def _gone(model: Model, now: float, **changes: Any) -> Model:
    """Off the device; a sequence whose suspension was never reported keeps its place as suspended."""
    back = [s._replace(since=now, held=True) for s in (*model.running, *model.suspending)]
    return _offered(model).but(
        phase=Phase.ABSENT,
        placement=None,
        yields=0,
        since=now,
        over=0.0,
        queue=model.queue.joined(*back) if back else model.queue,
        running=(),
        suspending=(),
        **changes,
    )


def _lost(model: Model, now: float) -> Model:
    """Nothing is left of it in the worker. Those who ran go first again: they have waited since they arrived."""
    queue = [s._replace(held=False, since=min(s.since, s.arrived) if s.started else s.since) for s in model.sequences()]
    back = Line(sorted(queue, key=lambda s: s.since))
    gone = _offered(model).but(phase=Phase.ABSENT, placement=None, yields=0, since=now, over=0.0, retry=0.0)
    return gone.but(wanted=None, queue=back, running=(), suspending=())


def _drop(sequences: Iterable[Sequence], number: int) -> tuple[Sequence, ...]:
    return tuple([s for s in sequences if s.id != number])


def _left(line: Line, number: int) -> Line:
    """Those who wait, without one who may not be among them."""
    place = line.place(number)
    return line if place is None else line.without(place)


def _finished(model: Model, number: int, made: int, now: float) -> Model:
    """One more answer is complete; the latest count most."""
    count = min(model.answered + bool(made), LATEST)
    running = _drop(model.running, number)
    ran = len(running) < len(model.running)  # then it does not wait
    return model.but(
        used=now,
        queue=model.queue if ran else _left(model.queue, number),
        running=running,
        suspending=_drop(model.suspending, number),
        answered=count,
        answers=model.answers + (made - model.answers) / count if made else model.answers,
    )


def _suspended(model: Model, number: int, made: int, now: float) -> Model:
    """Also one that the worker suspended on its own account (a resize to fewer slots)."""
    out = [s for s in (*model.suspending, *model.running) if s.id == number]
    back = [s._replace(since=now, held=True, made=max(made, s.made)) for s in out]
    return model.but(
        queue=model.queue.joined(*back),
        suspending=_drop(model.suspending, number),
        running=_drop(model.running, number),
    )


def carry_out(snapshot: Snapshot, action: actions.Decision, over: float, least: float) -> Snapshot:
    """The snapshot once ``action`` has been handed to the driver.

    A turn that it begins may end ``least`` seconds after the model is ready, which is expected to be ``over`` at the
    latest.

    Raises:
        IllegalAction: the device's budget, the model's phase or its slots do not allow it.
    """
    if isinstance(action, actions.Move):
        snapshot = _turning(snapshot, snapshot.now, inf)
    model = snapshot.models[action.model]
    match action:
        case actions.Load():
            _demand(model.phase is Phase.ABSENT, action)
            _demand(action.placement.device.total <= snapshot.free, action)
            began = {"phase": Phase.LOADING, "placement": action.placement, "since": snapshot.now}
            model = model.but(**began, over=over, least=least)
        case actions.Resize():
            _demand(snapshot.could(model, action.placement), action)
            larger = max(action.placement, model.placement or action.placement, key=lambda p: p.device.total)
            yields = larger.device.total - action.placement.device.total
            model = model.but(phase=Phase.RESIZING, placement=larger, yields=yields, over=over, least=least)
        case actions.Unload():
            _demand(model.phase is Phase.READY and not model.running, action)
            now = snapshot.now
            model = model.but(phase=Phase.LEAVING, since=now, left=now, over=now)
        case actions.Start() | actions.Resume():
            _demand(model.free_slots > 0, action)
            place, held = model.queue.place(action.sequence), isinstance(action, actions.Resume)
            if place is None or model.queue[place].held != held:
                raise IllegalAction(f"{action}")
            found = model.queue[place]
            begun = found.begun if found.started else snapshot.now
            runs = found._replace(since=snapshot.now, started=True, held=False, begun=begun)
            running = (*model.running, runs)
            model = model.but(queue=model.queue.without(place), running=running, used=snapshot.now)
        case actions.Suspend():
            out = [s for s in model.running if s.id == action.sequence]
            _demand(bool(out), action)
            running = _drop(model.running, action.sequence)
            model = model.but(running=running, suspending=(*model.suspending, *out), over=max(model.over, over))
        case actions.Refuse():
            model = model.but(queue=_left(model.queue, action.sequence))
    return snapshot.put(model)


def _demand(legal: bool, action: actions.Decision) -> None:
    if not legal:
        raise IllegalAction(f"{action}")
