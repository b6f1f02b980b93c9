"""The pace of an experiment: point by point, each once before any twice, within the time that there is.

A repeat of all points may take half of the time that is left, the last one all of it; within it a point gets an even
share of what is left, never less than of all that is to come; what it does not need is the others'. So a short budget
cuts repeats before it thins points. A point that was cut short earlier is measured again, after those that are not
there at all. A point at which this process could not keep up with the worker is tried again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from math import inf
from time import monotonic

from hotbunk.errors import OutOfMemory
from hotbunk.measure.wire import Outrun
from hotbunk.study.results import Results, Row

__all__ = ["Clock", "Point", "Say", "go"]

Say = Callable[[str], None]
"""Hears what is being done."""
_TRIES = 3
_ROUND = 0.5
"""Share of the time left that a repeat of all points may take, if others follow."""


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

    Its ``repeat`` says the how manieth time all is measured; points of one repeat follow each other.
    ``measure`` is given the seconds that it should take at most, and returns rows by table: none, if it would take far
    longer, or came no further than before. ``whole`` says of the rows that are there whether they reach what is asked.
    """

    table: str
    title: str
    key: Row
    measure: Callable[[float], Mapping[str, Sequence[Row]]]
    whole: Callable[[Sequence[Row]], bool] = bool

    def rows(self, results: Results) -> list[Row]:
        """Those of its rows that are there."""
        return results.rows(self.table, **self.key)

    def done(self, results: Results) -> bool:
        """Whether there is nothing left to measure."""
        return self.whole(self.rows(results))


def go(points: Sequence[Point], results: Results, clock: Clock, say: Say) -> list[Point]:
    """Measure the points that are not done yet, in order; returns those for which there was no time, or too little.

    A point for which the device has no memory, or this process no time to keep up, is noted and left out.

    Raises:
        EngineError: the worker failed.
        ConfigError: the results cannot be written.
    """
    todo = [point for point in points if not point.done(results)]
    todo.sort(key=lambda point: bool(point.rows(results)))  # those that were cut short come last
    rounds = [list(same) for _, same in groupby(todo, key=lambda point: point.key.get("repeat"))]
    left, number = list[Point](), 0
    for nth, same in enumerate(rounds):
        part = clock if nth == len(rounds) - 1 else clock.part(_ROUND)
        for place, point in enumerate(same):
            if clock.over:
                return left + todo[number:]
            seconds = max(part.left / (len(same) - place), clock.left / (len(todo) - number))
            number += 1
            say(f"{point.title} ({number} of {len(todo)})")
            try:
                found = _measured(point, seconds)
            except (OutOfMemory, Outrun) as error:
                results.note(point.title, f"left out: {error}")
                continue
            results.note(point.title)
            for table in sorted(found, key=lambda table: table == point.table):  # its own last: then it counts as done
                results.add(table, ({**point.key, **row} for row in found[table]))
            left += [] if point.done(results) else [point]
    return left


def _measured(point: Point, seconds: float) -> Mapping[str, Sequence[Row]]:
    for _ in range(_TRIES - 1):
        with suppress(Outrun):
            return point.measure(seconds)
    return point.measure(seconds)
