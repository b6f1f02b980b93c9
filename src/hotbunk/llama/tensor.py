"""Tensors of a living model, and where their bytes are: two fields of ``ggml_tensor``, found and checked at start.

A tensor's place is its ``buffer`` and its ``data``. Moving it is setting both; libggml has a function for the way in
(``ggml_backend_tensor_alloc``) but none for the way out, so the fields' offsets must be known.
"""

from __future__ import annotations

import ctypes as C
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from mmap import PAGESIZE

import numpy as np

from hotbunk.errors import EngineError
from hotbunk.llama import scratch
from hotbunk.llama.lib import Pointer, Size, base, bind, llama

__all__ = ["TRIED", "Tensor", "Whole", "check", "of_model", "supports_lookup"]

TRIED = ("0.3.36",)
"""Versions of llama-cpp-python that these checks were tried with."""

_MAP = "_Z29llama_internal_get_tensor_mapB5cxx11PK11llama_model"  # a vector<pair<string, ggml_tensor *>>
_ENTRY = 40  # bytes of such a pair: a string of 32 and a pointer
_STRUCT = 336  # bytes of ggml_tensor to look for a field in
_F32, _I8, _I32 = 0, 24, 26  # enum ggml_type
_DONTNEED = 4  # of madvise


_new_tensor = bind(base, "ggml_new_tensor_1d", Pointer, Pointer, C.c_int, C.c_int64)
_get_rows = bind(base, "ggml_get_rows", Pointer, Pointer, Pointer, Pointer)
_supports_op = bind(base, "ggml_backend_dev_supports_op", C.c_bool, Pointer, Pointer)
_get_name = bind(base, "ggml_get_name", C.c_char_p, Pointer)
_get_data = bind(base, "ggml_get_data", Pointer, Pointer)
_nbytes = bind(base, "ggml_nbytes", Size, Pointer)
_alloc = bind(base, "ggml_backend_tensor_alloc", C.c_int, Pointer, Pointer, Pointer)
_get = bind(base, "ggml_backend_tensor_get", None, Pointer, Pointer, Size, Size)
_set = bind(base, "ggml_backend_tensor_set", None, Pointer, Pointer, Size, Size)
_cpu = bind(base, "ggml_backend_cpu_buffer_type", Pointer)
_alloc_buffer = bind(base, "ggml_backend_buft_alloc_buffer", Pointer, Pointer, Size)
_buffer_base = bind(base, "ggml_backend_buffer_get_base", Pointer, Pointer)
_buffer_type = bind(base, "ggml_backend_buffer_get_type", Pointer, Pointer)
_buffer_free = bind(base, "ggml_backend_buffer_free", None, Pointer)
_madvise = bind(C.CDLL(None), "madvise", C.c_int, Pointer, Size, C.c_int)


@dataclass(frozen=True, slots=True)
class _Offsets:
    buffer: int
    data: int


