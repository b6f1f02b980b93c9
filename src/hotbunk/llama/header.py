"""The header of one GGUF file, through libggml's own reader: keys, values and tensors, checked against the file."""

import ctypes as C
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hotbunk.errors import EngineError, UnusableModel
from hotbunk.llama.lib import Pointer, Size, base, bind, captured

__all__ = ["File", "Header", "Tensor", "Value"]


class _Params(C.Structure):
    _fields_ = [("no_alloc", C.c_bool), ("context", C.POINTER(Pointer))]


_open = bind(base, "gguf_init_from_buffer", Pointer, Pointer, Size, _Params)
_free = bind(base, "gguf_free", None, Pointer)
_keys = bind(base, "gguf_get_n_kv", C.c_int64, Pointer)
_key = bind(base, "gguf_get_key", C.c_char_p, Pointer, C.c_int64)
_kind = bind(base, "gguf_get_kv_type", C.c_int, Pointer, C.c_int64)
_value = bind(base, "gguf_get_val_data", Pointer, Pointer, C.c_int64)
_string = bind(base, "gguf_get_val_str", C.c_char_p, Pointer, C.c_int64)
_array_kind = bind(base, "gguf_get_arr_type", C.c_int, Pointer, C.c_int64)
_array_length = bind(base, "gguf_get_arr_n", Size, Pointer, C.c_int64)
_array = bind(base, "gguf_get_arr_data", Pointer, Pointer, C.c_int64)
_data_offset = bind(base, "gguf_get_data_offset", Size, Pointer)
_tensors = bind(base, "gguf_get_n_tensors", C.c_int64, Pointer)
_tensor_name = bind(base, "gguf_get_tensor_name", C.c_char_p, Pointer, C.c_int64)
_tensor_kind = bind(base, "gguf_get_tensor_type", C.c_int, Pointer, C.c_int64)
_tensor_size = bind(base, "gguf_get_tensor_size", Size, Pointer, C.c_int64)
_tensor_offset = bind(base, "gguf_get_tensor_offset", Size, Pointer, C.c_int64)
_tensor_shape = bind(base, "gguf_get_tensor_ne", C.POINTER(C.c_int64), Pointer, C.c_int64)
_type_name = bind(base, "ggml_type_name", C.c_char_p, C.c_int)

# libggml's numbers for the types of values (a bool takes one byte)
_NUMBERS: dict[int, Any] = {
    0: C.c_uint8,
    1: C.c_int8,
    2: C.c_uint16,
    3: C.c_int16,
    4: C.c_uint32,
    5: C.c_int32,
    6: C.c_float,
    7: C.c_int8,
    10: C.c_uint64,
    11: C.c_int64,
    12: C.c_double,
}
_STRING, _ARRAY = 8, 9
_DIMENSIONS = 4
_MAGIC = b"GGUF"
# No real header is larger. The reader allocates by the counts it meets, up to four times the bytes that it may read,
# so a corrupt count costs 256 MiB at the very most, however large the file.
_MOST = 64 << 20
# Arrays with one value for each block are of use; the vocabulary's are not, but for their length.
_SHORT = 512

Value = int | float | str | list[int | float]


@dataclass(frozen=True, slots=True)
class File:
    """A file as it was when its header was read: ``mark`` tells it from another one at the same ``path``."""

    path: Path
    mark: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        """Its name without folders."""
        return self.path.name

    def check(self, opened: int | None = None) -> None:
        """Look whether it is still there, or whether the descriptor ``opened`` is of it.

        Raises:
            EngineError: another one has taken its place, or none.
        """
        try:
            status = os.stat(self.path if opened is None else opened)
        except OSError as error:
            raise EngineError(f"{self.name} cannot be read any more: {error.strerror}") from error
        if _mark(status) != self.mark:
            raise EngineError(f"{self.name} is another file by now; restart hotbunk to serve it")


