"""Fitted factors as what they mean: bandwidths and times."""

from __future__ import annotations

from hotbunk.costs.linear import Term
from hotbunk.costs.model import TERMS, Costs, Parameter
from hotbunk.costs.record import Kind, Record
from hotbunk.placement import Footprint, Placement

__all__ = ["meant"]


def meant(costs: Costs, parameter: Parameter) -> str:
    """What a factor comes to: ``2,310 GB/s`` of weights at a batch size, ``0.12 ms`` of a fixed time; may be empty."""
    term, factor = parameter.term, parameter.factor
    if term.unit == "s":
        seconds = float(costs.row(_sample(costs, parameter.kind, term))[_place(parameter)]) * factor
        return f"{1e3 * seconds:.3g} ms" if seconds else ""
    if rate := _rate(costs, parameter):
        return f"{rate / factor / 1e9:,.3g} GB/s"
    return ""


def _rate(costs: Costs, parameter: Parameter) -> float:
    """Bytes a second by the roofline; 0 for what is no bandwidth."""
    line, name = costs.roofline, parameter.term.name
    if "@" in name:
        record = _sample(costs, parameter.kind, parameter.term)
        size = sum(sum(a.dense.values()) for a in costs.anatomy.layers)
        experts = sum(sum(a.experts.values()) for a in costs.anatomy.layers)
        seconds = float(costs.row(record)[_place(parameter)])
        return (size + costs.anatomy.spread(record.sequences) * experts) / seconds if seconds else 0.0
    back = parameter.kind is Kind.KV_OUT
    rates = {
        "stream": line.to_device(True),
        "pinned": line.h2d_pinned or 0.0,
        "pageable": line.h2d_pageable,
        "pin": line.pin or line.h2d_pageable,
        "device": line.to_host(True) if back else line.to_device(True),
    }
    return rates.get(name, 0.0)


def _sample(costs: Costs, kind: Kind, term: Term) -> Record:
    """A point at which the term counts, once."""
    side, _, batch = term.name.partition("@")
    layers, part = len(costs.anatomy.layers), Footprint(kv=1)
    placed = 0 if side in ("host", "layer_host") else layers // 2 if term.name in ("cross", "arrange") else layers
    return Record(kind, Placement(placed, 1, 1, part, part), 0.0, int(batch or 1), 1, moved=1, pieces=1)


def _place(parameter: Parameter) -> int:
    return TERMS[parameter.kind].index(parameter.term)
