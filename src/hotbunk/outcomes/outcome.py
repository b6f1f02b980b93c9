"""What became of each request of a trace, and what the device did meanwhile. Times are seconds of the run's clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Self

import numpy as np
from numpy.typing import NDArray

from hotbunk.traces.trace import Floats, Integers, Trace

__all__ = ["Fate", "Outcomes", "Run", "Stay", "Usage"]


class Fate(IntEnum):
    """What became of a request in the end."""

    OPEN = 0
    """It was neither answered nor refused: it never arrived (what it follows was refused), or the run ended before."""
    DONE = 1
    REFUSED = 2
    FAILED = 3


@dataclass(frozen=True, eq=False)
class Outcomes:
    """A row for each of the trace's; all columns have the shape (requests,). NaN: it did not come to that, or unknown.

    ``arrived``: when the request came; ``started``: when it was given a slot; ``first`` and ``ended``: when its first
    and its last token came; ``tokens``: how many came; ``preemptions``: how often it was suspended.
    """

    trace: Trace
    arrived: Floats
    started: Floats
    first: Floats
    ended: Floats
    tokens: Integers
    preemptions: Integers
    fate: NDArray[np.int8]

    @classmethod
    def empty(cls, trace: Trace) -> Self:
        """Nothing has happened yet; to be filled in."""
        size = len(trace)
        arrived, started, first, ended = (np.full(size, np.nan) for _ in range(4))
        tokens, preemptions = (np.zeros(size, np.int32) for _ in range(2))
        return cls(trace, arrived, started, first, ended, tokens, preemptions, np.zeros(size, np.int8))


@dataclass(frozen=True, slots=True)
class Stay:
    """A model on the device from ``begin``, when its load or resize was ordered, to ``end``, when its bytes were free.

    It could be used from ``ready`` on (NaN: never). ``layers`` of ``of`` are on the device, ``size`` bytes.
    """

    model: str
    begin: float
    ready: float
    end: float
    layers: int
    of: int
    size: int


@dataclass(slots=True)
class Usage:
    """What the device did; NaN where it is not known.

    ``moved``: bytes of weights that came onto the device; ``carried``: bytes of suspended sequences' states, both ways.
    ``computing``, ``moving``: seconds in which an evaluation, or a move (of weights, contexts or states), was under
    way; they may overlap. ``busy``: seconds in which at least one of both was. ``decisions``: how often the scheduler
    was asked.
    """

    loads: float = 0
    unloads: float = 0
    resizes: float = 0
    suspends: float = 0
    moved: float = 0
    carried: float = 0
    computing: float = 0.0
    moving: float = 0.0
    busy: float = 0.0
    decisions: float = 0


@dataclass(frozen=True, eq=False)
class Run:
    """A trace that was served: by whom (a policy, or a server's name), what came of it, and how the device was used.

    ``duration``: seconds from the beginning to the last answer, or whatever else happened last to a request.
    """

    name: str
    outcomes: Outcomes
    usage: Usage
    duration: float
    stays: Sequence[Stay] = field(default_factory=tuple)
