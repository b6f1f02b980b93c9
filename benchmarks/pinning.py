"""Compare the ways to get pinned host memory: what each costs once, and what copies from it reach.

    python benchmarks/pinning.py [--device CUDA0] [--size 6GiB] [--out FILE]

For each way: the rate at which memory is taken and locked, at which it is filled from a file in the page cache, both
together, of a copy of 1 GiB to the device, and at which one thread reads it. The host store uses huge pages that are
filled first and locked afterwards (``hotbunk.llama.pinned``); libggml has logits, and what a context keeps on the host,
in the first kind.
"""

from __future__ import annotations

import argparse
import ctypes as C
import mmap
import os
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from hotbunk.errors import EngineError
from hotbunk.llama.device import Device, open_device
from hotbunk.llama.lib import Pointer, Size, base, bind
from hotbunk.llama.pinned import driver
from hotbunk.llama.stream import Stream
from hotbunk.llama.tensor import Whole
from hotbunk.units import brief_size, parse_size

HUGE, SLICE, COPY = 2 << 20, 64 << 20, 1 << 30
READ_ONLY = 8  # cudaHostRegisterReadOnly
THREADS = max(1, min(8, len(os.sched_getaffinity(0)) // 2))

_alloc = bind(base, "ggml_backend_buft_alloc_buffer", Pointer, Pointer, Size)
_base = bind(base, "ggml_backend_buffer_get_base", Pointer, Pointer)
_free = bind(base, "ggml_backend_buffer_free", None, Pointer)


@dataclass(frozen=True, slots=True)
class Taken:
    """Pinned memory: its address, the seconds that taking and locking and that filling it took, and how to end it."""

    address: int
    locking: float
    filling: float
    free: Callable[[], object]


Way = Callable[[Device, Path, int], Taken]


def allocated(device: Device, file: Path, size: int) -> Taken:
    """cudaMallocHost, as libggml calls it."""
    began = perf_counter()
    buffer = _alloc(device.host_type, size)
    locking, address = perf_counter() - began, int(_base(buffer))
    return Taken(address, locking, _fill(address, file, size), lambda: _free(buffer))


def registered(advice: int, device: Device, file: Path, size: int) -> Taken:
    """Ordinary memory of huge or of small pages, filled and then locked."""
    mapping = mmap.mmap(-1, size + HUGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    mapping.madvise(advice)
    whole = np.frombuffer(mapping, np.uint8)
    address = whole.ctypes.data + -whole.ctypes.data % HUGE
    filling = _fill(address, file, size)
    return _locked(device, whole, address, size, 1, filling)


def mapped(device: Device, file: Path, size: int) -> Taken:
    """The pages of the file itself, mapped shared and locked for reading."""
    with file.open("rb") as source:
        mapping = mmap.mmap(source.fileno(), size, flags=mmap.MAP_SHARED | mmap.MAP_POPULATE, prot=mmap.PROT_READ)
    whole = np.frombuffer(mapping, np.uint8)
    return _locked(device, whole, whole.ctypes.data, size, 1 | READ_ONLY, 0.0)


WAYS: dict[str, Way] = {
    "cudaMallocHost, then filled": allocated,
    "huge pages, filled, then locked": partial(registered, mmap.MADV_HUGEPAGE),
    "4 KiB pages, filled, then locked": partial(registered, mmap.MADV_NOHUGEPAGE),
    "the mapped file itself, locked": mapped,
}


def main() -> None:
    """Measure each way once, in memory that the machine has touched before."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--size", type=parse_size, default=6 << 30)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    device, size = open_device(arguments.device), int(arguments.size)
    lines = [f"{brief_size(size)} on {device.description}, {THREADS} threads fill; GB/s"]
    if driver(device) is None:
        raise SystemExit(f"{device.name}: its driver does not offer to lock memory that exists already")
    with _file(size) as file:
        _touch(file, size)
        lines += [_measure(name, way, device, file, size) for name, way in WAYS.items()]
    print("\n".join(lines))
    if arguments.out:
        arguments.out.write_text("\n".join(lines) + "\n")


def _measure(name: str, way: Way, device: Device, file: Path, size: int) -> str:
    try:
        taken = way(device, file, size)
    except EngineError as error:
        return f"{name:36} {error}"
    rates = {
        "lock": size / taken.locking,
        "fill": size / taken.filling if taken.filling else 0.0,
        "both": size / (taken.locking + taken.filling),
        "copy": _copied(device, taken.address, size),
        "read": _read(taken.address, size),
    }
    taken.free()
    return f"{name:36}" + "".join(f"  {label} {rate / 1e9:5.1f}" for label, rate in rates.items())


def _copied(device: Device, address: int, size: int) -> float:
    """Bytes a second from there to the device, the best of three."""
    count, stream = min(size, COPY), Stream(device)
    buffer = _alloc(device.buffer_type, count)
    whole, best = Whole(buffer, _base(buffer), count), float("inf")
    for _ in range(3):
        began = perf_counter()
        stream.send(whole.address, address, count, pinned=True)
        stream.wait()
        best = min(best, perf_counter() - began)
    whole.free()
    _free(buffer)
    return count / best


def _read(address: int, size: int) -> float:
    """Bytes a second that one thread reads there, the best of three."""
    count, best = min(size, COPY), float("inf")
    values = np.ctypeslib.as_array((C.c_float * (count // 4)).from_address(address))
    for _ in range(3):
        began = perf_counter()
        values.max()
        best = min(best, perf_counter() - began)
    return count / best


def _locked(device: Device, owner: NDArray[np.uint8], address: int, size: int, flags: int, filling: float) -> Taken:
    """Lock ``owner``'s bytes at ``address``; it lives until they are unlocked."""
    found = driver(device)
    assert found
    began = perf_counter()
    if code := found.register(address, size, flags):
        found.forget()
        raise EngineError(f"the driver refuses (code {code})")
    locking = perf_counter() - began
    return Taken(address, locking, filling, lambda: (found.unregister(address), owner.size))


def _fill(address: int, file: Path, size: int) -> float:
    began = perf_counter()
    with file.open("rb") as source, ThreadPoolExecutor(THREADS) as pool:

        def read(at: int) -> None:
            room = (C.c_char * min(SLICE, size - at)).from_address(address + at)
            os.preadv(source.fileno(), [memoryview(room)], at)

        list(pool.map(read, range(0, size, SLICE)))
    return perf_counter() - began


def _touch(file: Path, size: int) -> None:
    """Have a virtual machine's host give it the memory that the ways are to be measured with."""
    mapping = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    address = C.addressof(C.c_char.from_buffer(mapping))
    _fill(address, file, size)


@contextmanager
def _file(size: int) -> Iterator[Path]:
    block = np.random.default_rng(0).bytes(1 << 24)
    with tempfile.NamedTemporaryFile(prefix="hotbunk-pinning-") as file:
        for _ in range(-(-size // len(block))):
            file.write(block)
        file.flush()
        yield Path(file.name)


if __name__ == "__main__":
    main()
