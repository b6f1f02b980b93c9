"""What an administrator wants of one device's models, and who waits until it is done."""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import monotonic

from hotbunk.errors import BadRequest, EngineError, UnusableModel
from hotbunk.placement import Placement
from hotbunk.runtime.catalog import Entry, form
from hotbunk.runtime.fitting import Ask, largest
from hotbunk.scheduler import Model, Phase, Snapshot, actions, events
from hotbunk.units import brief_size
from hotbunk.worker.protocol import Predict, Predicted


@dataclass(frozen=True, eq=False, slots=True)
class _Order:
    """What somebody waits for: that a model stands, in that form if one is given, or that it has left.

    A form that ``holds`` does so until it leaves.
    """

    stands: bool
    placement: Placement | None
    holds: bool
    done: asyncio.Future[None]

    def met(self, there: Placement | None) -> bool:
        """Whether this is met by a model that has come to stand at ``there``, or has left (None)."""
        if there is None or not self.stands:
            return self.stands == (there is not None)
        return self.placement is None or form(self.placement) == form(there)

    def event(self, model: str) -> events.Event:
        """What tells the scheduler."""
        now = monotonic()
        return events.Wanted(now, model, self.placement, self.holds) if self.stands else events.Dismissed(now, model)

    def settle(self, error: Exception | None = None) -> None:
        """Answer whoever waits."""
        if self.done.done():
            return
        if error:
            self.done.set_exception(error)
        else:
            self.done.set_result(None)


