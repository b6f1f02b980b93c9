"""The bus: how fast bytes cross between host memory and the device, by size, direction and kind of memory.

Method. A process of its own copies blocks of each size to the device and back, from pinned and from pageable memory,
five times after one to warm up, and takes the fastest; each repeat is a new process. Pinning is timed as the host
store does it, for whole models: copying the file's bytes into huge pages and locking them, as seen twice a second.
"""

from __future__ import annotations

from collections.abc import Sequence

from hotbunk.measure.machine import copies
from hotbunk.study.pace import Clock, Point, Say, go
from hotbunk.study.results import Results, Row

__all__ = ["SIZES", "check", "measure"]

SIZES = tuple(1 << power for power in range(16, 31, 2))
"""64 KiB to 1 GiB."""
_SMALL = 1 << 20
_WAYS = ("h2d_pinned", "d2h_pinned", "h2d_pageable", "d2h_pageable")


def check(device: str) -> bool:
    """Whether the device has pinned memory.

    Raises:
        EngineError: there is no such device.
    """
    return copies(device, [_SMALL])[0]["h2d_pinned"] is not None


def measure(
    device: str, results: Results, clock: Clock, say: Say, sizes: Sequence[int] = SIZES, repeats: int = 3
) -> int:
    """Measure all that is not there yet; returns for how many points there was no time.

    Raises:
        EngineError: the device cannot be had.
        ConfigError: the results cannot be written.
    """
    points = [
        Point("bus", f"bus, repeat {repeat + 1}", {"repeat": repeat}, lambda _: {"bus": _rows(device, sizes)})
        for repeat in range(repeats)
    ]
    return len(go(points, results, clock, say))


def _rows(device: str, sizes: Sequence[int]) -> list[Row]:
    return [
        {"size": each["size"], "direction": way[:3], "memory": way[4:], "speed": each[way]}
        for each in copies(device, sizes)
        for way in _WAYS
        if each[way] is not None
    ]
