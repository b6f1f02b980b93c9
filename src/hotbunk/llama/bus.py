"""The bus: how fast bytes cross between host memory and a device, the limit of every move.

``python -m hotbunk.llama.bus --device CUDA0 --size 1GiB`` prints it as JSON.
"""

from __future__ import annotations

import argparse
import ctypes as C
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from time import perf_counter

import numpy as np

from hotbunk.errors import EngineError, HotbunkError, OutOfMemory
from hotbunk.llama.device import Device, open_device
from hotbunk.llama.lib import Pointer, Size, base, bind, captured, words
from hotbunk.llama.pinned import PAGE, Block
from hotbunk.units import parse_size

__all__ = ["Bus", "measure"]

_I8 = 24  # enum ggml_type
_ROUNDS = 5
_PATTERN = 0xA5


class _InitParams(C.Structure):
    _fields_ = (("size", Size), ("memory", Pointer), ("no_alloc", C.c_bool))


_init = bind(base, "ggml_init", Pointer, _InitParams)
_free = bind(base, "ggml_free", None, Pointer)
_new_tensor = bind(base, "ggml_new_tensor_1d", Pointer, Pointer, C.c_int, C.c_int64)
_alloc = bind(base, "ggml_backend_tensor_alloc", C.c_int, Pointer, Pointer, Pointer)
_set = bind(base, "ggml_backend_tensor_set", None, Pointer, Pointer, Size, Size)
_get = bind(base, "ggml_backend_tensor_get", None, Pointer, Pointer, Size, Size)
_set_async = bind(base, "ggml_backend_tensor_set_async", None, *[Pointer] * 3, Size, Size)
_get_async = bind(base, "ggml_backend_tensor_get_async", None, *[Pointer] * 3, Size, Size)
_synchronize = bind(base, "ggml_backend_synchronize", None, Pointer)
_backend = bind(base, "ggml_backend_dev_init", Pointer, Pointer, C.c_char_p)
_backend_free = bind(base, "ggml_backend_free", None, Pointer)
_alloc_size = bind(base, "ggml_backend_buft_get_alloc_size", Size, Pointer, Pointer)
_alloc_buffer = bind(base, "ggml_backend_buft_alloc_buffer", Pointer, Pointer, Size)
_buffer_base = bind(base, "ggml_backend_buffer_get_base", Pointer, Pointer)
_buffer_free = bind(base, "ggml_backend_buffer_free", None, Pointer)


@dataclass(frozen=True, slots=True)
class Bus:
    """Bytes per second of one copy of ``size`` bytes, to the device (``h2d``) and back (``d2h``).

    Pinned figures are None where the device has no pinned host memory.
    """

    size: int
    h2d_pinned: float | None
    d2h_pinned: float | None
    h2d_pageable: float
    d2h_pageable: float


def measure(device: Device, size: int) -> Bus:
    """Copy ``size`` bytes to and fro, several times, and take the fastest.

    Raises:
        OutOfMemory: the device has no room for them.
        EngineError: there is no pinned memory of that size, or what came back is not what was sent.
    """
    with _tensor(device, size) as tensor:
        pageable = np.full(size, _PATTERN, np.uint8)
        h2d = _fastest(size, lambda: _set(tensor, pageable.ctypes.data, 0, size))
        pageable.fill(0)
        d2h = _fastest(size, lambda: _get(tensor, pageable.ctypes.data, 0, size))
        if not (pageable == _PATTERN).all():
            raise EngineError(f"{device.name} does not give back the {size} bytes that were sent to it")
        there, back = _pinned(device, tensor, size) if device.pinned else (None, None)
    return Bus(size, there, back, h2d, d2h)


def _pinned(device: Device, tensor: int, size: int) -> tuple[float, float]:
    block, backend = Block(device, size), _backend(device.handle, None)
    try:
        block.bytes.fill(_PATTERN)
        block.pin(0, size)

        def copied(copy: Callable[..., None]) -> None:
            copy(backend, tensor, block.address, 0, size)
            _synchronize(backend)

        return _fastest(size, lambda: copied(_set_async)), _fastest(size, lambda: copied(_get_async))
    finally:
        _backend_free(backend)
        block.free()


@contextmanager
def _tensor(device: Device, size: int) -> Iterator[int]:
    """A tensor of ``size`` bytes on the device."""
    context = _init(_InitParams(1 << 16, None, True))
    tensor = _new_tensor(context, _I8, size)
    with captured() as lines:
        buffer = _alloc_buffer(device.buffer_type, _alloc_size(device.buffer_type, tensor) + PAGE)
    try:
        if not buffer or _alloc(buffer, tensor, _buffer_base(buffer)):
            raise OutOfMemory(f"{device.name} has no room for {size} bytes: {words(lines)}")
        yield tensor
    finally:
        if buffer:
            _buffer_free(buffer)
        _free(context)


def _fastest(size: int, copy: Callable[[], object]) -> float:
    """Bytes per second of the fastest of a few copies, the first of which only warms up."""
    seconds = []
    for _ in range(_ROUNDS + 1):
        began = perf_counter()
        copy()
        seconds.append(perf_counter() - began)
    return size / min(seconds[1:])


def main() -> None:
    """Read the command line, measure each size, and print a JSON list."""
    parser = argparse.ArgumentParser(prog="python -m hotbunk.llama.bus", description="Measure the bus to a device.")
    parser.add_argument("--device", default="auto", help="auto, cpu, a name libllama gives, or rpc:HOST:PORT")
    parser.add_argument("--size", type=parse_size, action="append", required=True, help="of a copy; may be repeated")
    options = parser.parse_args()
    try:
        device = open_device(options.device)
        print(json.dumps([asdict(measure(device, size)) for size in options.size]))
    except HotbunkError as error:
        sys.exit(f"hotbunk: error: {error}")


if __name__ == "__main__":
    main()