class Orders:
    """Loads, resizes and unloads by hand."""

    def __init__(
        self,
        entries: Mapping[str, Entry],
        ask: Ask,
        tell: Callable[[events.Event], list[actions.Decision | actions.Wake]],
        snapshot: Callable[[], Snapshot],
        shortage: Callable[[Entry], str],
    ) -> None:
        """``tell`` gives events to the scheduler whose view ``snapshot`` is; ``shortage`` says why there is no room."""
        self._entries, self._ask, self._tell, self._snapshot = entries, ask, tell, snapshot
        self._shortage = shortage
        self._orders: defaultdict[str, list[_Order]] = defaultdict(list)

    async def load(self, name: str, layers: int | None) -> None:
        """Have a model loaded, with ``layers`` on the device or as many as fit; returns when it is.

        A number of layers holds until it leaves.

        Raises:
            BadRequest: there is no such residency, or no room for it.
            UnusableModel: the load failed, or the model has been given up.
        """
        entry = self._entries[name]
        placement = await self._larger(entry) if layers is None else await self._priced(entry, layers)
        model, holds = self._model(name), layers is not None  # it may have been given up meanwhile
        if model.phase is not Phase.READY or (placement and form(model.placement) != form(placement)):
            await self._obeyed(name, True, placement, holds)
        elif holds:  # it stands so already, and is to stay
            self._tell(events.Wanted(monotonic(), name, model.placement))

    async def unload(self, name: str) -> None:
        """Have a model leave the device; its running sequences are preempted and wait for it to come back.

        Loads that were ordered and have not begun come to nothing.

        Raises:
            BadRequest: it is to be kept resident.
            UnusableModel: it has been given up.
        """
        if self._entries[name].served.keep_resident:
            raise BadRequest(f"{name} is kept resident (keep_resident), so it would come back at once", "model")
        if self._model(name).resident:
            await self._obeyed(name, False)
        else:
            self._withdraw(name, UnusableModel(f"{name} was ordered off the device before it could be loaded"))

    def moved(self, name: str, there: Placement | None) -> bool:
        """The model has come to stand at ``there``, or has left (None); whether somebody had ordered that.

        What was ordered while it was on the way to something else is ordered again.
        """
        orders = self._orders.pop(name, [])
        met = [order for order in orders if order.met(there)]
        for order in met:
            order.settle()
        for order in orders:
            if order not in met:
                self._give(name, order)
        return bool(met)

    def failed(self, name: str, error: Exception) -> None:
        """The model could not be loaded or resized, and has left the device."""
        for order in self._orders.pop(name, []):
            order.settle(error if order.stands else None)

    def abandon(self, error: Exception) -> None:
        """The worker is lost: none of the loads will be done, and whatever was to leave has left."""
        for name in list(self._orders):
            self.failed(name, error)

    def hear(self) -> None:
        """A load for which there is no room any more is not waited for; one that came to nothing is ordered again."""
        for name, orders in list(self._orders.items()):
            model = self._snapshot().models.get(name)
            if error := self._short(name):
                self._withdraw(name, error)
            elif model and not model.resident and model.wanted is None:
                for order in orders:
                    self._tell(order.event(name))

    def _model(self, name: str) -> Model:
        """The scheduler's view of a model.

        Raises:
            UnusableModel: it has been given up.
        """
        if model := self._snapshot().models.get(name):
            return model
        raise UnusableModel(self._entries[name].problem or f"{name} cannot be served any more")

    def _withdraw(self, name: str, error: Exception) -> None:
        """Nobody waits for an absent model to be loaded any more, so it is not loaded later either."""
        self.failed(name, error)
        self._tell(events.Dismissed(monotonic(), name))

    def _short(self, name: str) -> Exception | None:
        entry, model = self._entries[name], self._snapshot().models.get(name)
        if entry.short is None or model is None or model.resident:
            return None
        return UnusableModel(self._shortage(entry))

    async def _larger(self, entry: Entry) -> Placement | None:
        """The most of a model that there is room for, if it stands with less."""
        model = self._model(entry.served.id)
        if model.phase is not Phase.READY or form(model.placement) == form(entry.placement):
            return None
        found = await largest(entry, self._snapshot().free + model.bytes, self._ask)
        return found if found and found.device.total > model.bytes else None

    async def _priced(self, entry: Entry, layers: int) -> Placement:
        if not 0 <= layers <= entry.layers:
            raise BadRequest(f"{entry.served.id} has {entry.layers} layers; {layers} is impossible", "layers")
        model, budget = self._model(entry.served.id), self._snapshot().budget
        room = self._snapshot().free + model.bytes
        cached = form(model.placement)[-1] if model.phase is Phase.READY and model.placement else 0
        # to keep the contexts is the cheaper move, but layers that come would have their KV cache left on the host
        if cached and layers <= cached:
            with contextlib.suppress(EngineError):
                keeping = await self._predicted(entry, layers, cached)
                if keeping.device.total <= room:
                    return keeping
        anew = await self._predicted(entry, layers, None)
        kept = self._snapshot().kept(model)
        if (need := anew.device.total) > budget - kept:
            others = f", of which {brief_size(kept)} is for models kept resident" if kept else ""
            take = f"{layers} layers take {brief_size(need)}"
            raise BadRequest(f"{take}; the budget is {brief_size(budget)}{others}", "layers")
        return anew

    async def _predicted(self, entry: Entry, layers: int, cached: int | None) -> Placement:
        served = entry.served
        answer = await self._ask(Predict(served.id, entry.context, served.slots, layers, cached=cached))
        assert isinstance(answer, Predicted)
        return entry.weighed(answer.placement)

    async def _obeyed(self, name: str, stands: bool, placement: Placement | None = None, holds: bool = False) -> None:
        """Give an order and wait until it has been obeyed."""
        order = _Order(stands, placement, holds, asyncio.get_running_loop().create_future())
        self._give(name, order)
        await order.done

    def _give(self, name: str, order: _Order) -> None:
        """Tell the scheduler; it does not hear while the model is on its way, but what comes of that is heard here."""
        if order.stands and (error := self._short(name)):
            order.settle(error)
            return
        self._orders[name].append(order)
        self._tell(order.event(name))
        if order.stands and self._model(name).phase is Phase.READY:
            self._orders[name].remove(order)
            why = f"there is no room for {name} in that form now; unload another model first"
            order.settle(BadRequest(why, "layers"))
