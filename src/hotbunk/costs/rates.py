"""The few numbers that a policy weighs of a model: how fast it is, what moving it costs, what was promised of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hotbunk.placement import Placement

if TYPE_CHECKING:  # SciPy takes a while, and who weighs rates can do without
    from hotbunk.costs.model import Costs

__all__ = ["PROMISE", "Promise", "Rates", "rates"]

_PROMPT = 1024  # tokens of a prompt, and behind a sequence, at which rates are taken


@dataclass(frozen=True, slots=True)
class Rates:
    """Seconds, at one placement; the defaults are for a model of which nothing is known.

    A decode step of ``n`` sequences takes ``step + (n - 1) * each``; ``token`` is for each token of a prompt, ``load``
    and ``unload`` for the model, ``carry`` for each token of a sequence's state, one way.
    """

    step: float = 0.02
    each: float = 0.002
    token: float = 1e-3
    load: float = 1.0
    unload: float = 0.1
    carry: float = 1e-5

    def decode(self, sequences: int) -> float:
        """A step of so many sequences."""
        return self.step + (sequences - 1) * self.each if sequences > 1 else self.step

    @property
    def moves(self) -> float:
        """Coming and going once."""
        return self.load + self.unload


@dataclass(frozen=True, slots=True)
class Promise:
    """An SLO, in seconds: until the first token, and from token to token."""

    ttft: float = 2.0
    tpot: float = 0.1


PROMISE = Promise()
"""What is promised where nobody says otherwise."""


def rates(costs: Costs, placement: Placement, pinned: bool = True) -> Rates:
    """Those of a model at a priced placement; ``pinned``: its weights are in the host store."""
    step = costs.decode(placement, [_PROMPT]).seconds
    full = costs.decode(placement, [_PROMPT] * placement.slots).seconds
    return Rates(
        step,
        (full - step) / max(1, placement.slots - 1),
        costs.prefill(placement, _PROMPT).seconds / _PROMPT,
        costs.load(placement, pinned=pinned).seconds,
        costs.unload(placement).seconds,
        costs.kv_out(placement, _PROMPT, pinned).seconds / _PROMPT,
    )
