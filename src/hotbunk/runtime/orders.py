"""What an administrator wants of one device's models, and who waits until it is done."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from time import monotonic

from hotbunk.errors import BadRequest, EngineError
from hotbunk.placement import Placement
from hotbunk.runtime.catalog import Entry, form
from hotbunk.runtime.fitting import Ask
from hotbunk.scheduler import Phase, Snapshot, actions, events
from hotbunk.units import brief_size
from hotbunk.worker.protocol import Predict, Predicted


class Orders:
    """Loads, resizes and unloads by hand."""

    def __init__(
        self,
        entries: Mapping[str, Entry],
        ask: Ask,
        tell: Callable[[events.Event], list[actions.Decision | actions.Wake]],
        snapshot: Callable[[], Snapshot],
    ) -> None:
        """``tell`` gives events to the scheduler whose view ``snapshot`` is."""
        self._entries, self._ask, self._tell, self._snapshot = entries, ask, tell, snapshot
        self._moves: dict[str, asyncio.Future[None]] = {}

    async def load(self, name: str, layers: int | None) -> None:
        """Have a model loaded, with ``layers`` on the device or as many as fit; returns when it is.

        Raises:
            BadRequest: there is no such residency, or no room for it.
            UnusableModel: the load failed.
        """
        placement = await self._priced(self._entries[name], layers) if layers is not None else None
        model = self._snapshot().models[name]
        if model.phase is not Phase.READY or (placement and form(model.placement) != form(placement)):
            await self._moved(name, events.Wanted(monotonic(), name, placement))

    async def unload(self, name: str) -> None:
        """Have a model leave the device; its running sequences are preempted and wait for it to come back."""
        if self._snapshot().models[name].resident:
            await self._moved(name, events.Dismissed(monotonic(), name))

    def settle(self, name: str, error: Exception | None = None) -> bool:
        """The model has moved, or could not; whether somebody had ordered it."""
        future = self._moves.pop(name, None)
        if future and not future.done():
            if error:
                future.set_exception(error)
            else:
                future.set_result(None)
        return future is not None

    def abandon(self, error: Exception) -> None:
        """None of the moves will be done."""
        for name in list(self._moves):
            self.settle(name, error)

    async def _priced(self, entry: Entry, layers: int) -> Placement:
        if not 0 <= layers <= entry.layers:
            raise BadRequest(f"{entry.served.id} has {entry.layers} layers; {layers} is impossible", "layers")
        model, budget = self._snapshot().models[entry.served.id], self._snapshot().budget
        room = self._snapshot().free + model.bytes
        cached = form(model.placement)[-1] if model.phase is Phase.READY and model.placement else 0
        # to keep the contexts is the cheaper move, but layers that come would have their KV cache left on the host
        if cached and layers <= cached:
            with contextlib.suppress(EngineError):
                keeping = await self._predicted(entry, layers, cached)
                if keeping.device.total <= room:
                    return keeping
        anew = await self._predicted(entry, layers, None)
        if (need := anew.device.total) > budget:
            raise BadRequest(f"{layers} layers take {brief_size(need)}; the budget is {brief_size(budget)}", "layers")
        return anew

    async def _predicted(self, entry: Entry, layers: int, cached: int | None) -> Placement:
        served = entry.served
        answer = await self._ask(Predict(served.id, entry.context, served.slots, layers, cached=cached))
        assert isinstance(answer, Predicted)
        return answer.placement

    async def _moved(self, name: str, order: events.Event) -> None:
        """Give an order and wait until the model has moved."""
        future = self._moves.setdefault(name, asyncio.get_running_loop().create_future())
        decided = self._tell(order)
        moving = self._snapshot().models[name]
        if moving.phase is Phase.READY and not any(isinstance(a, actions.Move) for a in decided):
            self.settle(name)
            raise BadRequest(f"there is no room for {name} in that form now; unload another model first", "layers")
        await asyncio.shield(future)
