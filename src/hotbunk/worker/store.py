"""The host store: which models' weights are kept in (pinned) host memory, filled in the background.

What a place is worth to a model, and who gives way to whom: ``shelf``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from time import monotonic

import numpy as np
from numpy.typing import NDArray

from hotbunk.errors import EngineError
from hotbunk.llama.copy import Copy
from hotbunk.llama.device import Device
from hotbunk.llama.model import Model
from hotbunk.llama.pinned import Block
from hotbunk.shelf import Place, choose

__all__ = ["Store"]

log = logging.getLogger("hotbunk.worker")

_SLICE = 64 << 20  # bytes of the arena that are touched at a time


class Store:
    """The host store of one worker, and the block for its arena. All but the filling is the engine's thread's work."""

    def __init__(
        self,
        device: Device,
        budget: int,
        arena: int,
        pin: Callable[[NDArray[np.uint8]], None],
        wake: Callable[[], None],
    ) -> None:
        """``pin`` is given the arena's block of ``arena`` bytes when it is ready.

        ``wake`` is called, in any thread, when the engine has something to take up though no command has come.
        """
        self.progress: dict[str, tuple[int, int]] = {}
        self.wake = wake
        self._device, self._budget, self._arena, self._pin = device, budget, arena, pin
        self._models: dict[str, Model] = {}
        self._places: dict[str, Place] = {}
        self._copies: dict[str, Copy] = {}
        self._block: Block | None = None
        self._pool = ThreadPoolExecutor(1, "store")
        self._filling: tuple[str, Future[bool]] | None = None
        self._due = bool(arena)  # something has changed that could call for another choice

    def add(self, name: str, model: Model) -> None:
        """A model that may be kept."""
        if self._budget:
            self._models[name], self._places[name] = model, Place(model.weights)
            self._due = True

    def loaded(self, name: str) -> None:
        """A model is loaded: that is what makes it worth its place."""
        if name in self._places:
            self._places[name].load(monotonic())
            self._due = True

    def unloaded(self) -> None:
        """A model has left the device, and could now leave the store, too."""
        self._due = True

    @property
    def filling(self) -> bool:
        """Whether something is taken in, or about to be; any thread may look."""
        return bool(self._filling) or self._due

    def has(self, name: str) -> bool:
        """Whether the model's weights are all there."""
        return name in self._places and self._places[name].stored

    def step(self, busy: Callable[[], Iterable[str]]) -> None:
        """Take up what was filled, and begin with what comes next; ``busy`` names the models that are loaded."""
        if self._filling:
            if not self._filling[1].done():
                self._note()
                return
            self._due = True  # also while what was filled is taken up: others are to see no gap
            self._finish(*self._filling)
        elif not self._due:
            return
        if any(place.stored for place in self._places.values()):
            self._take_arena()
        # one that cannot be had has lost its place, and keeps no other one out
        while not self._filling and (chosen := choose(self._places, self._budget, set(busy()), monotonic())):
            self._start(*chosen)
        self._take_arena()
        self._due = False

    def stop(self) -> None:
        """End what is being filled: models may be closed once this returns."""
        for copy in self._copies.values():
            copy.stop()
        self._pool.shutdown()

    def close(self) -> None:
        """Give everything back, once stopped; no model may point here any more."""
        for copy in self._copies.values():
            copy.free()
        self._copies.clear()
        if self._block:
            self._block.free()

    def _start(self, name: str, leaving: list[str]) -> None:
        """Begin to fill a copy; only once there is one do others leave for it."""
        try:
            copy = self._models[name].copy()
        except EngineError as error:
            self._refuse(name, error)
            return
        if copy is None:
            del self._places[name]
            return
        self._copies[name] = copy
        self._places[name].size = copy.size
        freed = [self._give_up(other) for other in leaving]
        self._begin(name, lambda: self._exchange(freed, copy))

    def _take_arena(self) -> None:
        """Lock the arena, unless something is filled. It comes second: before it is of use, a model has to be there."""
        if self._arena and not self._block and not self._filling:
            self._begin("", self._lock_arena)

    def _begin(self, name: str, job: Callable[[], bool]) -> None:
        future = self._pool.submit(job)
        self._filling = name, future
        self._note()
        future.add_done_callback(lambda _: self.wake())

    @staticmethod
    def _exchange(freed: list[Copy], copy: Copy) -> bool:
        for each in freed:  # unlocking takes its time, too
            each.free()
        return copy.fill()

    def _finish(self, name: str, future: Future[bool]) -> None:
        self._filling = None
        try:
            whole = future.result()
        except EngineError as error:
            self._refuse(name, error)
        else:
            if self._block and not name:
                self._pin(self._block.bytes)
            elif whole:
                self._places[name].stored = True
                self._models[name].adopt(self._copies[name])
        self._note()

    def _refuse(self, name: str, error: EngineError) -> None:
        """Go on without: what cannot be pinned is served from the mapped file."""
        log.warning("%s is not kept in pinned memory: %s", name or "the arena", error)
        self._arena *= bool(name)
        self._places.pop(name, None)
        if copy := self._copies.pop(name, None):
            copy.free()

    def _give_up(self, name: str) -> Copy:
        self._models[name].adopt(None)
        self._places[name].stored = False
        return self._copies.pop(name)

    def _lock_arena(self) -> bool:
        block = Block(self._device, self._arena)
        for start in range(0, block.size, _SLICE):
            block.bytes[start : start + _SLICE] = 0
        # in one piece: a state may lie anywhere, and no copy may span two pieces
        block.pin(0, block.size)
        self._block = block
        return True

    def _note(self) -> None:
        self.progress = {name: (copy.done, copy.size) for name, copy in self._copies.items()}
