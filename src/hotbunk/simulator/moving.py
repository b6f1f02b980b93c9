"""How a model's weights come and go: hotbunk's way, and the way of those who restart a process for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from hotbunk.placement import Placement
from hotbunk.simulator.pace import Priced

__all__ = ["Live", "Moving", "Restart", "Time"]


@dataclass(frozen=True, slots=True)
class Time:
    """Seconds of a move: ``front`` stops the device's loop; ``behind`` passes beside it, on the bus if ``bus``.

    ``anew``: the context is another one then, and running sequences are carried over. ``pinned``: the weights come out
    of pinned memory.
    """

    front: float
    behind: float = 0.0
    bus: bool = False
    anew: bool = False
    pinned: bool = False


class Moving(Protocol):
    """A way to load and unload."""

    def load(self, model: str, costs: Priced, to: Placement, before: Placement | None, now: float) -> Time:
        """Give a model its placement, or change it."""

    def unload(self, model: str, costs: Priced, placement: Placement, now: float) -> Time:
        """Take all of it off the device."""

    def soonest(self, costs: Priced, to: Placement) -> float:
        """Seconds after which an absent model can be used at the earliest, whatever else goes on."""


class Stored(Protocol):
    """Which models' weights lie in pinned host memory."""

    def has(self, model: str, now: float) -> bool:
        """Whether a model's weights are there."""

    def loaded(self, model: str, now: float) -> None:
        """A model is being loaded."""

    def unloaded(self, model: str, now: float) -> None:
        """A model leaves the device."""


@dataclass(frozen=True)
class Live:
    """A living model's layers, copied out of host memory.

    Pinned, the copies go on by themselves (``overlaps``: as the device can) once they have been called for, while the
    context is made and others compute; pageable ones stop the loop.
    """

    store: Stored
    overlaps: bool = True

    def load(self, model: str, costs: Priced, to: Placement, before: Placement | None, now: float) -> Time:
        """Promotion beside the making of the context."""
        pinned = self.store.has(model, now)
        if not before:
            self.store.loaded(model, now)
        promotion = costs.promote(to, before, pinned).seconds
        kept = before and to.keeps_context(before)
        context = 0.0 if kept else costs.context(to).seconds
        if pinned and self.overlaps:
            calls = costs.calls(to, before, pinned).seconds
            return Time(calls + context, promotion, bus=True, anew=not kept, pinned=True)
        return Time(promotion + context, anew=not kept, pinned=pinned)

    def unload(self, model: str, costs: Priced, placement: Placement, now: float) -> Time:
        """Memory is given back."""
        self.store.unloaded(model, now)
        return Time(costs.unload(placement).seconds)

    def soonest(self, costs: Priced, to: Placement) -> float:
        """Out of the better kind of memory, with the bus to itself."""
        promotion = min(costs.promote(to, None, pinned).seconds for pinned in (True, False))
        context = costs.context(to).seconds
        return max(promotion, context) if self.overlaps else promotion + context


@dataclass(frozen=True)
class Restart:
    """A process that is started for each load: ``fixed`` seconds, and all of the model at ``rate`` bytes a second.

    How much of it goes to the device makes no difference: ``rate`` is that of whole files, and the host's part is read,
    too, to warm up with. Nothing of the others is stopped by it. ``stop``: seconds until an ended process's memory is
    free.
    """

    fixed: float
    rate: float
    stop: float = 0.0

    def load(self, model: str, costs: Priced, to: Placement, before: Placement | None, now: float) -> Time:
        """A new process, also for another placement of the same model."""
        return Time(0.0, self.soonest(costs, to), anew=before is not None)

    def unload(self, model: str, costs: Priced, placement: Placement, now: float) -> Time:
        """The process is ended."""
        return Time(0.0, self.stop)

    def soonest(self, costs: Priced, to: Placement) -> float:
        """It always takes the same."""
        return self.fixed + costs.weights / self.rate
