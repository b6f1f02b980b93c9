"""Blocks of host memory."""

import errno
import mmap

import pytest

from hotbunk.llama.device import open_device
from hotbunk.llama.pinned import PAGE, Block


def test_a_kernel_without_huge_pages_has_others(monkeypatch: pytest.MonkeyPatch) -> None:
    class Plain(mmap.mmap):
        def madvise(self, *_: int) -> None:
            raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(mmap, "mmap", Plain)
    block = Block(open_device("cpu"), 3 * PAGE)
    block.bytes[:] = 7
    assert block.size == 3 * PAGE
    block.free()
