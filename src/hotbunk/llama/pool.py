"""Buffers that pieces have left, kept for the next piece of the same size.

A GPU's driver clears memory that is given back, and what is copied meanwhile is slower for it: a model that leaves for
a moment loses a tenth of a second that way, and a few milliseconds to the calls. Within the ``room`` it is allowed the
pool keeps such buffers; its bytes can be had at any time, so they count as free.
"""

from __future__ import annotations

import ctypes as C
from collections import Counter
from collections.abc import Iterable
from functools import cache

from hotbunk.errors import OutOfMemory
from hotbunk.llama.device import Device
from hotbunk.llama.lib import Pointer, Size, base, bind, captured, words

__all__ = ["Pool", "pool"]

_WEIGHTS = 1  # enum ggml_backend_buffer_usage

_alloc_buffer = bind(base, "ggml_backend_buft_alloc_buffer", Pointer, Pointer, Size)
_buffer_size = bind(base, "ggml_backend_buffer_get_size", Size, Pointer)
_buffer_free = bind(base, "ggml_backend_buffer_free", None, Pointer)
_set_usage = bind(base, "ggml_backend_buffer_set_usage", None, Pointer, C.c_int)


class Pool:
    """A device's buffers for weights: those it has kept, and the way to get others.

    Attributes:
        room: bytes that may be kept; ``trim`` sees to it.
        bytes: of all buffers kept; any thread may look.
    """

    def __init__(self, device: Device) -> None:
        self.room = self.bytes = 0
        self._device = device
        self._kept: list[tuple[int, int]] = []  # sizes asked for and buffers, the one longest kept first

    def take(self, size: int) -> int:
        """A buffer of ``size`` bytes for weights: one that was kept, or a new one.

        Raises:
            OutOfMemory: the device has no room for it, not even with nothing kept.
        """
        for place, (kept, buffer) in enumerate(self._kept):
            if kept == size:
                self._remove(place)
                return buffer
        return self._new(size)

    def give(self, size: int, buffer: int) -> None:
        """Take back a buffer got for ``size`` bytes; no tensor in use may point into it any more."""
        self._kept.append((size, buffer))
        self.bytes += int(_buffer_size(buffer))
        self.trim()

    def trim(self, coming: Iterable[int] = ()) -> None:
        """Give back what was kept longest until the rest fits in the room, apart from what suits ``coming`` sizes."""
        wanted, spare = Counter(coming), list[int]()
        for place, (size, _) in reversed([*enumerate(self._kept)]):
            wanted[size] -= 1
            if wanted[size] < 0:
                spare.insert(0, place)
        excess = sum(self._bytes(place) for place in spare) - self.room
        while excess > 0:
            place = spare.pop(0)
            excess -= self._bytes(place)
            _buffer_free(self._remove(place))
            spare = [later - 1 for later in spare]

    def clear(self) -> bool:
        """Give everything back to the driver; whether there was anything."""
        had = bool(self._kept)
        while self._kept:
            _buffer_free(self._remove(0))
        return had

    def _new(self, size: int) -> int:
        buffer, said = self._allocate(size)
        if not buffer and self.clear():
            buffer, said = self._allocate(size)
        if not buffer:
            raise OutOfMemory(f"{self._device.name} has no room for {size} bytes of weights: {said}")
        _set_usage(buffer, _WEIGHTS)
        return buffer

    def _allocate(self, size: int) -> tuple[int, str]:
        with captured() as lines:
            buffer = _alloc_buffer(self._device.buffer_type, size)
        return buffer or 0, words(lines)

    def _remove(self, place: int) -> int:
        self.bytes -= self._bytes(place)
        return self._kept.pop(place)[1]

    def _bytes(self, place: int) -> int:
        return int(_buffer_size(self._kept[place][1]))


@cache
def pool(device: Device) -> Pool:
    """The one pool of a device."""
    return Pool(device)
