"""What moves take: weights and KV caches between host and device, and what goes with them.

Symbols: ``B`` bytes, ``p`` pieces (layers are moved and given back one by one).

    load     t = start + p * piece + B_pinned / h2d_pinned + B_pageable / h2d_pageable + beside + cleared
    context  t = start + split * arrange + K_d / clear_d + K_h / pin + L * layer
    unload   t = start + p * piece + B / release      p, B: of what is given back; the worker keeps weights' memory
    kv_out   t = start(L) + K_d / d2h + K_h / copy          kv_in alike, with h2d
    pin      t = start + B / pin

A load is the promotion alone. Where host memory is pinned the copies run by themselves and the context is made
meanwhile, so both together take ``max(load, context)``, and their sum elsewhere (``Costs.load``); of a resize to more
layers ``max(load, calls + context)``, of one to fewer ``unload + context``. But while the device gets memory for the
context's KV cache the copies wait: ``beside = min(B_pinned / h2d_pinned, made + K_d / mapped)`` where all of it is on
the device. Where the host has a part in it, most copies are over before the host's memory is there. They wait, too,
while a driver takes back the KV cache of the context before, ``F`` bytes: ``cleared = min(B_pinned / h2d_pinned, F /
mapped)``. That is over where a new shell is opened in between.

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

__all__ = ["RELEASE", "TRANSFERS", "transfer"]

_START, _PIECE = 5e-3, 0.8e-3  # seconds of one move, and of one piece's allocation or release by a GPU's driver
_END = 15e-3  # seconds to end a context, with the queues and recorded graphs that a GPU has of it
_MADE, _MAPPED = 8e-3, 600e9  # seconds to make a context on the device; bytes a second of memory got or given back
_CARRIED, _COPIED = 0.2e-3, 25e-6  # seconds of one transfer, and of its copies of a layer
_CONTEXT, _ARRANGE, _LAYER = 25e-3, 20e-3, 0.3e-3  # seconds of planning libllama's graphs
RELEASE = 1e12
"""Bytes a second that a driver is taken to take back."""

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
        Term("beside", "weights copied while the context is made", "B", 1.0),
        Term("cleared", "weights copied while the context before is cleared", "B", 1.0),
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
        waits = _making(record.placement), record.freed / _MAPPED
        return np.array([_START, record.pieces * _PIECE, *times, *(min(times[0], wait) for wait in waits)])
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


def _making(place: Placement) -> float:
    """Seconds in which a context is made on the device, where the host has no part in it."""
    return 0.0 if place.host.kv else _MADE + place.device.kv / _MAPPED


def _context(sides: Sides, roofline: Roofline, record: Record) -> Array:
    place = record.placement
    there = place.host.kv / roofline.pin if roofline.pin else place.host.kv * sides.host.attended
    split = _ARRANGE if sides.split else 0.0
    layers = len(sides.anatomy.layers) * _LAYER
    return np.array([_CONTEXT, split, layers, place.device.kv * sides.device.attended, there])
