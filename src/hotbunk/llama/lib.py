"""The shared libraries of llama-cpp-python, loaded once, with the few functions its own binding leaves out."""

import ctypes as C
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import llama_cpp
from llama_cpp import llama_cpp as api

__all__ = ["Pointer", "Size", "api", "base", "bind", "captured", "ggml", "library", "llama", "words"]

log = logging.getLogger("hotbunk.llama")

Pointer = C.c_void_p
Size = C.c_size_t


def library(name: str) -> C.CDLL:
    """Load ``lib<name>.so.0``: the very file libllama pulled in; a copy under another name has its own globals."""
    return C.CDLL(str(Path(llama_cpp.__file__).parent / "lib" / f"lib{name}.so.0"))


base = library("ggml-base")
ggml = library("ggml")
llama = C.CDLL(api._lib._name)  # the file that the binding loaded, with types of our own


def bind(source: C.CDLL, name: str, result: Any, *arguments: Any) -> Any:
    """Give one exported C function its types.

    Raises:
        AttributeError: the library does not export ``name``.
    """
    function = getattr(source, name)
    function.restype, function.argtypes = result, list(arguments)
    return function


# libggml's log levels; a continuation (5) belongs to the line before it
_LEVELS = {1: logging.DEBUG, 2: logging.DEBUG, 3: logging.INFO, 4: logging.WARNING}
_captured: list[list[str]] = []


@api.llama_log_callback  # type: ignore[untyped-decorator]
def _on_log(level: int, text: bytes, _: object) -> None:
    line = text.decode(errors="replace").rstrip()
    if not line or set(line) == {"."}:
        return
    if level in (3, 4):  # warnings and errors
        for lines in _captured:
            lines.append(line)
    log.log(_LEVELS.get(level, logging.DEBUG), line)


@contextmanager
def captured() -> Iterator[list[str]]:
    """Collect the warnings and errors libllama logs meanwhile: they say why a call returned nothing."""
    lines: list[str] = []
    _captured.append(lines)
    try:
        yield lines
    finally:
        _captured[:] = [other for other in _captured if other is not lines]


def words(lines: list[str]) -> str:
    """Boil captured lines down to what libllama gave as the reason."""
    telling = [
        line for line in lines if re.search(r"error|fail|cannot|unable|invalid|unsupported", line, re.IGNORECASE)
    ]
    return "; ".join((telling or lines)[:3]) or "it gave no reason"


# glibc keeps freed blocks of up to 32 MB for itself; this way every large one goes back to the kernel when freed
_M_MMAP_THRESHOLD = -3
if hasattr(C.CDLL(None), "mallopt"):
    C.CDLL(None).mallopt(_M_MMAP_THRESHOLD, 256 << 10)

api.llama_log_set(_on_log, None)
api.llama_backend_init()
