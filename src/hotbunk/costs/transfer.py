"""What moves take: weights and KV caches between host and device, and what goes with them.

Symbols: ``B`` bytes, ``p`` pieces (layers are moved and given back one by one).

    load     t = start + p * piece + B_pinned / h2d_pinned + B_pageable / h2d_pageable + beside + cleared
    context  t = start + split * arrange + K_d / clear_d + K_h / pin + L * layer
    unload   t = start + p * piece + B / release      p, B: of what is given back; the worker keeps weights' memory
    kv_out   t = start(L) + K_d / d2h + K_h / copy          kv_in alike, with h2d
    pin      t = start + B / pin

A load is the promotion alone. Where host memory is pinned the copies run by themselves once all are called for, and
the context is made meanwhile, so both together take ``max(load, calls + context)``, and their sum elsewhere
(``Costs.load``); a resize to fewer layers takes ``unload + context``.

Two things hold up the copies meanwhile, which take ``c = B_pinned / h2d_pinned`` by themselves:

    beside  = O / pinned, and if c > begun  H / pinned + K_d / taken      begun = planned + K_h / pin
    cleared = min(2 c, begun, F / mapped)

They stop while the context pins host memory, and while it takes memory on the device. First it pins room for the logits
of all slots, ``O = 4 slots vocabulary``. The KV cache's memory it takes ``begun`` after the copies began, once it is
planned and the host has its part, and then it pins the host's compute buffer, ``H`` bytes: that is nothing to copies
that are over by then. Where the context is kept there is nothing to wait for. And while a driver takes back what was
given up right before, ``F`` bytes, they go at a third of their speed, until they stop anyway; not where a new shell is
opened in between, which takes longer.

``K_d`` and ``K_h`` are the parts of the KV cache on the device and on the host: of the whole cache, which is cleared,
for a context, and of one sequence's state for the others, which goes layer by layer. Host memory for a KV cache is
pinned where it can be.
"""

from __future__ import annotations

import numpy as np

from hotbunk.costs.linear import Array, Term
from hotbunk.costs.record import Kind, Record
from hotbunk.costs.roofline import Roofline
from hotbunk.costs.work import Sides
from hotbunk.placement import Placement

__all__ = ["MAPPED", "PINNED", "RELEASE", "TRANSFERS", "transfer"]

_START, _PIECE = 2e-3, 0.5e-3  # seconds of one move, and of one piece's allocation or release by a GPU's driver
_END = 15e-3  # seconds to end a context, with the queues and recorded graphs that a GPU has of it
_TAKEN = 2e12  # bytes a second of a device's memory that a context takes
_PLANNED = 5e-3  # seconds of planning a context before it takes memory
_LOGIT = 4  # bytes
_CARRIED, _COPIED = 0.2e-3, 25e-6  # seconds of one transfer, and of its copies of a layer
_CONTEXT, _ARRANGE, _LAYER = 25e-3, 20e-3, 0.3e-3  # seconds of planning libllama's graphs
RELEASE = 1e12
"""Bytes a second that a driver is taken to take back."""
MAPPED = 600e9
"""Bytes a second that it clears then, while copies are slower."""
PINNED = 3e9
"""Bytes a second of a context's small host buffers, which take as long on machines that pin slowly."""

_CARRY = (
    Term("start", "one transfer", "s", 1.0),
    Term("device", "state on the device, over the bus", "B", 0.5),
    Term("host", "state on the host, copied", "B", 1.0),
)
TRANSFERS: dict[Kind, tuple[Term, ...]] = {
    Kind.LOAD: (
        Term("start", "one load", "s", 1.0),
        Term("piece", "each layer", "s", 1.0),
        Term("pinned", "weights from the host store", "B", 0.2),
        Term("pageable", "weights from the mapped file", "B", 0.5),
        Term("beside", "pinned for the context, while copies wait", "B", 0.5),
        Term("cleared", "given back, while copies are slower", "B", 0.5),
    ),
    Kind.CONTEXT: (
        Term("start", "one context", "s", 1.0),
        Term("arrange", "planning for two sides", "s", 2.0),
        Term("layer", "each layer", "s", 1.0),
        Term("kv_device", "KV cache on the device, cleared", "B", 1.0),
        Term("kv_host", "KV cache on the host, cleared", "B", 1.0),
    ),
    Kind.UNLOAD: (
        Term("start", "one unload", "s", 1.0),
        Term("piece", "each layer", "s", 1.0),
        Term("release", "weights given back", "B", 2.0),
    ),
    Kind.KV_OUT: _CARRY,
    Kind.KV_IN: _CARRY,
    Kind.PIN: (Term("start", "one model", "s", 1.0), Term("pin", "weights copied and pinned", "B", 0.3)),
}
"""The terms of each kind."""


def transfer(sides: Sides, roofline: Roofline, record: Record) -> Array:
    """Seconds by the roofline of each term of the record's kind, shape (terms,)."""
    kind, size = record.kind, record.moved
    if kind is Kind.LOAD:
        pinned = size if record.pinned and roofline.h2d_pinned else 0
        times = [pinned / roofline.to_device(True), (size - pinned) / roofline.h2d_pageable]
        return np.array([_START, record.pieces * _PIECE, *times, *_held_up(sides, roofline, record, times[0])])
    if kind is Kind.UNLOAD:
        return np.array([_END, record.pieces * _PIECE, size / RELEASE])
    if kind is Kind.PIN:
        return np.array([_START, size / (roofline.pin or roofline.h2d_pageable)])
    if kind is Kind.CONTEXT:
        return _context(sides, roofline, record)
    rate = roofline.to_host if kind is Kind.KV_OUT else roofline.to_device
    device = size * record.placement.cache_share
    # one thread copies what is on the host, as it does before bytes cross the bus from pageable memory
    times = [device / rate(record.pinned), (size - device) / roofline.h2d_pageable]
    return np.array([_CARRIED + len(sides.anatomy.layers) * _COPIED, *times])


def _held_up(sides: Sides, roofline: Roofline, record: Record, copies: float) -> tuple[float, float]:
    """Seconds that a load's copies wait for its context to get memory, and for memory given back to be cleared."""
    place, cleared = record.placement, record.freed / MAPPED
    if not copies or not record.anew:
        return 0.0, min(2 * copies, cleared)
    begun = _PLANNED + _there(sides, roofline, place)
    pinned, taken = place.slots * sides.anatomy.vocabulary * _LOGIT, 0
    if copies > begun:
        pinned, taken = pinned + place.host.compute, place.device.kv
    return pinned / PINNED + taken / _TAKEN, min(2 * copies, begun, cleared)


def _there(sides: Sides, roofline: Roofline, place: Placement) -> float:
    """Seconds until the host has its part of the KV cache."""
    return place.host.kv / roofline.pin if roofline.pin else place.host.kv * sides.host.attended


def _context(sides: Sides, roofline: Roofline, record: Record) -> Array:
    place = record.placement
    split = _ARRANGE if sides.split else 0.0
    layers = len(sides.anatomy.layers) * _LAYER
    return np.array([_CONTEXT, split, layers, place.device.kv * sides.device.attended, _there(sides, roofline, place)])
