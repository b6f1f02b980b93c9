"""What an evaluation takes: a decode step of several sequences, and the prefill of a prompt.

Symbols: ``W`` bytes of weights that a side reads (of a mixture's experts the share that a batch picks, see
``anatomy``), ``E`` elements of them that a token is multiplied with, ``K`` bytes of KV cache of one sequence on a side,
``A`` multiplications of attention; index d: device, h: host. ``split`` is 1 where a token crosses the bus. ``L`` layers
take a few operations each, of which a decode step of one sequence is a graph that the device replays, while others are
dispatched one by one.

**Decode**, ``n`` sequences whose longest has ``c`` tokens behind it (with its own it is padded to 256, and all streams
of a batch are evaluated at the longest's length, ``llama_kv_cache::get_n_kv``):

    t = step + n * sequence + L_d * layer_d + L_h * layer_h + split * (cross + n * carry)
        + sum_k hat_k(n) * (W_d / B_d(k) + W_h / B_h(k)) + n * T_d(c) + n * T_h(c)

``B(k)`` is the bandwidth that weights are really read with in a batch of ``k`` sequences, for ``k`` in ``BATCHES``. On
the host ``hat_k`` is the share of ``k`` when ``n`` is interpolated between its neighbours. A device's kernels come in
sizes, and three sequences take it about as long as four: there ``hat_k`` is 1 for the next ``k``. At its best a side
takes ``max(W / read, k E / multiply)``, and for attention ``T(c) = max(K(c) / read, A(c) / attend)``. From ``STREAMED``
tokens at once a device that streams reads the host's weights over the bus and multiplies with them itself, and attends
to the host's KV cache; ``W_h`` and ``A_h`` then count for it, and ``stream`` is their way over the bus: of the cache
all that lies between the first slot's first token and the last one's last, so that long slots cost even when empty.

**Prefill** of ``P`` tokens behind ``s``, in chunks of ``CHUNK``:

    t = start + chunks * (L * chunk + split * cross + L * plan) + chunks * (W_d / B_d + stream) + P * E_d / F_d
        + W_h / B_h + P_h * E_h / F_h + A_d / a_d + A_h / a_h

where ``P_h`` are the tokens of chunks that the host evaluates its layers for, and ``W_h`` is read once for each of
those chunks. Chunks shorter than ``STREAMED`` are never streamed. ``plan`` comes only where others decode between the
chunks, each of which has its graph planned anew then.
"""

from __future__ import annotations

import numpy as np

from hotbunk.costs.linear import Array, Term
from hotbunk.costs.record import Record
from hotbunk.costs.roofline import STREAMED, Roofline
from hotbunk.costs.work import Sides, Work

__all__ = ["BATCHES", "CHUNK", "DECODE", "PAD", "PREFILL", "decode", "padded", "prefill"]

BATCHES = (1, 2, 4, 8, 16, 32)
CHUNK = 512
"""Tokens of a prefill that are evaluated at once."""
PAD = 256
"""Tokens, to whose multiples libllama rounds contexts."""
_STEP = 100e-6  # seconds of the worker's own work for a step: socket, loop, sampling's set-up
_SEQUENCE = 100e-6  # seconds to choose one token among a vocabulary
_CROSS, _CARRY = (
    1e-3,
    0.2e-3,
)  # seconds to hand over from side to side, where threads wait to be woken, and for each row
_START = 2e-3  # seconds to plan the graph of a prompt, whose shape is a new one
_PLAN = 0.1e-3  # seconds to plan a layer's part of a graph
_APART, _CHUNKED = 2, 12
"""A layer whose operations are dispatched one by one takes so many times as long as an evaluation of one, by its
launches alone: few sequences' decode step, a chunk of many tokens."""


