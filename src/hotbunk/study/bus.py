"""The bus: how fast bytes cross between host memory and the device, by size, direction and kind of memory.

Method. A process of its own copies blocks of each size to the device and back, from pinned and from pageable memory,
five times after one to warm up, and takes the fastest; each repeat is a new process. Pinning is timed as the host
store does it, for whole models: copying the file's bytes into huge pages and locking them, as seen twice a second.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence

from hotbunk.errors import EngineError
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


def copies(device: str, sizes: Sequence[int]) -> list[dict[str, float | None]]:
    """What ``hotbunk.llama.bus`` says of these sizes: bytes a second by direction and memory.

    Raises:
        EngineError: it cannot be measured.
    """
    command = [sys.executable, "-m", "hotbunk.llama.bus", "--device", device]
    for size in sizes:
        command += ["--size", str(size)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["it gave no reason"]
        raise EngineError(f"the bus to {device} cannot be measured: {said[-1].removeprefix('hotbunk: error: ')}")
    found: list[dict[str, float | None]] = json.loads(done.stdout)
    return found


def _rows(device: str, sizes: Sequence[int]) -> list[Row]:
    return [
        {"size": each["size"], "direction": way[:3], "memory": way[4:], "speed": each[way]}
        for each in copies(device, sizes)
        for way in _WAYS
        if each[way] is not None
    ]
