"""Pieces: the weights of one part of a model in a device buffer of their own, so that each can come and go alone."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from hotbunk.llama.device import Device
from hotbunk.llama.lib import Pointer, Size, base, bind
from hotbunk.llama.pool import pool
from hotbunk.llama.stream import stream
from hotbunk.llama.tensor import Tensor, Whole

__all__ = ["Layout", "Piece", "lay_out"]

_alignment = bind(base, "ggml_backend_buft_get_alignment", Size, Pointer)
_alloc_size = bind(base, "ggml_backend_buft_get_alloc_size", Size, Pointer, Pointer)
_buffer_base = bind(base, "ggml_backend_buffer_get_base", Pointer, Pointer)
_buffer_size = bind(base, "ggml_backend_buffer_get_size", Size, Pointer)


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the tensors of a part lie in one stretch of memory: ``offsets`` in their order, ``size`` in bytes.

    A piece on the device and its copy in the host store have the same, so one copy of bytes moves the whole part.
    """

    offsets: tuple[int, ...]
    size: int


class Piece:
    """The tensors of one part on the device, and the ``size`` of their buffer in bytes.

    Raises:
        OutOfMemory: the device has no memory for them.
    """

    def __init__(self, device: Device, layout: Layout) -> None:
        """Allocate room; the tensors stay where they are."""
        self._layout, self._stream, self._pool = layout, stream(device), pool(device)
        self._buffer = self._pool.take(layout.size)
        self._base = _buffer_base(self._buffer)
        self.size = int(_buffer_size(self._buffer))
        self._whole: Whole | None = None
        self._filled: Future[None] | None = None

    def take(self, tensors: Sequence[Tensor]) -> None:
        """Point the part's tensors of a shell here."""
        for tensor, offset in zip(tensors, self._layout.offsets, strict=True):
            tensor.place(self._buffer, self._base + offset)

    def fill(self, tensors: Sequence[Tensor], source: int | None) -> int:
        """Copy the part here: from pinned memory at ``source``, in one go and without waiting, else from the file.

        Returns the bytes of its tensors.
        """
        if source is None:
            for tensor in tensors:
                self._stream.send(tensor.address, tensor.data, tensor.size, pinned=False)
        else:
            self._whole = Whole(self._buffer, self._base, self._layout.size)
            self._filled = self._stream.send(self._whole.address, source, self._layout.size, pinned=True)
        return sum(tensor.size for tensor in tensors)

    def free(self) -> None:
        """Give the memory back, once it is filled; no tensor in use may point here any more."""
        if self._filled:
            self._filled.result()
        if self._whole:
            self._whole.free()
        self._pool.give(self._layout.size, self._buffer)


def lay_out(device: Device, tensors: Sequence[Tensor]) -> Layout:
    """Put tensors one after the other as a buffer of the device needs them, padding included."""
    step, end, offsets = _alignment(device.buffer_type), 0, []
    for tensor in tensors:
        offsets.append(end)
        end += -(-_alloc_size(device.buffer_type, tensor.address) // step) * step
    return Layout(tuple(offsets), end)
