"""What is known as rows, for tables and for programs: of machines, and of a model's parameters; units are spelt out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from hotbunk.costs.fingerprint import Machine
from hotbunk.costs.model import Costs
from hotbunk.costs.roofline import Roofline, Side
from hotbunk.profile.units import meant

__all__ = ["Row", "machine", "parameters"]

Row = dict[str, Any]

_BUS = ("h2d_pinned", "d2h_pinned", "h2d_pageable", "d2h_pageable", "pin")


def machine(here: Machine, line: Roofline | None) -> Row:
    """What figures hold for, and the roofline if it was measured; each rate's name ends in its unit."""
    row = {"machine": here.key, **asdict(here)}
    if line is None:
        return row
    bus = {f"{name}_bytes_per_s": getattr(line, name) for name in _BUS}
    sides = {**dict(_side("device", line.device)), **dict(_side("host", line.host))}
    return {**row, "quick": line.quick, "streams": line.streams, **bus, **sides}


def parameters(costs: Costs) -> list[Row]:
    """Factors on the roofline with their errors, and the ``value`` that each comes to; None: there is no such thing."""
    rows = []
    for each in costs.parameters():
        found = meant(costs, each)
        what = {"kind": str(each.kind), "term": each.term.name, "meaning": each.term.meaning}
        factor = {"factor": each.factor, "error": each.error, "measured": each.measured}
        comes_to = {"value": found and found.value, "unit": found and found.unit}
        rows.append({**what, **factor, **comes_to})
    return rows


def _side(where: str, side: Side) -> Iterator[tuple[str, float]]:
    for kind, rate in side.read.items():
        yield f"{where}_read_{kind}_bytes_per_s", rate
    for kind, rate in side.multiply.items():
        yield f"{where}_multiply_{kind}_multiplications_per_s", rate
    yield f"{where}_attend_multiplications_per_s", side.attend
    yield f"{where}_launch_s", side.launch
    yield f"{where}_overhead_s", side.overhead
