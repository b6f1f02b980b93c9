"""What ``hotbunk profile`` prints of what is known."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

from hotbunk.costs.fingerprint import Machine
from hotbunk.costs.model import Costs, errors
from hotbunk.costs.roofline import Roofline
from hotbunk.costs.store import Known, Store
from hotbunk.measure.machine import changed
from hotbunk.profile.rows import machine, parameters
from hotbunk.profile.units import Quantity, meant
from hotbunk.units import brief_size

__all__ = ["tell"]

UNINFORMED = "~: what was measured tells next to nothing of it"


def tell(kept: Store, machines: Mapping[Machine, Roofline | None], known: Sequence[Known], as_json: bool) -> None:
    """Print machines and what is known of models on them, as tables or as JSON."""
    if as_json:
        rows = [machine(*each) for each in machines.items()]
        typer.echo(json.dumps({"machines": rows, "models": [_row(kept, each) for each in known]}, indent=2))
        return
    console = Console()
    if not known:
        typer.echo(f"{kept.path} holds no measurements yet")
    for here, line in machines.items():
        _show_machine(here, line, console)
        for each in known:
            if each.machine == here:
                _show(kept, each, console)


def _row(kept: Store, known: Known) -> dict[str, Any]:
    costs = kept.costs(known.machine, known.model, known.anatomy)
    return {
        "model": known.name,
        "content": known.model,
        "machine": known.machine.key,
        "device": known.machine.device,
        "threads": known.machine.threads,
        "measurements": known.count,
        "last": datetime.fromtimestamp(known.last).isoformat(timespec="seconds"),
        "errors": _errors(kept, known, costs),
        "parameters": parameters(costs) if costs else [],
    }


def _errors(kept: Store, known: Known, costs: Costs | None) -> dict[str, float]:
    held = [record for record in kept.records(known.machine, known.model) if record.check]
    return {str(kind): error for kind, error in errors(costs, held).items()} if costs else {}


def _show_machine(here: Machine, line: Roofline | None, console: Console) -> None:
    _say(console, f"{_where(here)}, {here.cpu}, {here.cores} cores")
    if why := changed(here):
        _say(console, f"its figures do not hold on this machine: {why}")
    if line is None:
        console.print("its roofline was not measured\n")
        return
    table = Table("roofline" + ", measured quickly" * line.quick, "device", "host")
    sides = line.device, line.host
    for kind in sorted({kind for side in sides for kind in side.read}):
        table.add_row(f"{kind} weights, read", *(_rate(side.read.get(kind), "B/s") for side in sides))
    for kind in sorted({kind for side in sides for kind in side.multiply}):
        table.add_row(f"{kind} weights, multiplied with", *(_rate(side.multiply.get(kind), "mul/s") for side in sides))
    table.add_row("attention", *(_rate(side.attend, "mul/s") for side in sides))
    table.add_row("an operation's launch", *(f"{1e6 * side.launch:.3g} µs" for side in sides))
    table.add_row("an evaluation", *(f"{1e6 * side.overhead:.3g} µs" for side in sides))
    console.print(table)
    there, back = (line.h2d_pinned, line.h2d_pageable), (line.d2h_pinned, line.d2h_pageable)
    ways = ((f"to the {where}", *rates) for where, rates in (("device", there), ("host", back)))
    bus = "; ".join(
        f"{way} {_rate(pinned, 'B/s')} pinned, {_rate(other, 'B/s')} pageable" for way, pinned, other in ways
    )
    _say(console, f"bus: {bus}; pinning: {_rate(line.pin, 'B/s')}\n")


def _say(console: Console, line: str) -> None:
    console.print(line, highlight=False, markup=False, soft_wrap=True)


def _rate(rate: float | None, unit: str) -> str:
    return "-" if rate is None else str(Quantity(rate, unit))


def _where(here: Machine) -> str:
    driver = f"driver {here.driver}" if here.driver else ""
    return ", ".join(filter(None, (here.device, driver, f"{here.threads} threads", here.libllama)))


def _show(kept: Store, known: Known, console: Console) -> None:
    when = datetime.fromtimestamp(known.last).strftime("%Y-%m-%d %H:%M")
    _say(console, f"{known.name} ({brief_size(known.anatomy.weights)}) on {_where(known.machine)}")
    table = Table("", "what", "times the roofline", "±", "that is", caption_justify="left")
    costs = kept.costs(known.machine, known.model, known.anatomy)
    for parameter in costs.parameters() if costs else []:
        # what was measured, and the machine has
        if costs and costs.fits[parameter.kind].count and (meaning := meant(costs, parameter)):
            factor, error = f"{parameter.factor:.2f}", f"{parameter.error:.2f}"
            if not parameter.measured:
                factor, table.caption = f"{factor} ~", UNINFORMED
            table.add_row(parameter.kind, parameter.term.meaning, factor, error, str(meaning))
    console.print(table)
    found = ", ".join(f"{kind} {error:.1%}" for kind, error in _errors(kept, known, costs).items())
    console.print(f"{known.count} measurements, the last on {when}; held-out errors: {found or 'none held out yet'}\n")
