"""What ``hotbunk profile`` prints of what is known."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

from hotbunk.costs.model import Costs, errors
from hotbunk.costs.store import Known, Store
from hotbunk.profile.units import meant
from hotbunk.units import brief_size

__all__ = ["tell"]


def tell(kept: Store, known: Sequence[Known], as_json: bool) -> None:
    """Print what is known, as tables or as JSON."""
    if as_json:
        typer.echo(json.dumps([_row(kept, each) for each in known], indent=2))
        return
    console = Console()
    if not known:
        typer.echo(f"{kept.path} holds no measurements yet")
    for each in known:
        _show(kept, each, console)


def _row(kept: Store, known: Known) -> dict[str, Any]:
    costs = kept.costs(known.machine, known.model, known.anatomy)
    return {
        "model": known.name,
        "content": known.model,
        "device": known.machine.device,
        "threads": known.machine.threads,
        "measurements": known.count,
        "last": datetime.fromtimestamp(known.last).isoformat(timespec="seconds"),
        "errors": _errors(kept, known, costs),
        "parameters": [
            {"kind": p.kind, "term": p.term.name, "factor": p.factor, "error": p.error}
            for p in (costs.parameters() if costs else [])
        ],
    }


def _errors(kept: Store, known: Known, costs: Costs | None) -> dict[str, float]:
    held = [record for record in kept.records(known.machine, known.model) if record.check]
    return {str(kind): error for kind, error in errors(costs, held).items()} if costs else {}


def _show(kept: Store, known: Known, console: Console) -> None:
    when = datetime.fromtimestamp(known.last).strftime("%Y-%m-%d %H:%M")
    size = brief_size(known.anatomy.weights)
    title = f"{known.name} ({size}) on {known.machine.device}, {known.machine.threads} threads"
    table = Table("", "what", "times the roofline", "±", "that is", title=title, title_justify="left")
    costs = kept.costs(known.machine, known.model, known.anatomy)
    for parameter in costs.parameters() if costs else []:
        # what was measured, and the machine has
        if costs and costs.fits[parameter.kind].count and (meaning := meant(costs, parameter)):
            factor, error = f"{parameter.factor:.2f}", f"{parameter.error:.2f}"
            table.add_row(parameter.kind, parameter.term.meaning, factor, error, meaning)
    console.print(table)
    found = ", ".join(f"{kind} {error:.1%}" for kind, error in _errors(kept, known, costs).items())
    console.print(f"{known.count} measurements, the last on {when}; held-out errors: {found or 'none held out yet'}\n")
