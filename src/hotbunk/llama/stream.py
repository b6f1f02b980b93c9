"""Copies to a device and back: one after the other, and from pinned memory without waiting."""

from __future__ import annotations

import ctypes as C
from functools import cache

from hotbunk.llama.device import Device
from hotbunk.llama.lib import Pointer, Size, base, bind

__all__ = ["Stream", "stream"]

# A device's engine makes one copy after the other: what another stream sends meanwhile (the inputs of a decode step, a
# sequence's state, tensor by tensor) waits for the one under way, a third of a millisecond rather than a whole layer's
_SLICE = 16 << 20  # bytes

_init = bind(base, "ggml_backend_dev_init", Pointer, Pointer, C.c_char_p)
_set = bind(base, "ggml_backend_tensor_set", None, Pointer, Pointer, Size, Size)
_set_async = bind(base, "ggml_backend_tensor_set_async", None, *[Pointer] * 3, Size, Size)
_get = bind(base, "ggml_backend_tensor_get", None, Pointer, Pointer, Size, Size)
_get_async = bind(base, "ggml_backend_tensor_get_async", None, *[Pointer] * 3, Size, Size)
_synchronize = bind(base, "ggml_backend_synchronize", None, Pointer)


class Stream:
    """A device's queue of copies."""

    def __init__(self, device: Device) -> None:
        self._sent = self._arrived = 0
        self._backend = _init(device.handle, None) if device.pinned else 0

    @property
    def busy(self) -> bool:
        """Whether copies may still be under way."""
        return self._arrived < self._sent

    def send(self, tensor: int, source: int, size: int, pinned: bool) -> None:
        """Copy ``size`` bytes at ``source`` to the beginning of a tensor; pinned ones must stay until ``wait``."""
        if pinned and self._backend:
            for start in range(0, size, _SLICE):
                _set_async(self._backend, tensor, source + start, start, min(_SLICE, size - start))
            self._sent += 1
        else:
            _set(tensor, source, 0, size)

    def receive(self, tensor: int, target: int, size: int, pinned: bool) -> None:
        """Copy the first ``size`` bytes of a tensor to ``target``; pinned memory has them after ``wait``."""
        if pinned and self._backend:
            _get_async(self._backend, tensor, target, 0, size)
            self._sent += 1
        else:
            _get(tensor, target, 0, size)

    def wait(self) -> None:
        """Return when all copies sent so far are done. Any thread may wait."""
        sent = self._sent  # another thread may send more meanwhile
        if self._arrived < sent:
            _synchronize(self._backend)
            self._arrived = max(self._arrived, sent)


@cache
def stream(device: Device) -> Stream:
    """The one stream of a device: its bus has no more to give."""
    return Stream(device)
