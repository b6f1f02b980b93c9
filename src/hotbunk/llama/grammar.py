"""Grammars (GBNF): which tokens may come next."""

from __future__ import annotations

import ctypes as C
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from hotbunk.errors import BadRequest
from hotbunk.llama.lib import Pointer, Size, bind, captured, llama
from hotbunk.llama.vocab import Vocab

__all__ = ["Candidates", "Grammar"]


class _Array(C.Structure):
    _fields_ = (
        ("data", Pointer),
        ("size", Size),
        ("selected", C.c_int64),
        ("sorted", C.c_bool),
    )  # llama_token_data_array


_parse = bind(llama, "llama_sampler_init_grammar", Pointer, Pointer, C.c_char_p, C.c_char_p)
_apply = bind(llama, "llama_sampler_apply", None, Pointer, C.POINTER(_Array))
_accept = bind(llama, "llama_sampler_accept", None, Pointer, C.c_int32)
_free = bind(llama, "llama_sampler_free", None, Pointer)

_REASON = "error parsing grammar: "
_alone = Lock()  # stderr is the whole process's
_CANDIDATE = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])  # llama_token_data


class Candidates:
    """Tokens with their logits, for samplers to choose among: the whole vocabulary, or the ``tokens`` named.

    Those of a whole vocabulary are good until the next ones are made.
    """

    def __init__(self, logits: NDArray[np.float32], tokens: NDArray[np.intp] | None = None) -> None:
        """Copy the logits."""
        self._items = _room(logits.size) if tokens is None else np.zeros(logits.size, _CANDIDATE)
        self._items["id"] = np.arange(logits.size) if tokens is None else tokens
        self._items["logit"] = logits
        self._array = _Array(self._items.ctypes.data, logits.size, -1, False)

    @property
    def first(self) -> float:
        """The logit of the first one."""
        return float(self._items["logit"][0])

    def keep(self, allowed: NDArray[np.bool_]) -> None:
        """Leave only those of a whole vocabulary that are allowed, shape (tokens,)."""
        self._items["logit"][~allowed] = -np.inf

    def apply(self, sampler: int) -> None:
        """Let a sampler change them."""
        _apply(sampler, C.byref(self._array))

    def choose(self, sampler: int) -> tuple[int, float]:
        """Let a sampler choose one: the token and what became of its logit."""
        self.apply(sampler)
        place = self._array.data + max(self._array.selected, 0) * _CANDIDATE.itemsize  # samplers may move the array
        return C.c_int32.from_address(place).value, C.c_float.from_address(place + 4).value


class Grammar:
    """A grammar at the point where it has accepted some tokens."""

    def __init__(self, vocab: Vocab, text: str, accepted: Sequence[int]) -> None:
        """Parse ``text``; its root rule is ``root``. Bound its length and nesting first: the parser recurses.

        Raises:
            BadRequest: it is no valid grammar, in libllama's words, or it refuses one of ``accepted``.
        """
        with captured() as logged, _printed() as printed:
            self._handle = _parse(vocab.handle, text.encode(), b"root")
        if not self._handle:
            # the words are followed by all of the grammar
            reasons = [line.partition(_REASON)[2] for line in printed if _REASON in line] or logged
            raise BadRequest(f"the grammar is not valid: {reasons[0][:300]}", "grammar")
        for place, token in enumerate(accepted):
            if not self.allows(token):
                self.close()
                raise BadRequest(f"generated token {place} ({token}) does not fit the grammar", "grammar")
            self.accept(token)

    def allows(self, token: int) -> bool:
        """Whether the token may come next."""
        alone = Candidates(np.zeros(1, np.float32), np.array([token]))
        alone.apply(self._handle)
        return alone.first > -np.inf

    def narrow(self, candidates: Candidates) -> None:
        """Leave those that may come next."""
        candidates.apply(self._handle)

    def accept(self, token: int) -> None:
        """Go on past a token that ``allows`` allows; libllama would end the process on any other."""
        _accept(self._handle, token)

    def close(self) -> None:
        """Free it; harmless when already closed."""
        if self._handle:
            _free(self._handle)
            self._handle = None


@cache
def _room(vocabulary: int) -> NDArray[np.void]:
    """Memory for as many candidates, taken once: to have the system clear it for each token takes longer than to draw.

    Only one token is drawn at a time.
    """
    return np.zeros(vocabulary, _CANDIDATE)


@contextmanager
def _printed() -> Iterator[list[str]]:
    """Catch the lines that are printed on stderr meanwhile: libllama does not log all that is wrong with a grammar."""
    said: list[str] = []
    with _alone, tempfile.TemporaryFile() as file:
        stderr = os.dup(2)
        os.dup2(file.fileno(), 2)
        try:
            yield said
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            file.seek(0)
            said += file.read().decode(errors="replace").splitlines()
