"""What comes of the loads, resizes and unloads that the scheduler has decided."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from time import monotonic

from hotbunk.errors import UnusableModel
from hotbunk.runtime.catalog import Entry, form
from hotbunk.runtime.journal import Journal
from hotbunk.runtime.memory import Memory
from hotbunk.runtime.orders import Orders
from hotbunk.scheduler import Phase, Snapshot, actions, events
from hotbunk.units import brief_size
from hotbunk.worker import protocol as wire

log = logging.getLogger("hotbunk.runtime")

RETRY = 1.0
"""Seconds until a failed load is tried again."""
STRIKES = 3
"""Failed loads of a model after which hotbunk gives up on it."""
ERROR = 0.03
"""Share of the bytes foretold by which a report may differ without a warning."""


class Moves:
    """Has the worker move models, and takes its reports: times them, prices them, tells the scheduler."""

    def __init__(
        self,
        entries: Mapping[str, Entry],
        send: Callable[[wire.Command], None],
        tell: Callable[[events.Event], object],
        snapshot: Callable[[], Snapshot],
        memory: Memory,
        orders: Orders,
        journal: Journal,
    ) -> None:
        """``tell`` gives events to the scheduler whose view ``snapshot`` is."""
        self._entries, self._send, self._tell, self._snapshot = entries, send, tell, snapshot
        self._memory, self._orders, self._journal = memory, orders, journal

    def order(self, action: actions.Move) -> None:
        """Have the worker do it; what nobody needs then of the budget, it may keep of what leaves."""
        entry, now, spare = self._entries[action.model], monotonic(), max(0, self._snapshot().free)
        match action:
            case actions.Load():
                entry.came, entry.sent = (now, now), action.placement
                entry.bounds.comes(now)
                self._send(wire.Load(action.model, action.placement, spare))
            case actions.Resize():
                entry.came, entry.sent = (now, now), action.placement
                entry.bounds.comes(now, resized=True)
                self._send(wire.Resize(action.model, action.placement, spare))
            case actions.Unload():
                entry.bounds.goes(now)
                self._send(wire.Unload(action.model, spare + self._snapshot().models[action.model].bytes))

    def loaded(self, report: wire.Loaded) -> None:
        """A model stands."""
        now, entry = monotonic(), self._entries[report.model]
        entry.failures = 0
        begin, _ = entry.came or (now, now)
        entry.came = (begin, now)
        entry.counts["loads"] += 1
        entry.counts["bytes_moved"] += report.moved
        cost = {"seconds": report.seconds, "bytes": report.moved, "steps": report.steps}
        self._journal.moved(report.model, "load", "resize", **cost, pinned=report.pinned, driver=report.driver)
        self._weigh(entry, report)
        entry.bounds.came(now, form(report.placement) == form(entry.placement), report.pinned)
        self._tell(events.Loaded(now, report.model, report.placement, report.device, _bounds(entry)))
        self._memory.loaded(entry, report)
        self._orders.moved(report.model, report.placement)

    def unloaded(self, report: wire.Unloaded) -> None:
        """A model has left."""
        now, entry = monotonic(), self._entries[report.model]
        model = self._snapshot().models.get(report.model)
        if model is None or model.phase is not Phase.LEAVING:
            return  # what was left of a failed load has been cleared away
        entry.counts["unloads"] += 1
        self._journal.moved(report.model, "unload", seconds=report.seconds, bytes=report.freed)
        entry.bounds.left(now)
        self._tell(events.Unloaded(now, report.model, _bounds(entry)))
        if self._orders.moved(report.model, None):
            self._send(wire.Trim(0))  # who unloads by hand wants the memory

    def failed(self, report: wire.Failed, entry: Entry) -> bool:
        """A load or a resize failed; whether that was one time too many.

        Want of memory is nobody's fault: something smaller is tried.
        """
        self._journal.moved(entry.served.id, "load", "resize", failed=report.message)
        self._orders.failed(entry.served.id, UnusableModel(report.message))
        self._send(wire.Unload(entry.served.id))  # whatever is left of it there
        if report.memory and entry.sent:
            self._memory.failed(entry, entry.sent)
            return False
        self._tell(events.Failed(monotonic(), entry.served.id, monotonic() + RETRY))
        return strike(entry, report.message)

    def _weigh(self, entry: Entry, report: wire.Loaded) -> None:
        """Hold the prediction against the truth; what takes more than foretold is offered as what it takes."""
        before, offers = entry.truth, entry.offers
        entry.stands(report)
        truth = entry.truth
        if truth and truth != before and abs(truth.error) > ERROR:
            foretold, found = brief_size(truth.predicted.total), brief_size(truth.reported.total)
            log.warning("%s takes %s, not %s as foretold (%+.1f %%)", report.model, found, foretold, 100 * truth.error)
        if entry.offers != offers:
            self._tell(entry.added(monotonic()))


def strike(entry: Entry, why: str) -> bool:
    """A load came to nothing; whether the model is given up."""
    entry.failures += 1
    return _struck(entry, entry.failures, f"it could not be loaded {STRIKES} times: {why}")


def unopened(entry: Entry) -> bool:
    """A new worker was lost over its file; whether the model is given up."""
    entry.unopened += 1
    return _struck(entry, entry.unopened, f"{STRIKES} workers were lost while they opened its file")


def _struck(entry: Entry, times: int, why: str) -> bool:
    if times < STRIKES or entry.problem:
        return False
    entry.problem = f"{why}; to try again, load it by hand"
    return True


def _bounds(entry: Entry) -> tuple[float, float]:
    return entry.bounds.load, entry.bounds.leave
