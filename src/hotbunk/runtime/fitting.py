"""What each model is offered: its best placement, or as much of it as fits what the budget is now, and smaller ones."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import suppress

from hotbunk.costs.price import offers
from hotbunk.errors import EngineError
from hotbunk.placement import Placement
from hotbunk.runtime.catalog import Entry
from hotbunk.units import brief_size
from hotbunk.worker.protocol import Open, Opened, Predict, Predicted

log = logging.getLogger("hotbunk.runtime")

Ask = Callable[[Open | Predict], Awaitable[Opened | Predicted]]

STEP = 7 / 8
"""What failed for want of memory is tried again with this share of its bytes, or with no layer."""


async def refit(entries: Iterable[Entry], budget: int, ask: Ask, splits: bool) -> AsyncIterator[Entry]:
    """Find what each model is offered under ``budget`` bytes; yields those for which that has changed.

    The best placement for it, and if models are to be split, smaller ones.

    Those to be kept resident take their share first, as in the survey. A model for which there is no room even with no
    layer on the device keeps its offer and is ``short``.

    Raises:
        WorkerLost: the worker died over it.
    """
    room = budget
    for entry in sorted(entries, key=lambda e: not e.served.keep_resident):
        if entry.problem:
            continue
        offer = await largest(entry, room, ask)
        entry.ran_short(offer is None)
        if offer and entry.served.keep_resident:
            room -= offer.device.total
        before = entry.offers
        if offer and offer != entry.placement:
            entry.placement = offer
            size, layers = brief_size(offer.device.total), f"{offer.layers} of {entry.layers} layers"
            log.info("%s is now offered %s on the device, %s", entry.served.id, layers, size)
        if splits and not entry.rungs:
            entry.rungs = tuple([rung async for rung in _rungs(entry, ask)])
        if entry.offers != before:
            yield entry


async def largest(entry: Entry, room: int, ask: Ask) -> Placement | None:
    """The largest placement within ``room`` bytes, and smaller than what there was no memory for; None if none is."""
    assert entry.best
    most = min(room, int(entry.refused * STEP)) if entry.refused else room
    if entry.best.device.total <= most:
        return entry.best
    with suppress(EngineError):
        found = await _predict(entry, None, most - entry.excess, ask)
        if found.device.total <= most:  # less than the excess is no room at all
            return found
    if most == room:
        return None
    with suppress(EngineError):  # the file is gone, perhaps
        least = await _predict(entry, 0, 0, ask)
        if least.device.total <= room and least.device.total < entry.refused:
            return least
    return None


async def _rungs(entry: Entry, ask: Ask) -> AsyncIterator[Placement]:
    """Smaller placements, as the worker foretells them; none if costs are unknown, or the layers configured."""
    costs = entry.costs.costs if entry.costs else None
    if costs is None or entry.best is None or entry.served.layers is not None:
        return
    most = entry.best.device.total
    for rung in offers(costs.anatomy, entry.context, entry.served.slots, most)[1:]:
        with suppress(EngineError):
            found = await _predict(entry, rung.layers, 0, ask, rung.experts)
            if found.device.total < most:
                yield found


async def _predict(entry: Entry, layers: int | None, budget: int, ask: Ask, experts: int | None = None) -> Placement:
    """What the worker foretells of a placement that is to take ``budget`` bytes, with what the model takes beyond."""
    served = entry.served
    answer = await ask(Predict(served.id, entry.context, served.slots, layers, max(0, budget), experts))
    assert isinstance(answer, Predicted)
    return entry.weighed(answer.placement)
