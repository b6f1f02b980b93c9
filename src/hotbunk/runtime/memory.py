"""The memory of one device, as it really is: followed from beat to beat, and survived when there is too little."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping
from math import inf
from time import monotonic

from hotbunk.placement import Placement
from hotbunk.runtime.catalog import Entry, form
from hotbunk.runtime.fitting import Ask, refit
from hotbunk.runtime.headroom import Headroom
from hotbunk.runtime.process import WorkerLost
from hotbunk.scheduler import Phase, Snapshot, events
from hotbunk.units import brief_size
from hotbunk.worker.protocol import Beat, Hello, Loaded

log = logging.getLogger("hotbunk.runtime")

CAUTION = 60.0
"""Seconds until a placement that failed for want of memory is offered again; twice as long each time, to an hour."""
BACKOFF = 1.0
"""Seconds until a model for which nothing smaller is left is tried again; twice as long each time, to half a minute."""
READING = 2.0
"""Seconds that a failed load waits for a beat that says what is free now."""


class Memory:
    """Tells the scheduler of the budget and of what each model is offered under it.

    Attributes:
        headroom: the arithmetic of the present worker's life; None before its hello.
    """

    def __init__(
        self,
        entries: Mapping[str, Entry],
        ask: Ask,
        tell: Callable[[events.Event], object],
        snapshot: Callable[[], Snapshot],
        splits: bool,
    ) -> None:
        """``tell`` gives events to the scheduler whose view ``snapshot`` is; ``splits``: whether it splits models."""
        self.headroom: Headroom | None = None
        self._splits = splits
        self._entries, self._ask, self._tell, self._snapshot = entries, ask, tell, snapshot
        self._pardons: dict[str, float] = {}
        self._denials: dict[str, int] = {}
        self._held: set[str] = set()
        self._crowded: dict[str, float] = {}
        self._reading = asyncio.Event()
        self._stale = False
        self._task: asyncio.Task[None] | None = None

    async def begin(self, configured: int, hello: Hello) -> None:
        """A worker is up: find out what it may use and what each model is offered.

        Raises:
            WorkerLost: it died over it.
        """
        self.headroom = Headroom(configured, hello)
        self._held.clear()
        self._crowded.clear()
        if self.headroom.budget < configured:
            free, budget = brief_size(hello.memory_free), brief_size(self.headroom.budget)
            log.warning("of the budget, %s can be used: %s are free on %s", budget, free, hello.device)
        self._tell(events.Budget(monotonic(), self.headroom.budget))
        await self._fit(splits=False)
        if self._splits:
            self.refit()  # meanwhile the best is known

    def hear(self, beat: Beat) -> None:
        """Follow what the driver says is free."""
        snapshot, headroom = self._snapshot(), self.headroom
        if headroom is None or not snapshot.up:
            return
        before = headroom.budget
        still = all(m.phase in (Phase.ABSENT, Phase.READY) for m in snapshot.models.values())
        if headroom.hear(beat, still):
            self._reading.set()
        if headroom.budget != before:
            level = logging.WARNING if headroom.budget < before else logging.INFO
            log.log(level, "the budget is now %s; others hold %s", *map(brief_size, (headroom.budget, self._foreign)))
            self._tell(events.Budget(monotonic(), headroom.budget))
            self.refit()
        self._pardon()
        self._crowd()
        self._shrink()
        self._regrow()

    def loaded(self, entry: Entry, report: Loaded) -> None:
        """A model stands, so there was memory for it."""
        self._held.discard(entry.served.id)
        if not entry.cramped and report.placement.device.total >= entry.refused:
            self._denials.pop(entry.served.id, None)
            entry.refused = 0
        if report.device.total > report.placement.device.total:
            self.refit()  # it may not fit any more where it should, and one to be kept leaves less to the others

    def failed(self, entry: Entry, placement: Placement) -> None:
        """There was no memory for a placement: something smaller is tried as soon as it is found."""
        model = entry.served.id
        self._denials[model] = times = self._denials.get(model, 0) + 1
        self._pardons[model] = monotonic() + _doubled(CAUTION, times, 3600.0)
        entry.refused = placement.device.total
        self._held.add(model)
        self._reading.clear()
        self._tell(events.Failed(monotonic(), model, inf))
        self.refit()

    def overdue(self, wait: float) -> Iterator[tuple[int, str]]:
        """The sequences that have waited for ``wait`` seconds for a model for which there is no room, and why."""
        now, models = monotonic(), self._snapshot().models
        for entry in self._entries.values():
            model = models.get(entry.served.id)
            if model is None or model.resident:
                continue
            crowded = self._crowded.get(model.id, inf)
            for sequence in model.queue:
                if entry.short is None:
                    since = max(sequence.since, crowded)
                else:
                    since = max(sequence.since, entry.short) if sequence.started else sequence.since
                if now - since >= wait:
                    yield sequence.id, self.shortage(entry)

    def shortage(self, entry: Entry) -> str:
        """Why a model waits for room, and what to do."""
        headroom = self.headroom
        assert headroom
        budget, configured = brief_size(headroom.budget), brief_size(headroom.configured)
        if entry.short is None:
            return (
                f"there is no room for {entry.served.id} on the device beside the models that are kept resident: "
                f"of the budget of {configured}, {budget} can be used; keep fewer of them, or raise the budget"
            )
        return (
            f"there is no room for {entry.served.id} on the device, not even with all its layers on the host: of the "
            f"budget of {configured} only {budget} can be used, since others hold {brief_size(self._foreign)} of the "
            "device's memory; free some of it, or ask again later"
        )

    def refit(self) -> None:
        """Begin to find out anew what each model is offered."""
        self._stale = True
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._refit())

    async def refitted(self) -> None:
        """The same, and wait for it."""
        self.refit()
        assert self._task
        await asyncio.wait({self._task})

    async def close(self) -> None:
        """Stop."""
        if self._task:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def _refit(self) -> None:
        try:
            while self._stale:
                self._stale = False
                await self._read()
                await self._fit(self._splits)
                if not self._stale:  # else another has failed meanwhile, and has not been considered yet
                    self._release()
        except WorkerLost:
            pass  # the next one's ``begin`` does it again
        except Exception:  # a bug here must not end the service
            log.exception("could not fit the models to the budget")

    async def _read(self) -> None:
        """After a failure, wait for the driver's word on what is free, where it gives any."""
        if self._held and self.headroom and self.headroom.foreign is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._reading.wait(), READING)

    async def _fit(self, splits: bool) -> None:
        async for entry in refit(self._entries.values(), self._snapshot().budget, self._ask, splits):
            if not entry.problem:  # else it has been given up meanwhile
                self._tell(entry.added(monotonic()))

    def _release(self) -> None:
        """Let the models that failed be tried again: at once where something smaller was found, else later."""
        for name in list(self._held):
            entry, model = self._entries[name], self._snapshot().models.get(name)
            later = _doubled(BACKOFF, self._denials.get(name, 1), 30.0) if entry.short else 0.0
            if not entry.short:
                self._held.discard(name)
            if model and not model.resident:
                self._tell(events.Failed(monotonic(), name, monotonic() + later))

    def _pardon(self) -> None:
        """Offer again what failed long ago."""
        now = monotonic()
        for name in [name for name, moment in self._pardons.items() if moment <= now]:
            del self._pardons[name]
            self._entries[name].refused = 0
            self.refit()

    def _crowd(self) -> None:
        """Follow since when models have been away with no room for them, though what they are offered was to fit."""
        snapshot, now = self._snapshot(), monotonic()
        away = [m for m in snapshot.models.values() if not (m.resident or snapshot.fits(m))]
        self._crowded = {m.id: self._crowded.get(m.id, now) for m in away}

    def _shrink(self) -> None:
        """Have those to be kept make do with what they are offered, where somebody finds no room beside them."""
        if not any(m.id in self._crowded for m in self._snapshot().wanted):
            return
        for entry in self._entries.values():
            offer, model = entry.placement, self._snapshot().models.get(entry.served.id)
            if not (offer and model and model.keep and model.phase is Phase.READY):
                continue
            if model.bytes > offer.device.total and form(model.placement) != form(offer):
                why = "another model has no room beside it"
                self._tell(events.Wanted(monotonic(), model.id, offer, holds=False, why=why))

    def _regrow(self) -> None:
        """Give cramped models that nobody uses the place they are offered by now."""
        for entry in self._entries.values():
            snapshot, offer = self._snapshot(), entry.placement
            model = snapshot.models.get(entry.served.id)
            if not (entry.cramped and offer and model and model.idle) or snapshot.waiting:
                continue
            if model.offers:
                continue  # that is how somebody wants it
            if form(model.placement) == form(offer):
                continue  # it takes less than was thought
            if model.bytes < offer.device.total <= snapshot.free + model.bytes:
                why = "there is more device memory again"
                self._tell(events.Wanted(monotonic(), model.id, offer, holds=False, why=why))

    @property
    def _foreign(self) -> int:
        return (self.headroom.foreign or 0) if self.headroom else 0


def _doubled(pause: float, times: int, most: float) -> float:
    """A pause that doubles from time to time; what is beyond any use may be beyond all numbers too."""
    return min(pause * 2.0 ** min(times - 1, 20), most)