def check(files: Iterable[File]) -> None:
    """Look whether all of a model's files are still there; once they are open, what was opened is what was read.

    Raises:
        EngineError: another one has taken the place of one, or none.
    """
    for file in files:
        file.check()


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor: its name, its type as libggml writes it (``q4_K``), its bytes and its elements.

    Its bytes are those of ``file`` from ``start`` on.
    """

    name: str
    type: str
    size: int
    elements: int
    file: File = File(Path())
    start: int = 0


@dataclass(frozen=True, slots=True)
class Header:
    """What one file says. ``lengths`` has the number of elements of each array, ``values`` all else that is short."""

    file: File
    values: dict[str, Value]
    lengths: dict[str, int]
    tensors: tuple[Tensor, ...]

    @classmethod
    def read(cls, file: Path) -> "Header":
        """Read a file's header, in milliseconds.

        Raises:
            UnusableModel: the file cannot be read, is no GGUF file, is corrupt, or is shorter than its tensors.
        """
        size, mark = _look(file)
        source = File(file, mark)
        with _opened(file, size) as handle:
            header = cls(source, dict(_values(handle)), dict(_lengths(handle)), tuple(_read_tensors(source, handle)))
            _check_length(header, size, _end(handle))
        return header

    def number(self, key: str, default: int = 0) -> int:
        """Return a whole number, or the default where there is none."""
        value = self.values.get(key)
        return value if isinstance(value, int) else default

    def text(self, key: str) -> str:
        """Return a string, empty where there is none."""
        value = self.values.get(key)
        return value if isinstance(value, str) else ""

    def each(self, key: str, blocks: int, default: tuple[int, ...]) -> tuple[int, ...]:
        """Return one whole number for each block; the file may give one for all, or a list.

        Raises:
            UnusableModel: the list is of another length.
        """
        value = self.values.get(key)
        if isinstance(value, list):
            whole = tuple(number for number in value if isinstance(number, int))
            if len(whole) != blocks:
                raise UnusableModel(f"{self.file.name}: {key} has {len(whole)} whole numbers for {blocks} blocks")
            return whole
        return (value,) * blocks if isinstance(value, int) else default


def _mark(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _look(file: Path) -> tuple[int, tuple[int, ...]]:
    """Tell the size and the mark; the magic is checked here, in plainer words than libggml has."""
    try:
        with file.open("rb") as stream:
            magic = stream.read(len(_MAGIC))
            status = os.fstat(stream.fileno())
    except OSError as error:
        raise UnusableModel(f"{file.name}: cannot be read: {error.strerror}") from error
    if not status.st_size:
        raise UnusableModel(f"{file.name}: the file is empty")
    if magic != _MAGIC:
        raise UnusableModel(f"{file.name}: not a GGUF file: it begins with {magic!r}, not {_MAGIC!r}")
    return status.st_size, _mark(status)


@contextmanager
def _opened(file: Path, size: int) -> Iterator[int]:
    view = np.memmap(file, np.uint8, "r", shape=(min(size, _MOST),))
    with captured() as words:
        handle = _open(view.ctypes.data, view.size, _Params(True, None))
    if not handle:
        raise UnusableModel(f"{file.name}: {_refusal(words, view.size)}")
    try:
        yield handle
    finally:
        _free(handle)


def _refusal(words: list[str], size: int) -> str:
    said = [line.split(": ", 1)[-1] for line in words]
    reasons = [line for line in said if not line.startswith("failed to read") and "remaining file size" not in line]
    if reasons:
        return f"corrupt header: {'; '.join(reasons)}"
    return f"truncated or corrupt: the header does not end within {size:,} bytes ({'; '.join(said)})"


def _check_length(header: Header, size: int, needed: int) -> None:
    if size < needed:
        raise UnusableModel(
            f"{header.file.name}: truncated: the file has {size:,} bytes but its tensors need {needed:,}; copy it again"
        )


def _end(handle: int) -> int:
    last = _tensors(handle) - 1
    if last < 0:
        return 0
    return int(_data_offset(handle) + _tensor_offset(handle, last) + _tensor_size(handle, last))


def _values(handle: int) -> Iterator[tuple[str, Value]]:
    for index in range(_keys(handle)):
        value = _read_value(handle, index)
        if value is not None:
            yield _text(_key(handle, index)), value


def _read_value(handle: int, index: int) -> Value | None:
    kind = _kind(handle, index)
    if kind == _STRING:
        return _text(_string(handle, index))
    if kind == _ARRAY:
        return _read_array(handle, index)
    number: int | float = _NUMBERS[kind].from_address(_value(handle, index)).value
    return number


def _read_array(handle: int, index: int) -> Value | None:
    kind, length = _array_kind(handle, index), _array_length(handle, index)
    if kind not in _NUMBERS or not 0 < length <= _SHORT:
        return None
    return list((_NUMBERS[kind] * length).from_address(_array(handle, index)))


def _lengths(handle: int) -> Iterator[tuple[str, int]]:
    for index in range(_keys(handle)):
        if _kind(handle, index) == _ARRAY:
            yield _text(_key(handle, index)), _array_length(handle, index)


def _read_tensors(file: File, handle: int) -> Iterator[Tensor]:
    for index in range(_tensors(handle)):
        shape = _tensor_shape(handle, index)[:_DIMENSIONS]
        yield Tensor(
            name=_text(_tensor_name(handle, index)),
            type=_text(_type_name(_tensor_kind(handle, index))),
            size=_tensor_size(handle, index),
            elements=int(np.prod(shape, dtype=object)),
            file=file,
            start=_data_offset(handle) + _tensor_offset(handle, index),
        )


def _text(raw: bytes) -> str:
    return raw.decode(errors="replace")
