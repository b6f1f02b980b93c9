"""The host store in simulation: which models are in pinned memory, filled one after the other in the background."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import inf

from hotbunk.shelf import Place, choose

__all__ = ["HostStore"]


class HostStore:
    """``sizes`` of models within a ``budget``, in bytes; ``pin`` says how many seconds a model takes to come in.

    It is told when a model is loaded and when one leaves, and then does what would have been done meanwhile.
    """

    def __init__(self, sizes: Mapping[str, int], budget: float, pin: Callable[[str], float], warm: bool = True) -> None:
        """``warm``: what fits is there already, as on a server that has been up for a while."""
        self._places = {model: Place(size) for model, size in sizes.items()}
        self._budget, self._pin = int(min(budget, sum(sizes.values()))), pin
        self._loaded: set[str] = set()
        self._coming: tuple[str, float] | None = None
        self._settle(-inf, inf if warm else -inf)

    def has(self, model: str, now: float) -> bool:
        """Whether a model's weights are all there."""
        self._settle(now, now)
        return self._places[model].stored

    def loaded(self, model: str, now: float) -> None:
        """A model is being loaded: that is what makes it worth its place."""
        self._settle(now, now)
        self._places[model].load(now)
        self._loaded.add(model)
        self._begin(now)

    def unloaded(self, model: str, now: float) -> None:
        """A model leaves the device, and could now leave the store, too."""
        self._settle(now, now)
        self._loaded.discard(model)
        self._begin(now)

    def _settle(self, now: float, until: float) -> None:
        """What has come in until then."""
        if not self._coming:
            self._begin(max(now, 0.0))
        while self._coming and self._coming[1] <= until:
            model, at = self._coming
            self._places[model].stored = True
            self._coming = None
            self._begin(at)

    def _begin(self, now: float) -> None:
        if self._coming:
            return
        if chosen := choose(self._places, self._budget, self._loaded, now):
            model, leaving = chosen
            for other in leaving:
                self._places[other].stored = False
            self._coming = model, now + self._pin(model)
