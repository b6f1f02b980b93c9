"""The pace of an experiment: point by point, each once before any twice, within the time that there is.

A point gets an even share of what time is left; what it does not need is the others'. So a short budget thins all
points out alike, and cuts repeats before it cuts points.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from time import monotonic

from hotbunk.errors import OutOfMemory
from hotbunk.study.results import Results, Row

__all__ = ["Clock", "Point", "Say", "go"]

Say = Callable[[str], None]
"""Hears what is being done."""


class Clock:
    """Time to spend, in seconds; None: as long as it takes."""

    def __init__(self, seconds: float | None = None) -> None:
        self._end = inf if seconds is None else monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds; infinite without a budget."""
        return max(0.0, self._end - monotonic())

    @property
    def over(self) -> bool:
        """Whether all is spent."""
        return not self.left

    def part(self, share: float) -> Clock:
        """A clock for that share of what is left."""
        return Clock(None if self._end == inf else self.left * share)


@dataclass(frozen=True)
class Point:
    """A point of an experiment: ``key`` is in all its rows and tells it from the others of ``table``.

    ``measure`` is given the seconds that it should take at most, and returns rows by table: none, if it would take far
    longer.
    """

    table: str
    title: str
    key: Row
    measure: Callable[[float], Mapping[str, Sequence[Row]]]


def go(points: Sequence[Point], results: Results, clock: Clock, say: Say) -> int:
    """Measure the points that are not there yet, in order; returns for how many there was no time.

    Raises:
        EngineError: the worker failed. A point for which the device has no memory is noted, and left out.
        ConfigError: the results cannot be written.
    """
    left = 0
    todo = [point for point in points if not results.rows(point.table, **point.key)]
    for number, point in enumerate(todo):
        if clock.over:
            return left + len(todo) - number
        say(f"{point.title} ({number + 1} of {len(todo)})")
        try:
            found = point.measure(clock.left / (len(todo) - number))
        except OutOfMemory as error:
            results.note(point.title, f"left out: {error}")
            continue
        left += not found.get(point.table)
        for table in sorted(found, key=lambda table: table == point.table):  # its own last: then it counts as done
            results.add(table, ({**point.key, **row} for row in found[table]))
    return left
