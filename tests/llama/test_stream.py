"""Copies to a device and back."""

from dataclasses import replace
from threading import Event

import numpy as np
import pytest

from hotbunk.llama.device import open_device
from hotbunk.llama.lib import Pointer, base, bind
from hotbunk.llama.pool import Pool
from hotbunk.llama.stream import Stream
from hotbunk.llama.tensor import Whole

_base = bind(base, "ggml_backend_buffer_get_base", Pointer, Pointer)


@pytest.mark.parametrize("size", [5, 32 << 20, (70 << 20) + 3])
def test_what_is_sent_comes_back_whatever_its_size(spec: str, size: int) -> None:
    device = replace(open_device(spec), pinned=True)  # so that it goes the way of pinned memory, which libggml allows
    pool, stream = Pool(device), Stream(device)
    sent = np.random.default_rng(size).integers(0, 256, size, np.uint8)
    back = np.zeros_like(sent)
    buffer = pool.take(size)
    whole = Whole(buffer, _base(buffer), size)
    held = Event()
    stream._thread.submit(held.wait)
    stream.send(whole.address, sent.ctypes.data, size, pinned=True)
    assert stream.busy
    held.set()
    stream.wait()
    assert not stream.busy
    stream.receive(whole.address, back.ctypes.data, size, pinned=True)
    stream.wait()
    assert np.array_equal(back, sent)
    whole.free()
    pool.give(size, buffer)