class Tensor:
    """A tensor of a shell and its home: ``buffer`` and ``data`` are where libllama put it, in the mapped file."""

    __slots__ = ("_buffer", "_data", "address", "buffer", "data", "name", "size")

    def __init__(self, name: str, address: int) -> None:
        """The tensor at ``address``, at home."""
        offsets = check()
        self.name, self.address, self.size = name, address, int(_nbytes(address))
        self._buffer, self._data = _word(address + offsets.buffer), _word(address + offsets.data)
        self.buffer, self.data = self._buffer.value or 0, self._data.value or 0

    def place(self, buffer: int, data: int) -> None:
        """Point it into a device buffer."""
        self._buffer.value = self._data.value = None  # libggml insists that it be nowhere before
        if _alloc(buffer, self.address, data) != 0:
            self.withdraw()
            raise EngineError(f"the device refused to take tensor {self.name}")

    def withdraw(self, data: int | None = None) -> None:
        """Point it back home, or to another copy of its bytes in host memory."""
        self._buffer.value, self._data.value = self.buffer, self.data if data is None else data

    def forget(self) -> None:
        """Let this process give back the pages of its home, a mapped file; they come back when they are read."""
        start, end = -(-self.data // PAGESIZE) * PAGESIZE, (self.data + self.size) // PAGESIZE * PAGESIZE
        if end > start:
            _madvise(start, end - start, _DONTNEED)

    def on(self, buffer_type: int) -> bool:
        """Whether its home is memory of that type."""
        return bool(_buffer_type(self.buffer) == buffer_type)


class Whole:
    """A buffer of a device seen as one tensor of ``size`` bytes, to be filled at once."""

    def __init__(self, buffer: int, start: int, size: int) -> None:
        self._context = scratch.make(1 << 12)
        self.address = int(_new_tensor(self._context, _I8, size))
        if _alloc(buffer, self.address, start) != 0:
            raise EngineError(f"the device refused to take {size} bytes as one tensor")

    def free(self) -> None:
        """Forget the tensor; the buffer stays, and so does what was sent to it."""
        scratch.close(self._context)


def of_model(model: int) -> list[Tensor]:
    """All tensors of a model, where they are now; a duplicated one (rope frequencies, a tied head) comes twice.

    Raises:
        EngineError: what libllama's internal map holds does not look as expected.
    """
    tensors = []
    for name, address in _walk(model):
        tensor = Tensor(name.decode(), address)
        if name != _get_name(address) or (_get_data(address) or 0) != tensor.data:
            raise EngineError(f"libllama's tensor map is not laid out as expected (at {name!r})")
        tensors.append(tensor)
    if not tensors:
        raise EngineError("libllama's tensor map is empty")
    return tensors


@cache
def check() -> _Offsets:
    """Find the fields' offsets on a tensor of our own and move its bytes about to prove them.

    Raises:
        EngineError: some part of libllama is not as expected.
    """
    try:
        bind(llama, _MAP, Pointer, Pointer)
    except AttributeError as error:
        raise EngineError(f"libllama does not export {_MAP}") from error
    count = 64
    buffer = _alloc_buffer(_cpu(), 4 * count)
    try:
        with scratch.scratch() as context:
            return _prove(_new_tensor(context, _F32, count), buffer, count)
    finally:
        _buffer_free(buffer)


def _prove(tensor: int, buffer: int, count: int) -> _Offsets:
    if _alloc(buffer, tensor, _buffer_base(buffer)) != 0:
        raise EngineError("libggml could not place a tensor of its own")
    offsets = _Offsets(_find(tensor, buffer, "buffer"), _find(tensor, _get_data(tensor), "data"))
    values, back, elsewhere = np.arange(count, dtype=np.float32), np.empty(count, np.float32), -np.ones(count, "f4")
    _set(tensor, values.ctypes.data, 0, values.nbytes)
    _get(tensor, back.ctypes.data, 0, back.nbytes)
    _word(tensor + offsets.data).value = elsewhere.ctypes.data
    moved = np.ctypeslib.as_array((C.c_float * count).from_address(_get_data(tensor)))
    if not (np.array_equal(values, back) and np.array_equal(moved, elsewhere)):
        raise EngineError("a moved tensor does not keep its bytes")
    return offsets


def _find(tensor: int, value: int, field: str) -> int:
    found = [offset for offset in range(0, _STRUCT, 8) if _word(tensor + offset).value == value]
    if len(found) != 1:
        raise EngineError(f"ggml_tensor.{field} is not where it can be found ({len(found)} candidates)")
    return found[0]


def supports_lookup(device: int, tensor: Tensor) -> bool:
    """Whether the device can look up rows of this tensor, as an embedding is used."""
    with scratch.scratch() as context:
        rows = _new_tensor(context, _I32, 8)
        return bool(_supports_op(device, _get_rows(context, tensor.address, rows)))


def _walk(model: int) -> Iterator[tuple[bytes, int]]:
    vector = bind(llama, _MAP, Pointer, Pointer)(model)
    begin, end = _word(vector).value or 0, _word(vector + 8).value or 0
    if (end - begin) % _ENTRY:
        raise EngineError("libllama's tensor map is not laid out as expected")
    for entry in range(begin, end, _ENTRY):
        length = Size.from_address(entry + 8).value
        yield C.string_at(_word(entry).value or 0, length), _word(entry + 32).value or 0


def _word(address: int) -> Pointer:
    return Pointer.from_address(address)
