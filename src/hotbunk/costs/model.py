"""What one model costs on one machine: every prediction that the scheduler, a plan or a simulation uses."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from math import isclose
from statistics import fmean

import numpy as np

from hotbunk.costs.anatomy import Anatomy
from hotbunk.costs.linear import Array, Estimate, Fit, Term, fit
from hotbunk.costs.record import Kind, Record
from hotbunk.costs.roofline import Roofline
from hotbunk.costs.steps import CHUNK, DECODE, PREFILL, decode, prefill
from hotbunk.costs.transfer import TRANSFERS, transfer
from hotbunk.costs.work import Sides, sides
from hotbunk.placement import Placement

__all__ = ["TERMS", "Costs", "Parameter", "errors"]

TERMS: dict[Kind, tuple[Term, ...]] = {Kind.DECODE: DECODE, Kind.PREFILL: PREFILL, **TRANSFERS}
"""What the time of each kind consists of."""
_SURER = 0.01  # share by which an error has to differ from the roofline's to tell of anything measured
_ROWS: dict[Kind, Callable[[Sides, Roofline, Record], Array]] = {Kind.DECODE: decode, Kind.PREFILL: prefill}


@dataclass(frozen=True, slots=True)
class Parameter:
    """A fitted term: its ``factor`` on the roofline with the standard ``error``; below 1 it is faster.

    ``measured``: measurements have made it surer than the roofline alone does.
    """

    kind: Kind
    term: Term
    factor: float
    error: float
    measured: bool


@dataclass(frozen=True)
class Costs:
    """A model's costs. Kinds without a fit have the roofline's prior.

    Placements must be priced (bytes on both sides), since moves are charged by their bytes.
    """

    anatomy: Anatomy
    roofline: Roofline
    fits: Mapping[Kind, Fit] = field(default_factory=dict)
    _sides: dict[tuple[int, int | None, int | None], Sides] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def prior(cls, anatomy: Anatomy, roofline: Roofline) -> Costs:
        """By the roofline alone."""
        return cls(anatomy, roofline, {kind: _prior(kind) for kind in TERMS})

    @classmethod
    def fitted(cls, anatomy: Anatomy, roofline: Roofline, records: Iterable[Record]) -> Costs:
        """Fitted to the records that are not held out."""
        costs = cls.prior(anatomy, roofline)
        points: dict[Kind, list[Record]] = {}
        for record in records:
            if not record.check:
                points.setdefault(record.kind, []).append(record)
        for kind, group in points.items():
            costs = costs.refitted(kind, group)
        return costs

    def refitted(self, kind: Kind, records: Sequence[Record], weights: Array | None = None) -> Costs:
        """The same with one kind fitted to these records, which count as much as ``weights`` says, shape (records,)."""
        rows = np.array([self.row(record) for record in records])
        return replace(self, fits={**self.fits, kind: _fit(kind, rows, records, weights)})

    def row(self, record: Record) -> Array:
        """Seconds by the roofline of each term of the record's kind, shape (terms,)."""
        return _ROWS.get(record.kind, transfer)(self._apart(record.placement), self.roofline, record)

    def estimate(self, record: Record) -> Estimate:
        """What a point takes; its own ``seconds`` count for nothing."""
        return self.fits[record.kind].predict(self.row(record))

    def deviation(self, record: Record) -> float:
        """How uncertain the expected time of a point is, relative to itself."""
        return self.fits[record.kind].deviation(self.row(record))

    def decode(self, placement: Placement, contexts: Sequence[int]) -> Estimate:
        """One step of as many sequences as there are ``contexts``, the tokens behind each."""
        return self.estimate(_asked(Kind.DECODE, placement, sequences=len(contexts), tokens=max(contexts)))

    def prefill(self, placement: Placement, tokens: int, start: int = 0) -> Estimate:
        """So many tokens of one sequence, after ``start`` that are evaluated."""
        return self.estimate(_asked(Kind.PREFILL, placement, tokens=tokens, start=start))

    def chunk(self, placement: Placement, start: int, tokens: int, beside: int = 0) -> Estimate:
        """One chunk of a prefill, after ``start`` tokens; what a whole prefill takes besides comes with the first.

        ``beside``: sequences that decode between the chunks.
        """
        row = self.row(_asked(Kind.PREFILL, placement, 1 + beside, tokens, start))
        if start:
            row[0] = 0.0
        return self.fits[Kind.PREFILL].predict(row)

    def turn(self, placement: Placement) -> Estimate:
        """The longest turn of a worker: a step of all slots, each full, and a chunk of a prefill."""
        chunk = self.prefill(placement, min(CHUNK, placement.context))
        return self.decode(placement, [placement.context - 1] * placement.slots) + chunk

    def load(self, placement: Placement, before: Placement | None = None, pinned: bool = True) -> Estimate:
        """Give the model its placement: promotion and context, which overlap where memory is pinned.

        The context begins once all copies are called for; layers that are given back are gone before.
        """
        promotion = self.promote(placement, before, pinned)
        if before and placement.keeps_context(before):
            return promotion
        context = self.context(placement)
        if not pinned or not self.roofline.h2d_pinned:
            return promotion + context
        if before and placement.device.weights < before.device.weights:
            return promotion + context
        return max(promotion, self.calls(placement, before, pinned) + context, key=lambda estimate: estimate.seconds)

    def promote(self, placement: Placement, before: Placement | None = None, pinned: bool = True) -> Estimate:
        """Move the layers alone; a resize to fewer layers gives them back."""
        return self.estimate(_promotion(placement, before, pinned))

    def calls(self, placement: Placement, before: Placement | None = None, pinned: bool = True) -> Estimate:
        """Of ``promote``, all but the bytes on the bus: what stops the worker's loop also where copies do not."""
        record = _promotion(placement, before, pinned)
        row = self.row(record)
        if record.kind is Kind.LOAD:
            row = row * [term.unit == "s" for term in TERMS[Kind.LOAD]]
        return self.fits[record.kind].predict(row)

    def unload(self, placement: Placement) -> Estimate:
        """Take all of it off the device. The worker keeps its layers' memory for those who come."""
        size = placement.device.total - placement.device.weights
        return self.estimate(_asked(Kind.UNLOAD, placement, moved=size))

    def context(self, placement: Placement) -> Estimate:
        """Make its context."""
        return self.estimate(_asked(Kind.CONTEXT, placement))

    def kv_out(self, placement: Placement, tokens: int, pinned: bool = True) -> Estimate:
        """Suspend a sequence of so many tokens."""
        return self._carry(Kind.KV_OUT, placement, tokens, pinned)

    def kv_in(self, placement: Placement, tokens: int, pinned: bool = True) -> Estimate:
        """Resume it."""
        return self._carry(Kind.KV_IN, placement, tokens, pinned)

    @property
    def weights(self) -> int:
        """Bytes of all of its weights, wherever they are."""
        return self.anatomy.weights

    def pin(self) -> Estimate:
        """Copy the model to the host store."""
        return self.estimate(_asked(Kind.PIN, Placement(0, 0, 0), moved=self.weights))

    def state(self, tokens: int) -> int:
        """Bytes of the state of a sequence of so many tokens."""
        parts = self._apart(Placement(0, 0, 0))
        return parts.device.kv(tokens) + parts.host.kv(tokens)

    def parameters(self) -> list[Parameter]:
        """All fitted factors, kind by kind."""
        found = []
        for kind, fitted in self.fits.items():
            errors = zip(fitted.errors().tolist(), _prior(kind).errors().tolist(), strict=True)
            for term, factor, (error, before) in zip(TERMS[kind], fitted.factors, errors, strict=True):
                found.append(Parameter(kind, term, factor, error, not isclose(error, before, rel_tol=_SURER)))
        return found

    def _carry(self, kind: Kind, placement: Placement, tokens: int, pinned: bool) -> Estimate:
        return self.estimate(_asked(kind, placement, tokens=tokens, moved=self.state(tokens), pinned=pinned))

    def _apart(self, placement: Placement) -> Sides:
        key = placement.layers, placement.experts, placement.cached
        if key not in self._sides:
            self._sides[key] = sides(self.anatomy, self.roofline, placement)
        return self._sides[key]


