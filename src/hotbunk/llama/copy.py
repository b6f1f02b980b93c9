"""The host store's copy of a model's weights: pinned, part by part, each laid out as its piece on the device is."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate
from threading import Event

import numpy as np
from numpy.typing import NDArray

from hotbunk.errors import EngineError
from hotbunk.llama.device import Device
from hotbunk.llama.header import File, Tensor
from hotbunk.llama.piece import Layout
from hotbunk.llama.pinned import PAGE, Block

__all__ = ["Copy"]

_SLICE = 16 << 20  # bytes that one thread reads at a time
_THREADS = max(1, min(8, len(os.sched_getaffinity(0)) // 2))


class Copy:
    """Made empty; ``fill`` takes its time and may run in another thread.

    It reads the files themselves: mappings belong to shells, which come and go meanwhile.

    Attributes:
        size: bytes of host memory it takes.
        done: bytes of it that are filled and pinned.
    """

    def __init__(self, device: Device, parts: Sequence[Sequence[Tensor]], layouts: Sequence[Layout]) -> None:
        """Reserve the addresses; memory is taken as it is filled.

        Raises:
            EngineError: there is no such memory.
        """
        self._parts, self._layouts = parts, layouts
        ends = list(accumulate(-(-layout.size // PAGE) * PAGE for layout in layouts))
        self._starts = [0, *ends[:-1]]
        self.size, self.done = ends[-1], 0
        self._block = Block(device, self.size)
        self._stopped = Event()

    def fill(self) -> bool:
        """Read and pin part after part; False if it was stopped before the end.

        Raises:
            EngineError: a file cannot be read any more, or is another one; or the driver does not lock the memory.
        """
        with ThreadPoolExecutor(_THREADS, "copy") as pool:
            for part, start in enumerate(self._starts):
                if self._stopped.is_set():
                    return False
                for _ in pool.map(lambda slice: _read(*slice), self._slices(part)):
                    pass
                if size := self._layouts[part].size:
                    self._block.pin(start, size)
                    self.done = start + size
        self.done = self.size
        return True

    def stop(self) -> None:
        """Let ``fill`` end after the part it is at."""
        self._stopped.set()

    def source(self, part: int) -> int:
        """Address of a part's bytes."""
        return self._block.address + self._starts[part]

    def addresses(self, part: int) -> Iterator[int]:
        """Addresses of the part's tensors, in their order."""
        return (self.source(part) + offset for offset in self._layouts[part].offsets)

    def free(self) -> None:
        """Give the memory back; nothing may point here any more."""
        self._block.free()

    def _slices(self, part: int) -> Iterator[tuple[File, int, NDArray[np.uint8]]]:
        """File, first byte and target of what there is to read."""
        for tensor, offset in zip(self._parts[part], self._layouts[part].offsets, strict=True):
            start = self._starts[part] + offset
            target = self._block.bytes[start : start + tensor.size]
            for at in range(0, tensor.size, _SLICE):
                yield tensor.file, tensor.start + at, target[at : at + _SLICE]


def _read(file: File, start: int, target: NDArray[np.uint8]) -> None:
    view = target.data
    try:
        with file.path.open("rb", buffering=0) as stream:
            file.check(stream.fileno())
            stream.seek(start)
            while view:
                count = stream.readinto(view)
                if not count:
                    raise EngineError(f"{file.name} has become shorter by at least {len(view)} bytes")
                view = view[count:]
    except OSError as error:
        raise EngineError(f"{file.name} cannot be read any more: {error.strerror}") from error
