"""Waiting for the host store to have taken models in, and how fast it did."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from time import monotonic

from hotbunk.measure.wire import Wire
from hotbunk.worker.protocol import Beat

__all__ = ["Filled", "fill"]

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
    """Wait until the models' weights are in the host store, if the device has a use for one.

    Pinning goes on in the background and would disturb what is measured meanwhile. Beats come twice a second, so how
    fast it went is told only of models that took more than a few of them. What does not fit stays out.
    """
    if wire.until(Beat).free < 0:  # only devices with pinned memory tell
        return {}
    seen: dict[str, list[tuple[float, int]]] = {}
    sizes, moved = dict[str, int](), clock()
    while clock() - moved < _STILL and not _complete(models, seen, sizes):
        there = wire.until(Beat).stored
        for name, (done, size) in there.items():
            looks, sizes[name] = seen.setdefault(name, []), size
            if not looks or looks[-1][1] != done:
                moved = clock()
                looks.append((moved, done))
        say("waiting for the host store: " + ", ".join(f"{n} {d / 1e9:.1f} GB" for n, (d, _) in there.items()))
    return {
        name: Filled(sizes[name], sizes[name] / rate)
        for name in models
        if name in seen and seen[name][-1][1] >= sizes[name] and (rate := _rate(seen[name]))
    }


def _complete(models: Collection[str], seen: dict[str, list[tuple[float, int]]], sizes: dict[str, int]) -> bool:
    return all(name in seen and seen[name][-1][1] >= sizes[name] for name in models)


def _rate(looks: list[tuple[float, int]]) -> float:
    """Bytes a second; 0 if there were too few looks. The last is late: it came when all had been there for a while."""
    if len(looks) < 3:
        return 0.0
    (begin, first), (end, last) = looks[0], looks[-2]
    return (last - first) / (end - begin)
