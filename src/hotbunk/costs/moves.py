"""Bounds on the seconds that a model's moves may take, for the scheduler's promise on waiting.

Before the first measurement (bytes ``B``, pageable copies at the slowest rate we have seen on loopback RPC, 0.5 GB/s):

    load  = 1 s + B_weights / 0.5 GB/s        leave = 0.5 s + B_kv / 0.5 GB/s

and afterwards 1.5 times the longest of the last 16 measurements, plus 50 ms: moves wait for the decode step under way,
so single measurements scatter; the bound follows the worst recent one.
"""

from collections import deque
from dataclasses import dataclass, field

from hotbunk.placement import Placement

SLOW = 0.5e9  # bytes a second
MARGIN = 1.5
STEP = 0.05  # seconds


def _window() -> deque[float]:
    return deque(maxlen=16)


@dataclass(slots=True)
class MoveCosts:
    """One model's measured moves, in seconds."""

    placement: Placement
    loads: deque[float] = field(default_factory=_window)
    leaves: deque[float] = field(default_factory=_window)

    @property
    def load(self) -> float:
        """Bound on bringing the model in."""
        return _bound(self.loads) or 1.0 + self.placement.device.weights / SLOW

    @property
    def leave(self) -> float:
        """Bound on taking it out, the state of its sequences included."""
        kv = self.placement.device.kv + self.placement.host.kv
        return _bound(self.leaves) or 0.5 + kv / SLOW


def _bound(measured: deque[float]) -> float:
    return max(measured) * MARGIN + STEP if measured else 0.0
