"""The pace of one model at one placement: what its steps take, worked out once and then looked up.

libllama pads contexts to 256 tokens, so a decode step costs the same until the longest sequence fills its next tile:
that is what lets a simulation take many steps at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from hotbunk.costs.linear import Estimate
from hotbunk.costs.steps import CHUNK, PAD
from hotbunk.placement import Placement

__all__ = ["CHUNK", "DELAYS", "NEW", "TILE", "Delays", "Pace", "Priced"]

TILE = PAD
"""Tokens to which a step's context is rounded up."""


@dataclass(frozen=True, slots=True)
class Delays:
    """Seconds that hotbunk itself takes, besides what the device is busy with.

    From a client's request to the scheduler, and from a token to its client: ``latency``, both ways together. From the
    scheduler to the worker and back: ``hop``. Of each decode step, besides its evaluation: ``turn``, and ``draw`` for
    each of its tokens. ``change``: what the first steps of a batch take more than those that follow, when others decode
    than before, or a prompt was evaluated in between: a GPU plans its graph in the first and records it in the second.
    """

    latency: float = 0.004
    hop: float = 0.001
    turn: float = 0.0
    draw: float = 0.0
    change: float = 0.0


DELAYS = Delays()
"""Where they have not been measured."""


class Priced(Protocol):
    """What a simulation has to know of a model's costs; ``costs.model.Costs`` tells all of it."""

    def decode(self, placement: Placement, contexts: Sequence[int]) -> Estimate:
        """One step of these sequences."""

    def chunk(self, placement: Placement, start: int, tokens: int, beside: int = 0) -> Estimate:
        """A chunk of a prompt behind ``start`` tokens, and between the decode steps of ``beside`` sequences."""

    def promote(self, placement: Placement, before: Placement | None = None, pinned: bool = True) -> Estimate:
        """The layers alone."""

    def calls(self, placement: Placement, before: Placement | None = None, pinned: bool = True) -> Estimate:
        """Of ``promote``, what is not the bus's."""

    def context(self, placement: Placement) -> Estimate:
        """Its context."""

    def unload(self, placement: Placement) -> Estimate:
        """All of it off the device."""

    def kv_out(self, placement: Placement, tokens: int, pinned: bool = True) -> Estimate:
        """A sequence's state to the host."""

    def kv_in(self, placement: Placement, tokens: int, pinned: bool = True) -> Estimate:
        """And back."""

    def state(self, tokens: int) -> int:
        """Bytes of a sequence's state."""

    @property
    def weights(self) -> int:
        """Bytes of the whole model's weights."""


NEW = 2
"""Steps of a changed batch until its graph is recorded."""
_LEFT = (0.0, 2 / 3, 1.0)
"""How much of a change's cost is still to come, by the steps until then: a third comes with the first, as measured."""
_BETWEEN = 0.6e-3
"""Seconds that a layer's keys and values wait for slices of a promotion under way: two copies, each behind half a slice
on an H100's bus (docs/measurements/beside-h100.txt)."""


class Pace:
    """Seconds of a model's steps at a placement, with what goes with them.

    Attributes:
        between: seconds more that a sequence's state takes to come back beside a promotion.
    """

    def __init__(self, costs: Priced, placement: Placement, delays: Delays) -> None:
        self.costs, self.placement, self._delays = costs, placement, delays
        self.between = placement.layers * _BETWEEN
        self._steps: dict[tuple[int, tuple[int, ...], int], float] = {}
        self._chunks: dict[tuple[int, int, int], float] = {}
        self._carries: dict[tuple[bool, int], float] = {}

    def step(self, sequences: int, groups: tuple[int, ...], longest: int) -> float:
        """A decode step of so many sequences, the longest of which has ``longest`` tokens behind it.

        ``groups``: how many slots are evaluated in one go, and in another.
        """
        key = sequences, groups, longest // TILE
        found = self._steps.get(key)
        if found is None:
            own = self._delays.turn + sequences * self._delays.draw
            steps = [self.costs.decode(self.placement, (key[2] * TILE,) * slots).seconds for slots in groups]
            found = self._steps[key] = sum(steps) + own
        return found

    def planning(self, new: int, steps: int) -> float:
        """What so many steps take besides, if the batch is ``new`` for so many of them."""
        return self._delays.change * (_LEFT[new] - _LEFT[max(0, new - steps)])

    def chunk(self, start: int, tokens: int, beside: int) -> float:
        """A chunk of a prompt behind ``start`` tokens, and between the decode steps of ``beside`` sequences."""
        key = start, tokens, beside
        found = self._chunks.get(key)
        if found is None:
            found = self._chunks[key] = self.costs.chunk(self.placement, *key).seconds
        return found

    def carry(self, out: bool, tokens: int) -> float:
        """A sequence's state to the host (``out``) or back; by tiles."""
        key = out, -(-tokens // TILE)
        found = self._carries.get(key)
        if found is None:
            cost = self.costs.kv_out if out else self.costs.kv_in
            found = self._carries[key] = cost(self.placement, key[1] * TILE).seconds if tokens else 0.0
        return found
