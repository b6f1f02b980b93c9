"""The line that explains the cliff: time per token is almost a straight line in the bytes on either side.

    t(n) = D(n) / B_d + H(n) / B_h

with ``n`` layers on the device, ``D`` and ``H`` the bytes [B] that a token reads there and on the host, and ``B`` what
each side gets through a second, all that comes with them included (``D + H`` is always the same, so a time of its own
could not be told from the others). Speed is the reciprocal, so a small share of bytes on the slow side takes most of it
away: that is the cliff. Fitted to medians, with relative errors, no parameter below zero.

The head's place. libllama moves the output head first, the study's Ollama moved it last: ``n`` layers were ``n``
blocks, and the head came with the very last one. The same line with those bytes says what that makes of the speed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

__all__ = ["Line", "Sides", "fit"]

_Array = NDArray[np.float64]


@dataclass(frozen=True)
class Sides:
    """Bytes that a token reads on the device and on the host, by the number of layers on the device.

    ``head`` are those of the output head.
    """

    layers: Sequence[int]
    device: Sequence[float]
    host: Sequence[float]
    head: float

    @property
    def all(self) -> int:
        """Blocks and head."""
        return max(self.layers)

    @property
    def whole(self) -> float:
        """All bytes that a token reads."""
        return self.device[0] + self.host[0]

    def first(self, count: float) -> tuple[float, float]:
        """With so many layers on the device, the head before all blocks."""
        device = float(np.interp(count, self.layers, self.device))
        return device, self.whole - device

    def last(self, count: float) -> tuple[float, float]:
        """The same with the head after all blocks."""
        if count >= self.all:
            return self.first(count)
        device = max(0.0, self.first(count + 1)[0] - self.head)
        return device, self.whole - device


@dataclass(frozen=True)
class Line:
    """Seconds a byte on each side; ``error`` is the mean relative one over the points."""

    device: float
    host: float
    error: float

    def seconds(self, device: float, host: float) -> float:
        """Of a token that reads these bytes."""
        return device * self.device + host * self.host

    def kept(self, sides: Sides, count: float, head_last: bool = False) -> float:
        """The share of the full speed with so many layers on the device."""
        now = sides.last(count) if head_last else sides.first(count)
        return self.seconds(*sides.first(sides.all)) / self.seconds(*now)


def fit(sides: Sides, seconds: Sequence[float]) -> Line:
    """Fit the line to seconds a token at each of the sides' numbers of layers, at least two."""
    times = np.asarray(seconds)
    whole = max(sides.whole, 1.0)
    columns = np.column_stack([sides.device, sides.host]) / whole
    found = nnls(columns / times[:, None], np.ones(len(times)))[0]
    error = float(np.mean(np.abs(columns @ found / times - 1)))
    return Line(float(found[0]) / whole, float(found[1]) / whole, error)
