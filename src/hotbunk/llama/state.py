"""Sequence states, put into the very cells they came from.

libllama saves a sequence without its cells' places, nor those that a sliding window has passed. Restored, they lie
close together from the first cell on, sums run in another order and round differently: the answer may change. And a
state goes only into a context with as many slots. So states are taken apart and laid out as the context at hand, had
it evaluated the sequence itself, would hold them. A cache with a window is a ring: position p is in cell p mod size.

The layout read here is that of libllama's KV caches: magic, sequence; then for each cache (the full one, the one with
a window) the number of streams and for each stream that is not empty its cells, keys and values. States of other
kinds, recurrent ones among them, are left as they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["lay_out"]

Bytes = NDArray[np.uint8]

_HEADER = 8  # bytes of magic and sequence
_CELL = 12  # bytes of a cell's position, number of sequences (one) and sequence
_EXTRA = (0, 12)  # bytes some models add to each cell: 2D position and token
_STREAMS, _LAYERS = 1024, 4096  # more than these cannot be


@dataclass(slots=True)
class _Rows:
    """Keys or values of one layer: their description, and their bytes by cell (the second axis if transposed)."""

    head: Bytes
    data: Bytes
    axis: int

    def scatter(self, places: NDArray[np.signedinteger[Any]], count: int) -> _Rows:
        """Move each cell to its place among ``count``; zeros in the others, which are masked."""
        shape = (count, *self.data.shape[1:]) if self.axis == 0 else (self.data.shape[0], count, self.data.shape[2])
        data = np.zeros(shape, np.uint8)
        data[(slice(None),) * self.axis + (places,)] = self.data
        return _Rows(self.head, data, self.axis)


@dataclass(slots=True)
class _Cache:
    """One sequence in one cache: its cells (a row of 32-bit words each), and the rows of each layer."""

    cells: NDArray[np.int32]
    head: Bytes
    rows: list[_Rows]

    def ring(self, size: int) -> tuple[_Cache, int | None]:
        """Lay out in a ring of ``size`` cells, and tell the position of a cell to remove afterwards, if any.

        libllama goes on in the first cell it may use after its last one. Once the ring has come round, that is made
        the right one by a cell in the future that is taken away again.
        """
        end = int(self.cells[:, 0].max()) + 1
        count = min(end, size)
        index = np.arange(count)
        cells = np.zeros((count, self.cells.shape[1]), np.int32)
        cells[:, 0] = end - 1 - (end - 1 - index) % size
        cells[:, 1] = 1
        places = self.cells[:, 0] % size
        cells[places] = self.cells
        edge = end if end > size else None
        if edge:
            cells[edge % size, 0] = edge
        return _Cache(cells, self.head, [rows.scatter(places, count) for rows in self.rows]), edge

    def pack(self, streams: int) -> Iterator[Bytes]:
        """The bytes libllama reads, for a context with that many streams."""
        yield _words(streams, len(self.cells))
        yield self.cells.reshape(-1).view(np.uint8)
        yield self.head
        for rows in self.rows:
            yield rows.head
            yield rows.data.reshape(-1)
        yield _words(*[0] * (streams - 1))


def lay_out(state: Bytes, streams: int, ring: int) -> tuple[Bytes, int | None]:
    """Lay a saved state out for a context of ``streams`` slots whose window is a ring of ``ring`` cells (0: none).

    Returns the state, and the position from which on cells are to be removed once it is restored, if any.
    """
    if not ring and _streams(state) == streams:
        return state, None
    caches = _take_apart(state)
    if not caches:
        return state, None
    edge = None
    if ring and len(caches) == 2 and len(caches[1].cells):
        caches[1], edge = caches[1].ring(ring)
    return np.concatenate([state[:_HEADER], *(part for cache in caches for part in cache.pack(streams))]), edge


def _streams(state: Bytes) -> int:
    return int(state[_HEADER : _HEADER + 4].view(np.uint32)[0]) if state.size >= _HEADER + 4 else 0


def _take_apart(state: Bytes) -> list[_Cache]:
    """The caches in a state; none if it is not what is read here."""
    for extra in _EXTRA:
        for values in (True, False):  # some models keep no values of their own
            try:
                return list(_Reader(state, extra, values).caches())
            except ValueError:
                continue
    return []


class _Reader:
    """Reads a state from front to end; ValueError where it cannot be one."""

    def __init__(self, state: Bytes, extra: int, values: bool) -> None:
        self._state, self._at = state, _HEADER
        self._cell, self._values = _CELL + extra, values

    def caches(self) -> Iterator[_Cache]:
        while self._at < self._state.size:
            yield self._cache()

    def _cache(self) -> _Cache:
        found = _Cache(np.zeros((0, self._cell // 4), np.int32), _words(), [])
        for _ in range(self._number(_STREAMS)):
            if count := self._number(1 << 31):
                found = self._stream(count)
        return found

    def _stream(self, count: int) -> _Cache:
        cells = self._take(count * self._cell).view(np.int32).reshape(count, -1)
        if (cells[:, 1] != 1).any() or (cells[:, 0] < 0).any():
            raise ValueError("not the cells of one sequence")
        head = self._take(8)
        transposed, layers = head.view(np.uint32).tolist()
        if transposed > 1 or layers > _LAYERS:
            raise ValueError("not the head of a cache")
        rows = [self._rows(count) for _ in range(layers)]
        if self._values:
            rows += [self._columns(count) if transposed else self._rows(count) for _ in range(layers)]
        return _Cache(cells, head, rows)

    def _rows(self, count: int) -> _Rows:
        head = self._take(12)
        size = int(head[4:].view(np.uint64)[0])
        return _Rows(head, self._take(count * size).reshape(count, size), 0)

    def _columns(self, count: int) -> _Rows:
        head = self._take(12)
        size, width = head[4:].view(np.uint32).tolist()
        return _Rows(head, self._take(count * size * width).reshape(width, count, size), 1)

    def _number(self, most: int) -> int:
        number = int(self._take(4).view(np.uint32)[0])
        if number > most:
            raise ValueError("a number that cannot be")
        return number

    def _take(self, size: int) -> Bytes:
        part = self._state[self._at : self._at + size]
        if part.size != size:
            raise ValueError("the state ends early")
        self._at += size
        return part


def _words(*numbers: int) -> Bytes:
    return np.array(numbers, np.uint32).view(np.uint8)
