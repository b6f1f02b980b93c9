"""What a machine can do at best, measured without any model: the rates that every first estimate is made from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Roofline", "Side"]

_BITS = re.compile(r"\d+")


@dataclass(frozen=True, slots=True)
class Side:
    """The device, or the host's CPU with the threads that the worker uses.

    ``read``: bytes of weights a second, by type, in a product with one vector. ``multiply``: multiplications a second,
    by type, in a product with 512 of them. ``attend``: multiplications a second of one token with a long KV cache.
    ``launch``: seconds of one tiny operation of many; ``overhead``: seconds of an evaluation besides its operations
    (dispatch, synchronising).
    """

    read: Mapping[str, float]
    multiply: Mapping[str, float]
    attend: float
    launch: float
    overhead: float

    def reading(self, sizes: Mapping[str, float]) -> float:
        """Seconds to read weights of these bytes by type once."""
        return sum(size / _rate(self.read, kind) for kind, size in sizes.items())

    def multiplying(self, sizes: Mapping[str, float], elements: float) -> float:
        """Seconds to multiply one token with so many elements of these types, in a large batch."""
        total = sum(sizes.values())
        if not total:
            return 0.0
        return elements * sum(size / total / _rate(self.multiply, kind) for kind, size in sizes.items())


@dataclass(frozen=True, slots=True)
class Roofline:
    """A machine's measured rates. Those of the bus and of pinning are bytes a second; None: no pinned memory.

    ``streams``: in batches of ``STREAMED`` tokens and more, weights on the host are copied to the device and
    multiplied there. ``quick``: measured in a second or two, as a server does at its first start; good enough to begin
    with, and not to be kept for good.
    """

    device: Side
    host: Side
    h2d_pinned: float | None
    d2h_pinned: float | None
    h2d_pageable: float
    d2h_pageable: float
    pin: float | None
    streams: bool
    quick: bool = False

    def to_device(self, pinned: bool) -> float:
        """Bytes a second."""
        return (self.h2d_pinned if pinned else None) or self.h2d_pageable

    def to_host(self, pinned: bool) -> float:
        """Bytes a second."""
        return (self.d2h_pinned if pinned else None) or self.d2h_pageable


STREAMED = 32
"""Tokens from which on a device with ``streams`` takes over the host's layers (ggml-cuda's ``offload_op``)."""


def _rate(rates: Mapping[str, float], kind: str) -> float:
    """The rate of a type, or of the measured one whose weights have most nearly as many bits."""
    if kind in rates:
        return rates[kind]
    return rates[min(rates, key=lambda known: (abs(_bits(known) - _bits(kind)), known))]


def _bits(kind: str) -> int:
    """Of one weight, by the name of its type: F16, BF16, Q4_K, IQ2_XS, MXFP4."""
    found = _BITS.search(kind)
    return int(found[0]) if found else 16
