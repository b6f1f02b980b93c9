"""A libggml context to describe tensors and graphs in; it holds none of their bytes."""

from __future__ import annotations

import ctypes as C
from collections.abc import Iterator
from contextlib import contextmanager

from hotbunk.llama.lib import Pointer, Size, base, bind

__all__ = ["close", "make", "scratch"]


class _InitParams(C.Structure):
    _fields_ = (("size", Size), ("memory", Pointer), ("no_alloc", C.c_bool))


_init = bind(base, "ggml_init", Pointer, _InitParams)
_free = bind(base, "ggml_free", None, Pointer)


def make(size: int = 1 << 16) -> int:
    """A context with room for descriptions of ``size`` bytes; ``close`` it."""
    return int(_init(_InitParams(size, None, True)))


def close(context: int) -> None:
    """Forget all that was described in it."""
    _free(context)


@contextmanager
def scratch(size: int = 1 << 16) -> Iterator[int]:
    """A context for a while."""
    context = make(size)
    try:
        yield context
    finally:
        close(context)
