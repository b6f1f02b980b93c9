"""The four workloads that the simulator is held against, drawn by seed: light, heavy, bursty, and chains of agents.

They are made for an H100 and models of 3 to 8 billion weights: light leaves the device idle most of the time, heavy
keeps it busy and switching, bursts queue up, and what an agent asks next comes after the answer. ``Draw`` makes them
fit other devices.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hotbunk.traces.arrivals import Arrivals, Burst
from hotbunk.traces.draw import Chains, LogNormal, Popularity, Recipe, draw
from hotbunk.traces.trace import Trace

__all__ = ["WORKLOADS", "Draw"]

_POPULAR = 0.7  # Zipf's exponent: of three models the least asked gets a quarter

_THINK = 1.0  # seconds


@dataclass(frozen=True, slots=True)
class Draw:
    """``seconds`` of a workload, so many times its ``rate``, with so many times its ``tokens``."""

    seconds: float
    rate: float
    tokens: float

    def made(self, name: str, models: tuple[str, ...], seed: int, arrivals: Arrivals, chance: float = 0.0) -> Trace:
        """A trace of such arrivals, each answer of which is followed by another request with that ``chance``."""
        lengths = self._lengths(500, 0.9, 2500), self._lengths(150, 0.7, 700)
        chains = Chains(chance, _THINK / self.rate)
        recipe = Recipe(arrivals, Popularity(models, _POPULAR), lengths, chains, duration=self.seconds)
        return draw(recipe, seed, name)

    def _lengths(self, median: float, sigma: float, most: int) -> LogNormal:
        return LogNormal(max(1.0, median * self.tokens), sigma, max(1, round(most * self.tokens)))


def _light(name: str, models: tuple[str, ...], how: Draw) -> Trace:
    return how.made(name, models, 1, Arrivals(0.25 * how.rate))


def _heavy(name: str, models: tuple[str, ...], how: Draw) -> Trace:
    return how.made(name, models, 2, Arrivals(1.5 * how.rate))


def _bursty(name: str, models: tuple[str, ...], how: Draw) -> Trace:
    burst = Burst(how.seconds / 20, how.seconds / 10, 8.0)
    return how.made(name, models, 3, Arrivals(0.7 * how.rate, cv=1.5, burst=burst))


def _chains(name: str, models: tuple[str, ...], how: Draw) -> Trace:
    return how.made(name, models, 4, Arrivals(0.2 * how.rate), 0.7)


WORKLOADS: dict[str, Callable[[str, tuple[str, ...], Draw], Trace]] = {
    "light": _light,
    "heavy": _heavy,
    "bursty": _bursty,
    "chains": _chains,
}
"""By name: what makes a trace for these models, the most asked first."""