def padded(behind: int) -> int:
    """Tokens that a step is evaluated at with so many behind it: those and its own, rounded up."""
    return (behind // PAD + 1) * PAD


def _batches(side: str, words: str) -> list[Term]:
    """A bandwidth for each batch size; each is much like the last one's."""
    terms, before = [], ""
    for size in BATCHES:
        name = f"{side}@{size}"
        terms.append(
            Term(name, f"weights on the {words}, read for {size} at once", "B", 0.25 if before else 0.3, before)
        )
        before = name
    return terms


DECODE = (
    Term("step", "one step, whatever is in it", "s", 1.0),
    Term("sequence", "each sequence in it", "s", 1.0),
    Term("layer_device", "each layer on the device", "s", 1.0),
    Term("layer_host", "each layer on the host", "s", 1.0),
    Term("cross", "crossing the bus", "s", 2.0),
    Term("carry", "crossing the bus, each sequence", "s", 2.0),
    *_batches("device", "device"),
    *_batches("host", "host"),
    Term("stream", "weights on the host, copied to the device", "B", 0.3),
    Term("kv_device", "attention on the device, one token's", "mul", 1.0),
    Term("kv_host", "attention on the host, one token's", "mul", 1.0),
)
PREFILL = (
    Term("start", "one prefill, whatever its length", "s", 1.0),
    Term("chunk", "each layer, each chunk", "s", 1.0),
    Term("cross", "crossing the bus, each chunk", "s", 2.0),
    Term("plan", "each layer, each chunk between decode steps", "s", 1.0),
    Term("read_device", "weights on the device, read for each chunk", "B", 0.5),
    Term("multiply_device", "weights on the device, multiplied with each token", "mul", 0.5),
    Term("stream", "weights on the host, copied to the device", "B", 0.3),
    Term("read_host", "weights on the host, read there", "B", 0.5),
    Term("multiply_host", "weights on the host, multiplied there", "mul", 0.5),
    Term("attend_device", "attention on the device", "mul", 2.0),
    Term("attend_host", "attention on the host", "mul", 2.0),
)


def decode(sides: Sides, roofline: Roofline, record: Record) -> Array:
    """Seconds by the roofline of each term of ``DECODE``, shape (terms,)."""
    n, device, host = record.sequences, sides.device, sides.host
    context = padded(record.tokens)
    spread, busy = sides.anatomy.spread(n), sides.anatomy.busy
    streamed = roofline.streams and n >= STREAMED
    here, attending = _batch(device, spread, busy), n * device.attending(context)
    there, away = _batch(host, spread, busy), n * host.attending(context)
    carried = 0.0
    if streamed:  # what the device reads then has just been copied there
        span = (n - 1) * host.kv(max(context, record.placement.context)) + host.kv(context)
        carried = host.bytes(spread) / roofline.to_device(True) + span / roofline.h2d_pageable
        here, there = here + there * (device.attended / host.attended), 0 * there
        attending, away = attending + away * (device.alone / host.alone), 0.0
    return np.array(
        [
            _STEP + roofline.device.overhead + (roofline.host.overhead if host.layers else 0.0),
            n * _SEQUENCE,
            device.launches if n == 1 else _APART * device.layers * roofline.device.overhead,
            host.launches if n == 1 else _APART * host.layers * roofline.host.overhead,
            _CROSS if sides.split else 0.0,
            n * _CARRY if sides.split else 0.0,
            *(_above(n) * here),
            *(_between(n) * there),
            carried,
            attending,
            away,
        ]
    )


def prefill(sides: Sides, roofline: Roofline, record: Record) -> Array:
    """Seconds by the roofline of each term of ``PREFILL``, shape (terms,)."""
    device, host, busy = sides.device, sides.host, sides.anatomy.busy
    total = np.zeros(len(PREFILL))
    total[0] = _START + _STEP + _SEQUENCE
    for start, tokens in _chunks(record.start, record.tokens):
        spread, seen = sides.anatomy.spread(tokens), start + tokens
        streamed = roofline.streams and tokens >= STREAMED
        share = device.paired / host.paired if streamed else 0.0  # how long the device takes for the host's work
        attending = tokens * host.attending(start + (tokens + 1) // 2)
        streaming = 0.0
        if streamed:
            streaming = host.bytes(spread) / roofline.to_device(record.pinned) + host.kv(seen) / roofline.h2d_pageable
        total += [
            0.0,
            _CHUNKED * (device.layers * roofline.device.overhead + host.layers * roofline.host.overhead),
            _CROSS if sides.split else 0.0,
            _PLAN * (device.layers + host.layers) if record.sequences > 1 else 0.0,
            device.reading(spread),
            tokens * (device.multiplying(busy) + share * host.multiplying(busy)),
            streaming,
            0.0 if streamed else host.reading(spread),
            0.0 if streamed else tokens * host.multiplying(busy),
            (device.attention(start, tokens) + (host.attention(start, tokens) if streamed else 0.0)) * device.paired,
            0.0 if streamed else attending,
        ]
    return total


def _batch(work: Work, spread: float, busy: float) -> Array:
    """Seconds for the weights at each of ``BATCHES``, if all of it were that size."""
    reading, multiplying = work.reading(spread), work.multiplying(busy)
    return np.array([max(reading, size * multiplying) for size in BATCHES])


def _above(n: int) -> Array:
    """The next of ``BATCHES`` that has room for ``n``; beyond the last, in proportion."""
    place = next((place for place, size in enumerate(BATCHES) if size >= n), len(BATCHES) - 1)
    hats = np.zeros(len(BATCHES))
    hats[place] = max(1.0, n / BATCHES[-1])
    return hats


def _between(n: int) -> Array:
    """How ``n`` is put together from ``BATCHES``; beyond the last, in proportion."""
    if n >= BATCHES[-1]:
        return _above(n)
    hats = np.zeros(len(BATCHES))
    above = next(place for place, size in enumerate(BATCHES) if size > n)
    low, high = BATCHES[above - 1], BATCHES[above]
    hats[above] = (n - low) / (high - low)
    hats[above - 1] = 1 - hats[above]
    return hats


def _chunks(start: int, tokens: int) -> list[tuple[int, int]]:
    """Where each chunk of a prefill begins, and its tokens."""
    return [(start + at, min(CHUNK, tokens - at)) for at in range(0, tokens, CHUNK)]
