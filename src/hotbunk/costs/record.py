"""A measurement: what was done, under which placement, and how long it took.

Records say what happened in raw terms; which of it costs how much is the models' business, so that an old record is
of use to a later model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from statistics import median, quantiles

from hotbunk.placement import Placement

__all__ = ["Kind", "Record"]


class Kind(StrEnum):
    """What can be measured of a model."""

    DECODE = "decode"
    """One step of ``sequences`` sequences, each with ``tokens`` behind it."""
    PREFILL = "prefill"
    """Of ``tokens`` tokens, after ``start`` that were evaluated before; all ``sequences`` but one decode beside it."""
    LOAD = "load"
    """``moved`` bytes of ``pieces`` layers come: the promotion alone, in loads and resizes.

    ``freed`` bytes were given back to the driver right before, as far as is known: the KV cache of a context that is
    made anew, or in a profile all of the model. ``anew``: contexts are made meanwhile.
    """
    UNLOAD = "unload"
    """``moved`` bytes are given back, the context and ``pieces`` layers; a resize to fewer layers also."""
    CONTEXT = "context"
    """The contexts of a placement are made."""
    KV_OUT = "kv_out"
    """The state of a sequence of ``tokens`` tokens, ``moved`` bytes, goes to host memory."""
    KV_IN = "kv_in"
    """It comes back."""
    PIN = "pin"
    """``moved`` bytes of weights are copied to the host store and pinned."""


@dataclass(frozen=True, slots=True)
class Record:
    """One measured point: ``seconds`` is the median of ``repeats``, ``spread`` half the range between their quartiles.

    ``pinned``: the bytes lay in pinned host memory (for ``PIN``, ``LOAD``, ``KV_OUT`` and ``KV_IN``). ``check``: it is
    held out, to judge the models by, and no model is fitted to it.
    """

    kind: Kind
    placement: Placement
    seconds: float
    sequences: int = 1
    tokens: int = 0
    start: int = 0
    moved: int = 0
    pieces: int = 0
    freed: int = 0
    anew: bool = True
    pinned: bool = True
    spread: float = 0.0
    repeats: int = 1
    check: bool = False

    def timed(self, seconds: Sequence[float]) -> Record:
        """The same point, measured so many times: once or more."""
        low, _, high = quantiles(seconds, n=4) if len(seconds) > 1 else [seconds[0]] * 3
        return replace(self, seconds=median(seconds), spread=(high - low) / 2, repeats=len(seconds))
