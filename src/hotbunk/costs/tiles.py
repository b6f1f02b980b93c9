"""Decode steps by the hundred, gathered into measurements."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field, replace
from statistics import median

from hotbunk.costs.record import Record
from hotbunk.costs.steps import padded
from hotbunk.placement import Placement

__all__ = ["Tiles"]

SECOND = 1.0
"""Seconds of decoding that make a measurement: a hundred fast steps teach no more than one that is slow."""
STALE = 60.0
"""Seconds after which steps are a measurement however few they are: the next may fare differently."""
OPEN = 64
"""Tiles open at once; whatever is begun beyond them lets go of the one untouched for longest."""

_Key = tuple[Placement, int, int]


@dataclass(slots=True)
class _Tile:
    since: float
    seconds: float = 0.0
    steps: list[Record] = field(default_factory=list)


class Tiles:
    """Gathers steps of one placement, number of sequences and tile of context (256 tokens, which cost the same)."""

    def __init__(self) -> None:
        self._open: OrderedDict[_Key, _Tile] = OrderedDict()

    def add(self, step: Record, at: float) -> Record | None:
        """One more step, at a moment of any clock; a measurement if its tile is full: medians of all its steps."""
        key = step.placement, step.sequences, padded(step.tokens)
        tile = self._open.setdefault(key, _Tile(at))
        self._open.move_to_end(key)
        tile.steps.append(step)
        tile.seconds += step.seconds
        if tile.seconds >= SECOND or at - tile.since >= STALE:
            return _gathered(self._open.pop(key).steps)
        if len(self._open) > OPEN:
            self._open.popitem(last=False)
        return None


def _gathered(steps: list[Record]) -> Record:
    tokens = int(median(each.tokens for each in steps))
    return replace(steps[0], tokens=tokens).timed([each.seconds for each in steps])
