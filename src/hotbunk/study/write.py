"""Models of real shapes with random weights, streamed to disk: speed does not depend on the values.

All weights come from one pool of random values for each type, some megabytes, cut at another place for each tensor;
so a file of any size is written within little memory, as fast as the disk takes it.
"""

from __future__ import annotations

import ctypes as C
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hotbunk.aside import sweep, whole
from hotbunk.errors import ConfigError
from hotbunk.study.header import header, padding
from hotbunk.study.shapes import TYPES, Shape
from hotbunk.study.tensors import BF16, F16, F32, Tensor, Type, tensors
from hotbunk.units import brief_size

__all__ = ["size", "write"]

_POOL = 1 << 22  # distinct random values; larger tensors repeat them
_SPREAD = 0.02  # their standard deviation
_SHIFT = 256 * 97  # how far into the pool the next tensor begins, in values: no two layers are the same


def size(shape: Shape, kind: str) -> int:
    """Bytes of the file, exactly.

    Raises:
        ConfigError: there is no such type, or no tokenizer for such a vocabulary.
    """
    _check_type(kind)
    placed = list(tensors(shape, kind))
    return len(header(shape, kind, placed)) + sum(tensor.size + padding(tensor.size) for tensor in placed)


def write(
    path: Path,
    shape: Shape,
    kind: str | None = None,
    force: bool = False,
    progress: Callable[[int], object] = lambda done: None,
) -> int:
    """Write a GGUF of that shape, aside first, so that a file of that name is always whole. Returns its bytes.

    What a process that was killed left aside of that name is removed.

    Args:
        path: where to.
        shape: what to write.
        kind: one of ``TYPES``; None: the shape's own.
        force: whether a file that is there may be replaced.
        progress: hears the bytes written so far.

    Raises:
        ConfigError: there is no such type, the file is there already, or it cannot be written there for want of
            space, rights or a folder.
    """
    kind = shape.type if kind is None else kind
    needed = size(shape, kind)
    sweep(path)  # its bytes are room again
    _check_place(path, needed, force)
    try:
        with whole(path) as file:
            done = 0
            for chunk in _chunks(shape, kind):
                done += file.write(chunk)
                progress(done)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written ({brief_size(needed)}): {error.strerror}") from error
    return needed


def _chunks(shape: Shape, kind: str) -> Iterator[bytes | memoryview]:
    placed, pools = list(tensors(shape, kind)), _Pools()
    yield header(shape, kind, placed)
    for tensor in placed:
        yield from pools.cut(tensor)
        yield bytes(padding(tensor.size))


class _Pools:
    """Bytes for tensors of any type, cut from one pool of each."""

    def __init__(self) -> None:
        self._values = np.random.default_rng(0).standard_normal(_POOL, dtype=np.float32) * np.float32(_SPREAD)
        self._pools: dict[Type, memoryview] = {}
        self._shift = 0

    def cut(self, tensor: Tensor) -> Iterator[bytes | memoryview]:
        """A tensor's bytes, piece by piece. Vectors are ones, but for biases, which are nothing."""
        if tensor.type is F32:
            yield self._plain(tensor)
            return
        pool = self._pool(tensor.type)
        self._shift = (self._shift + _SHIFT) % _POOL
        begin, left = self._shift // tensor.type.values * tensor.type.size, tensor.size
        while left:
            piece = pool[begin : begin + left]
            yield piece
            begin, left = 0, left - len(piece)

    def _plain(self, tensor: Tensor) -> bytes:
        count = tensor.size // F32.size
        if len(tensor.shape) > 1:
            return np.resize(self._values, count).tobytes()
        return np.full(count, 0 if tensor.name.endswith("bias") else 1, np.float32).tobytes()

    def _pool(self, kind: Type) -> memoryview:
        if kind not in self._pools:
            self._pools[kind] = memoryview(_encoded(self._values, kind)).cast("B")
        return self._pools[kind]


def _encoded(values: NDArray[np.float32], kind: Type) -> bytes:
    if kind is F16:
        return values.astype(np.float16).tobytes()
    if kind is BF16:
        return (values.view(np.uint32) >> 16).astype(np.uint16).tobytes()
    # here and not above: who wants the shapes alone can do without libllama
    from hotbunk.llama.lib import Pointer, base, bind

    quantize = bind(base, "ggml_quantize_chunk", C.c_size_t, C.c_int, Pointer, Pointer, *[C.c_int64] * 3, Pointer)
    out = C.create_string_buffer(_POOL // kind.values * kind.size)
    done = quantize(kind.number, values.ctypes.data, C.addressof(out), 0, _POOL // 4096, 4096, None)
    assert done == len(out), "libggml's type has another size"
    return out.raw


def _check_type(kind: str) -> None:
    if kind not in TYPES:
        raise ConfigError(f"--type {kind}: no such type; take one of {', '.join(TYPES)}")


def _check_place(path: Path, needed: int, force: bool) -> None:
    if path.is_dir():
        raise ConfigError(f"{path}: a folder; give the name of the file to write")
    if path.exists() and not path.is_file():
        raise ConfigError(f"{path}: a device or the like; give the name of the file to write")
    if path.exists() and not force:
        raise ConfigError(f"{path}: there already; give --force to replace it")
    if not path.parent.is_dir():
        raise ConfigError(f"{path.parent}: no such folder")
    free = shutil.disk_usage(path.parent).free
    if needed > free:
        raise ConfigError(f"{path}: {brief_size(needed)} are needed, but only {brief_size(free)} are free there")
