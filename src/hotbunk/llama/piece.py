"""Pieces: the weights of one layer in a device buffer of their own, so that each can come and go alone."""

from __future__ import annotations

import ctypes as C
from collections.abc import Sequence

from hotbunk.errors import EngineError
from hotbunk.llama.device import Device
from hotbunk.llama.lib import Pointer, Size, base, bind, captured, words
from hotbunk.llama.tensor import Tensor

__all__ = ["Piece", "size_on"]

_WEIGHTS = 1  # enum ggml_backend_buffer_usage

_alignment = bind(base, "ggml_backend_buft_get_alignment", Size, Pointer)
_alloc_size = bind(base, "ggml_backend_buft_get_alloc_size", Size, Pointer, Pointer)
_alloc_buffer = bind(base, "ggml_backend_buft_alloc_buffer", Pointer, Pointer, Size)
_buffer_base = bind(base, "ggml_backend_buffer_get_base", Pointer, Pointer)
_buffer_size = bind(base, "ggml_backend_buffer_get_size", Size, Pointer)
_buffer_free = bind(base, "ggml_backend_buffer_free", None, Pointer)
_set_usage = bind(base, "ggml_backend_buffer_set_usage", None, Pointer, C.c_int)


class Piece:
    """The tensors of one layer on the device, and the ``size`` of their buffer in bytes.

    Raises:
        EngineError: the device has no memory for them.
    """

    def __init__(self, device: Device, tensors: Sequence[Tensor]) -> None:
        """Allocate room; the tensors stay where they are."""
        self._offsets, wanted = _lay_out(device, tensors)
        with captured() as lines:
            self._buffer = _alloc_buffer(device.buffer_type, wanted)
        if not self._buffer:
            raise EngineError(f"{device.name} has no room for {wanted} bytes of weights: {words(lines)}")
        _set_usage(self._buffer, _WEIGHTS)
        self._base = _buffer_base(self._buffer)
        self.size = int(_buffer_size(self._buffer))

    def take(self, tensors: Sequence[Tensor]) -> None:
        """Point the layer's tensors of a shell here."""
        for tensor, offset in zip(tensors, self._offsets, strict=True):
            tensor.place(self._buffer, self._base + offset)

    def free(self) -> None:
        """Give the memory back; no tensor in use may point here any more."""
        _buffer_free(self._buffer)


def size_on(device: Device, tensors: Sequence[Tensor]) -> int:
    """Bytes that these tensors take in a buffer of the device, padding included."""
    return _lay_out(device, tensors)[1]


def _lay_out(device: Device, tensors: Sequence[Tensor]) -> tuple[list[int], int]:
    """Offsets of the tensors in one buffer, and its size."""
    step, end, offsets = _alignment(device.buffer_type), 0, []
    for tensor in tensors:
        offsets.append(end)
        end += -(-_alloc_size(device.buffer_type, tensor.address) // step) * step
    return offsets, end