def errors(costs: Costs, records: Iterable[Record]) -> dict[Kind, float]:
    """Mean of |predicted / measured - 1| by kind."""
    found: dict[Kind, list[float]] = {}
    for record in records:
        found.setdefault(record.kind, []).append(abs(costs.estimate(record).seconds / record.seconds - 1))
    return {kind: fmean(values) for kind, values in found.items()}


@cache
def _prior(kind: Kind) -> Fit:
    """What is known without any record; the same for all models."""
    return _fit(kind, np.zeros((0, len(TERMS[kind]))), [])


def _fit(kind: Kind, rows: Array, records: Sequence[Record], weights: Array | None = None) -> Fit:
    return fit(TERMS[kind], rows, np.array([record.seconds for record in records]), weights)


def _promotion(placement: Placement, before: Placement | None, pinned: bool) -> Record:
    """Of the layers that a placement has more than the one ``before``, or fewer."""
    had, layers = (before.device.weights, before.layers) if before else (0, 0)
    anew = not (before and placement.keeps_context(before))
    freed = before.device.kv if before and anew else 0
    size, pieces = placement.device.weights - had, abs(placement.layers - layers)
    kind = Kind.LOAD if size >= 0 else Kind.UNLOAD
    return _asked(kind, placement, moved=abs(size), pieces=pieces, freed=freed, anew=anew, pinned=pinned)


def _asked(
    kind: Kind,
    placement: Placement,
    sequences: int = 1,
    tokens: int = 0,
    start: int = 0,
    moved: int = 0,
    pieces: int = 0,
    freed: int = 0,
    anew: bool = True,
    pinned: bool = True,
) -> Record:
    return Record(kind, placement, 0.0, sequences, tokens, start, moved, pieces, freed, anew, pinned)
