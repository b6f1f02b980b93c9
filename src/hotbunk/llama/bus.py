"""The bus: how fast bytes cross between host memory and a device, the limit of every move.

``python -m hotbunk.llama.bus --device CUDA0 --size 1GiB`` prints it as JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from hotbunk.errors import EngineError, HotbunkError, OutOfMemory
from hotbunk.llama.device import Device, open_device
from hotbunk.llama.lib import Pointer, Size, base, bind, captured, words
from hotbunk.llama.pinned import PAGE, Block
from hotbunk.llama.stream import stream
from hotbunk.llama.tensor import Whole
from hotbunk.units import parse_size

__all__ = ["Bus", "measure"]

_ROUNDS = 5
_PATTERN = 0xA5


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
    with _buffer(device, size) as tensor:
        pageable = np.full(size, _PATTERN, np.uint8)
        h2d, d2h = _both_ways(device, tensor, pageable, size, pinned=False)
        there, back = _pinned(device, tensor, size) if device.pinned else (None, None)
    return Bus(size, there, back, h2d, d2h)


def _both_ways(device: Device, tensor: int, memory: NDArray[np.uint8], size: int, pinned: bool) -> tuple[float, float]:
    """Bytes a second there and back, of memory that is full of the pattern."""
    queue, address = stream(device), memory.ctypes.data

    def waited(copy: Callable[..., object]) -> None:
        copy(tensor, address, size, pinned)
        queue.wait()

    there = _fastest(size, lambda: waited(queue.send))
    memory[:size] = 0
    back = _fastest(size, lambda: waited(queue.receive))
    if not (memory[:size] == _PATTERN).all():
        raise EngineError(f"{device.name} does not give back the {size} bytes that were sent to it")
    return there, back


def _pinned(device: Device, tensor: int, size: int) -> tuple[float, float]:
    block = Block(device, size)
    try:
        block.bytes.fill(_PATTERN)
        block.pin(0, size)
        return _both_ways(device, tensor, block.bytes, size, pinned=True)
    finally:
        block.free()


@contextmanager
def _buffer(device: Device, size: int) -> Iterator[int]:
    """``size`` bytes on the device, as a tensor."""
    with captured() as lines:
        buffer = _alloc_buffer(device.buffer_type, size + PAGE)
    if not buffer:
        raise OutOfMemory(f"{device.name} has no room for {size} bytes: {words(lines)}")
    try:
        whole = Whole(buffer, _buffer_base(buffer), size)
        yield whole.address
        whole.free()
    finally:
        _buffer_free(buffer)


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
