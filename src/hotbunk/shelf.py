"""Which models' weights are worth a place in host memory: a decision that the worker and the simulator share.

What a place is worth to a model is how often it is loaded: each load saves the difference between a copy from the
mapped file and one from pinned memory, which grows with the model's bytes, and so does the place it takes. The worth
of a load halves every ``HALF_LIFE`` seconds. Models come in the order of their worth, then in the order in which they
were opened, and a model gives way only to one of more worth, while nothing of it is on the device.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["HALF_LIFE", "Place", "choose"]

HALF_LIFE = 600.0


@dataclass(slots=True)
class Place:
    """A model's claim to the store: the bytes it would take, and what its loads so far were worth at ``at``."""

    size: int
    worth: float = 0.0
    at: float = 0.0
    stored: bool = False

    def now(self, moment: float) -> float:
        """Its worth at a moment."""
        return float(self.worth * 0.5 ** ((moment - self.at) / HALF_LIFE))

    def load(self, moment: float) -> None:
        """It has been loaded once more."""
        self.worth, self.at = self.now(moment) + 1, moment


def choose(places: dict[str, Place], budget: int, busy: set[str], moment: float) -> tuple[str, list[str]] | None:
    """The model to take in next, and those to give up for it; None if all is as it should be."""
    if all(place.stored for place in places.values()):
        return None
    free = budget - sum(place.size for place in places.values() if place.stored)
    ranked = sorted(places, key=lambda name: -places[name].now(moment))
    for name in (name for name in ranked if not places[name].stored):
        worth, missing, leaving = places[name].now(moment), places[name].size - free, list[str]()
        for other in (other for other in reversed(ranked) if places[other].stored and other not in busy):
            if missing <= 0 or places[other].now(moment) >= worth:
                break
            leaving.append(other)
            missing -= places[other].size
        if missing <= 0:
            return name, leaving
    return None
