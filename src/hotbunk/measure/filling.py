"""Waiting for the host store to have taken models in, and how fast it did."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from time import monotonic

from hotbunk.measure.wire import Wire
from hotbunk.worker.protocol import Beat

__all__ = ["Filled", "Stored", "fill", "lacking", "told", "watch"]

Stored = Mapping[str, tuple[int, int]]
"""Bytes in the host store, of how many, by model."""

_STILL = 15.0  # seconds without progress after which the host store counts as complete


@dataclass(frozen=True, slots=True)
class Filled:
    """Weights in the host store: bytes, and the seconds that copying and pinning them took."""

    size: int
    seconds: float


def fill(
    wire: Wire,
    models: Collection[str],
    say: Callable[[str], object] = lambda line: None,
    clock: Callable[[], float] = monotonic,
) -> dict[str, Filled]:
    """Wait until the models' weights are in the host store, and the arena is locked, if the device has a use for them.

    Pinning goes on in the background and would disturb what is measured meanwhile, most of all the copies. Beats come
    twice a second, so how fast it went is told only of models that took more than a few of them. What does not fit
    stays out.
    """
    if wire.until(Beat).free < 0:  # only devices with pinned memory tell
        return {}
    seen: dict[str, list[tuple[float, int]]] = {}
    there: Stored = {}
    for there in watch(wire, models, clock):
        for name, (done, _) in there.items():
            looks = seen.setdefault(name, [])
            if not looks or looks[-1][1] != done:
                looks.append((clock(), done))
        say(f"waiting for the host store ({told(there)})")
    absent = lacking(models, there)
    rates = {name: _rate(seen[name]) for name in models if name not in absent}
    return {name: Filled(there[name][1], there[name][1] / rate) for name, rate in rates.items() if rate}


def watch(wire: Wire, models: Collection[str], clock: Callable[[], float] = monotonic) -> Iterator[Stored]:
    """What is in the host store, beat by beat: until the models are and nothing is on its way, or moves for a while."""
    before, moved = dict[str, tuple[int, int]](), clock()
    while clock() - moved < _STILL:
        beat = wire.until(Beat)
        there = not lacking(models, beat.stored)
        if beat.stored != before or (there and beat.filling):  # an arena is locked in one piece, however long it takes
            before, moved = beat.stored, clock()
        yield beat.stored
        if there and not beat.filling:
            return


def lacking(models: Collection[str], there: Stored) -> list[str]:
    """Those of the models that are not in the host store, or not whole."""
    return [name for name in models if name not in there or there[name][0] < there[name][1]]


def told(there: Stored) -> str:
    """In words, what is there."""
    parts = (f"{name}: {done / 1e9:.1f} of {size / 1e9:.1f} GB" for name, (done, size) in there.items())
    return ", ".join(parts) or "empty"


def _rate(looks: list[tuple[float, int]]) -> float:
    """Bytes a second; 0 if there were too few looks. The last is late: it came when all had been there for a while."""
    if len(looks) < 3:
        return 0.0
    (begin, first), (end, last) = looks[0], looks[-2]
    return (last - first) / (end - begin)
