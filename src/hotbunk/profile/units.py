"""Fitted factors as what they mean: bandwidths and times."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

from hotbunk.costs.linear import Term
from hotbunk.costs.model import TERMS, Costs, Parameter
from hotbunk.costs.record import Kind, Record
from hotbunk.costs.roofline import Side
from hotbunk.costs.transfer import MAPPED, PINNED, RELEASE
from hotbunk.placement import Footprint, Placement

__all__ = ["Quantity", "meant"]

_CACHE = {"F16": 1.0}  # how a KV cache is stored


@dataclass(frozen=True, slots=True)
class Quantity:
    """A value in ``s``, ``B/s`` or ``mul/s``."""

    value: float
    unit: str

    def __str__(self) -> str:
        """In few figures: ``0.12 ms``, ``2,310 GB/s``, ``108 G/s`` of multiplications."""
        if self.unit == "s":
            return f"{1e3 * self.value:.3g} ms"
        rate = float(f"{self.value / 1e9:.3g}")
        return f"{rate:,g} {'GB/s' if self.unit == 'B/s' else 'G/s'}"


def meant(costs: Costs, parameter: Parameter) -> Quantity | None:
    """What a factor comes to: a rate, of weights at a batch size for example, or a fixed time.

    None where the machine has no such thing.
    """
    term, factor = parameter.term, parameter.factor
    if term.unit == "s":
        seconds = float(costs.row(_sample(costs, parameter.kind, term))[_place(parameter)]) * factor
        return Quantity(seconds, "s") if seconds else None
    rate = _rate(costs, parameter) / factor
    return Quantity(rate, f"{term.unit}/s") if rate else None


def _rate(costs: Costs, parameter: Parameter) -> float:
    """By the roofline, a second; 0 where the machine has no such thing."""
    line, name = costs.roofline, parameter.term.name
    if "@" in name:
        # a device that streams has the host do nothing for the largest batches
        costs = replace(costs, roofline=replace(line, streams=False))
        record = _sample(costs, parameter.kind, parameter.term)
        size = sum(sum(a.dense.values()) for a in costs.anatomy.layers)
        experts = sum(sum(a.experts.values()) for a in costs.anatomy.layers)
        seconds = float(costs.row(record)[_place(parameter)])
        return (size + costs.anatomy.spread(record.sequences) * experts) / seconds if seconds else 0.0
    what, _, where = name.rpartition("_")
    side = line.device if where == "device" else line.host
    if what == "kv" and parameter.kind is Kind.DECODE:
        return side.attend
    if parameter.kind is Kind.CONTEXT and name == "kv_host" and line.pin:
        return line.pin
    if what in ("read", "multiply", "attend", "kv"):
        return _work(costs, what, side)
    rates = {
        "stream": line.to_device(True) if line.streams else 0.0,
        "pinned": line.h2d_pinned or 0.0,
        "beside": PINNED if line.h2d_pinned else 0.0,
        "cleared": MAPPED if line.h2d_pinned else 0.0,
        "pageable": line.h2d_pageable,
        "pin": line.pin or 0.0,
        "device": line.to_host(True) if parameter.kind is Kind.KV_OUT else line.to_device(True),
        "host": line.h2d_pageable,
        "release": RELEASE,
    }
    return rates[name]


def _work(costs: Costs, what: str, side: Side) -> float:
    """Bytes or multiplications a second of one side."""
    if what == "kv":
        return 1 / side.reading(_CACHE)
    if what == "attend":
        return 1 / side.multiplying(_CACHE, 1.0)
    sizes, layers = Counter[str](), costs.anatomy.layers
    for layer in layers:
        sizes.update(layer.dense)
        sizes.update(layer.experts)
    if what == "read":
        return sizes.total() / side.reading(sizes)
    elements = sum(layer.elements + layer.expert_elements for layer in layers)
    return elements / side.multiplying(sizes, elements)


def _sample(costs: Costs, kind: Kind, term: Term) -> Record:
    """A point at which the term counts, once."""
    side, _, batch = term.name.partition("@")
    layers, part = len(costs.anatomy.layers), Footprint(kv=1)
    placed = (
        0 if side in ("host", "layer_host") else layers // 2 if term.name in ("cross", "carry", "arrange") else layers
    )
    sequences = 2 if term.name == "plan" else int(batch or 1)
    return Record(kind, Placement(placed, 1, 1, part, part), 0.0, sequences, 1, moved=1, pieces=1, freed=1)


def _place(parameter: Parameter) -> int:
    return TERMS[parameter.kind].index(parameter.term)
