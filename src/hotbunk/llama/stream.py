"""Copies to a device and back: one after the other, and from pinned memory without waiting."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache

from hotbunk.llama.device import Device
from hotbunk.llama.lib import Pointer, Size, base, bind

__all__ = ["Stream", "stream"]

# A device's engine keeps to one queue of copies for as long as there are any in it. What others send meanwhile (a
# prompt's inputs, a sequence's state, tensor by tensor) would wait for the whole of a move; so each slice is waited
# for, which costs a fiftieth of the bus's speed, and they wait half a millisecond each.
_SLICE = 32 << 20  # bytes

_set = bind(base, "ggml_backend_tensor_set", None, Pointer, Pointer, Size, Size)
_get = bind(base, "ggml_backend_tensor_get", None, Pointer, Pointer, Size, Size)


class Stream:
    """A device's queue of copies, and the thread that makes them."""

    def __init__(self, device: Device) -> None:
        self._pinned = device.pinned
        self._thread = ThreadPoolExecutor(1, "stream")
        self._last: Future[None] | None = None

    @property
    def busy(self) -> bool:
        """Whether copies are under way."""
        return self._last is not None and not self._last.done()

    def send(self, tensor: int, source: int, size: int, pinned: bool) -> Future[None] | None:
        """Copy ``size`` bytes at ``source`` to the beginning of a tensor; pinned ones must stay until ``wait``.

        What is returned is done when these are copied; None: they are.
        """
        return self._copy(_set, tensor, source, size, pinned)

    def receive(self, tensor: int, target: int, size: int, pinned: bool) -> None:
        """Copy the first ``size`` bytes of a tensor to ``target``; pinned memory has them after ``wait``."""
        self._copy(_get, tensor, target, size, pinned)

    def wait(self) -> None:
        """Return when all copies queued so far are done. Any thread may wait."""
        if self._last:
            self._last.result()

    def _copy(self, copy: Callable[..., None], tensor: int, host: int, size: int, pinned: bool) -> Future[None] | None:
        if pinned and self._pinned:
            self._last = self._thread.submit(_sliced, copy, tensor, host, size)
            return self._last
        copy(tensor, host, 0, size)
        return None


def _sliced(copy: Callable[..., None], tensor: int, host: int, size: int) -> None:
    for start in range(0, size, _SLICE):
        copy(tensor, host + start, start, min(_SLICE, size - start))


@cache
def stream(device: Device) -> Stream:
    """The one stream of a device: its bus has no more to give."""
    return Stream(device)
