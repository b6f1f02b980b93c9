"""Bounds on the seconds that a model's moves may take, for the scheduler's promise on waiting.

Before the first measurement, what the model's costs say at the upper end of their interval (``Costs``), where there are
any, times 1.5 and plus 50 ms:

    load  = 1.5 (turn + weights from pageable memory, and the contexts) + 50 ms
    leave = 1.5 (turn + all slots full: every KV cache out, to pageable memory; and the unload) + 50 ms

``turn`` is the longest that the model itself may have under way (``Costs.turn``). The file is taken to be in the page
cache: how fast a disk is, only the first load tells. Where there are no costs (bytes ``B``, pageable copies at the
slowest rate we have seen on loopback RPC, 0.5 GB/s):

    load  = 1 s + B_weights / 0.5 GB/s        leave = 0.5 s + B_kv / 0.5 GB/s

And afterwards 1.5 times the longest of the last 16 measurements, plus 50 ms: moves wait for the decode step under way,
so single measurements scatter; the bound follows the worst recent one. Only these count: loads of the whole model from
nothing, and unloads in which at least one sequence was suspended. A resize moves a part of the weights, and an idle
model leaves in no time: after either too little would be allowed for the next move. Loads from pageable memory are
forgotten with the first one from pinned memory, which may take a twentieth: a server that has just started would refuse
for long what it could well serve. And the other way round.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hotbunk.placement import Placement

if TYPE_CHECKING:
    from hotbunk.costs.model import Costs  # it brings SciPy, which none needs who only asks for bounds

SLOW = 0.5e9  # bytes a second
MARGIN = 1.5
STEP = 0.05  # seconds


def _window() -> deque[float]:
    return deque(maxlen=16)


@dataclass(slots=True)
class MoveCosts:
    """One model's measured moves, in seconds; ``costs`` foretell them before that, if they are known.

    It is told when each move begins and ends, and takes those that count. ``pinned``: whether ``loads`` came from
    pinned memory.
    """

    placement: Placement
    costs: Costs | None = None
    pinned: bool = True
    loads: deque[float] = field(default_factory=_window)
    leaves: deque[float] = field(default_factory=_window)
    _since: float | None = None  # when the last move began, if one did
    _resized: bool = False
    _suspended: bool = False  # a sequence, since it last began to leave

    def comes(self, now: float, resized: bool = False) -> None:
        """A load begins, or a resize."""
        self._since, self._resized = now, resized

    def came(self, now: float, whole: bool = True, pinned: bool = True) -> None:
        """It is over; the ``whole`` model stands, or a part of it."""
        if self._since is None or self._resized or not whole:
            return
        if pinned is not self.pinned:
            self.loads.clear()
        self.pinned = pinned
        self.loads.append(now - self._since)

    def goes(self, now: float) -> None:
        """An unload begins."""
        self._since, self._suspended = now, False

    def suspended(self) -> None:
        """A sequence has been suspended; where an unload is under way, for that."""
        self._suspended = True

    def left(self, now: float) -> None:
        """The unload is over."""
        if self._since is not None and self._suspended:
            self.leaves.append(now - self._since)

    @property
    def load(self) -> float:
        """Bound on bringing the model in."""
        if not self.loads and self.costs:
            return _margin(self._turn + self.costs.load(self.placement, pinned=False).high)
        return _bound(self.loads) or 1.0 + self.placement.device.weights / SLOW

    @property
    def leave(self) -> float:
        """Bound on taking it out, the state of its sequences included."""
        if not self.leaves and self.costs:
            place, costs = self.placement, self.costs
            full = costs.kv_out(place, place.context, pinned=False).times(place.slots)
            return _margin(self._turn + full.high + costs.unload(place).high)
        kv = self.placement.device.kv + self.placement.host.kv
        return _bound(self.leaves) or 0.5 + kv / SLOW

    @property
    def _turn(self) -> float:
        return self.costs.turn(self.placement).high if self.costs else 0.0


def _bound(measured: deque[float]) -> float:
    return _margin(max(measured)) if measured else 0.0


def _margin(seconds: float) -> float:
    return seconds * MARGIN + STEP
