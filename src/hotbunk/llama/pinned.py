"""Blocks of host memory that a device can copy from and to at the full speed of the bus.

Huge pages that are filled first and locked afterwards are the fastest way to get them (``docs/measurements`` has the
figures): ``cudaHostRegister`` on them takes a twentieth of ``cudaMallocHost``'s time. Where the driver's library does
not offer it, libggml's own pinned buffers do; where the device has no use for pinned memory, a block is just memory.
"""

from __future__ import annotations

import ctypes as C
import mmap
from collections.abc import Callable
from contextlib import suppress
from functools import cache

import numpy as np
from numpy.typing import NDArray

from hotbunk.errors import EngineError
from hotbunk.llama.device import Device
from hotbunk.llama.lib import Pointer, Size, base, bind, captured, library, words

__all__ = ["PAGE", "Block", "Driver", "driver"]

PAGE = 4096
_HUGE = 2 << 20
_PORTABLE = 1  # pinned for every context of the process
_RUNTIMES = {"CUDA": ("ggml-cuda", "cuda"), "ROCm": ("ggml-hip", "hip"), "MUSA": ("ggml-musa", "musa")}

_alloc_buffer = bind(base, "ggml_backend_buft_alloc_buffer", Pointer, Pointer, Size)
_buffer_base = bind(base, "ggml_backend_buffer_get_base", Pointer, Pointer)
_buffer_free = bind(base, "ggml_backend_buffer_free", None, Pointer)


class Block:
    """``size`` bytes of host memory (``bytes``, at ``address``), a multiple of a page, in huge pages where there are.

    Raises:
        EngineError: there is no such memory.
    """

    def __init__(self, device: Device, size: int) -> None:
        self._runtime = driver(device)
        self._buffer = 0
        self._locked: list[int] = []
        self.size = -(-size // PAGE) * PAGE
        if device.pinned and not self._runtime:
            self.bytes = self._allocate(device)
        else:
            self.bytes = _huge_pages(self.size)
        self.address = self.bytes.ctypes.data

    def pin(self, offset: int, size: int) -> None:
        """Lock the pages that hold these bytes; best once they are filled, which costs less than touching them here.

        Raises:
            EngineError: the driver refused.
        """
        if not self._runtime:
            return
        address, end = self.address + offset // PAGE * PAGE, self.address + -(-(offset + size) // PAGE) * PAGE
        if code := self._runtime.register(address, end - address, _PORTABLE):
            self._runtime.forget()
            raise EngineError(f"the driver does not lock {end - address} bytes of host memory (code {code})")
        self._locked.append(address)

    def free(self) -> None:
        """Give it back; ``bytes`` is not to be touched any more."""
        for address in self._locked:
            self._runtime.unregister(address)  # type: ignore[union-attr]
        self._locked.clear()
        self.bytes = np.empty(0, np.uint8)  # the mapping goes with its last array
        if self._buffer:
            _buffer_free(self._buffer)
            self._buffer = 0

    def _allocate(self, device: Device) -> NDArray[np.uint8]:
        with captured() as lines:
            self._buffer = _alloc_buffer(device.host_type, self.size) or 0
        if not self._buffer:
            raise EngineError(f"there are no {self.size} bytes of pinned host memory: {words(lines)}")
        return np.ctypeslib.as_array((C.c_uint8 * self.size).from_address(_buffer_base(self._buffer)))


class Driver:
    """The driver's own functions for locking pages, by the prefix of their names.

    ``register`` takes address, bytes and flags and returns 0 or an error code; ``unregister`` takes the address;
    ``forget`` clears the error of the last refusal.
    """

    def __init__(self, source: C.CDLL, prefix: str) -> None:
        self.register: Callable[[int, int, int], int] = bind(
            source, f"{prefix}HostRegister", C.c_int, Pointer, Size, C.c_uint
        )
        self.unregister: Callable[[int], int] = bind(source, f"{prefix}HostUnregister", C.c_int, Pointer)
        # a refusal would else be taken by libggml for a failure of its own next call
        self.forget: Callable[[], int] = bind(source, f"{prefix}GetLastError", C.c_int)


@cache
def driver(device: Device) -> Driver | None:
    """The driver of a device, if it can lock memory: found through libggml's library, which is linked to it."""
    for kind, (name, prefix) in _RUNTIMES.items():
        if device.name.startswith(kind):
            try:
                return Driver(library(name), prefix)
            except (OSError, AttributeError):
                return None
    return None


def _huge_pages(size: int) -> NDArray[np.uint8]:
    try:
        # private: shared memory gets huge pages only where the system is set to give them
        mapping = mmap.mmap(-1, size + _HUGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except OSError as error:
        raise EngineError(f"there are no {size} bytes of host memory: {error.strerror}") from error
    # Python may be without the name, and the kernel without huge pages
    with suppress(AttributeError, OSError):
        mapping.madvise(mmap.MADV_HUGEPAGE)
    whole = np.frombuffer(mapping, np.uint8)
    start = -whole.ctypes.data % _HUGE
    return whole[start : start + size]
