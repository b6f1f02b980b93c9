"""``hotbunk models``: what the model files are, what they cost in memory, and whether they fit."""

import json
import logging
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from hotbunk.cli.quantities import size
from hotbunk.errors import EngineError, UnusableModel
from hotbunk.placement import MOST_SLOTS
from hotbunk.units import brief_count, brief_size

__all__ = ["models"]


@dataclass(frozen=True, slots=True)
class Fit:
    """How a model fits a budget: with ``layers`` of all layers on the device, None if not even with none.

    ``device_bytes`` is what that placement takes on the device (with no layer, where nothing fits).
    """

    layers: int | None
    device_bytes: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One model: sizes in bytes, contexts in tokens. ``layers`` counts the blocks and the head.

    ``kv_bytes_per_1000_tokens`` is an estimate from the metadata. ``fit`` is None where no budget was given.
    """

    id: str
    path: str
    architecture: str
    parameters: int
    quantisation: str
    layers: int
    weights_bytes: int
    block_bytes: tuple[int, ...]
    head_bytes: int
    tied: bool
    kv_bytes_per_1000_tokens: int
    context: int
    fit: Fit | None


@dataclass(frozen=True, slots=True)
class Unusable:
    """A file that cannot be served, and why."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class Measure:
    """What models are measured against: a device's name, its budget in bytes and how to fit a file into it."""

    device: str
    budget: int
    fit: Callable[[Path, int], Fit]


def models(
    paths: Annotated[list[Path], typer.Argument(help="GGUF files, or folders to search.", show_default=False)],
    budget: Annotated[
        str | None, typer.Option(help="Device memory to fit them in, like 6GiB; else what is free on --device.")
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="Device to fit them on: cpu, auto, CUDA0, rpc:HOST:PORT.", show_default="auto")
    ] = None,
    context: Annotated[
        int | None, typer.Option(min=1, help="Context of a slot, in tokens.", show_default="trained, at most 8192")
    ] = None,
    slots: Annotated[int, typer.Option(min=1, max=MOST_SLOTS, help="Sequences at a time.")] = 4,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """List models: what they are, what they cost in memory, and how they fit a budget."""
    # the reasons why files are unusable are told below, in place
    logging.getLogger("hotbunk.llama").setLevel(logging.CRITICAL)
    measure = _measure(device or "auto", budget, context, slots) if budget or device else None
    console = Console(stderr=True)
    with console.status("reading models"):
        usable, unusable = _inspect(paths, measure)
    if as_json:
        typer.echo(json.dumps(_report(usable, unusable, measure), indent=2))
    else:
        _print(usable, unusable, measure)


def _measure(spec: str, budget: str | None, context: int | None, slots: int) -> Measure:
    from hotbunk.llama.device import open_device
    from hotbunk.llama.model import Model
    from hotbunk.models import CONTEXT

    device = open_device(spec)

    def fit(path: Path, trained: int) -> Fit:
        model = Model(path, device, os.cpu_count() or 1)
        try:
            length = context or min(trained, CONTEXT)
            found = model.fit(limit, length, slots)
            placement = found or model.predict(0, length, slots)
            return Fit(found.layers if found else None, placement.device.total)
        finally:
            model.close()

    given = size("--budget", budget)
    limit = device.memory()[0] if given is None else given
    return Measure(device.name, limit, fit)


def _inspect(paths: list[Path], measure: Measure | None) -> tuple[list[Entry], list[Unusable]]:
    from hotbunk.llama.gguf import find, stem

    usable: list[Entry] = []
    unusable: list[Unusable] = []
    names: dict[str, Path] = {}
    for path in find(paths):
        first = names.setdefault(stem(path), path)
        if first != path:
            unusable.append(Unusable(str(path), f"{first} has the same name; rename one of them"))
            continue
        try:
            usable.append(_entry(path, measure))
        except (UnusableModel, EngineError) as error:
            unusable.append(Unusable(str(path), str(error).removeprefix(f"{path.name}: ")))
    return usable, unusable


def _entry(path: Path, measure: Measure | None) -> Entry:
    from hotbunk.llama.gguf import read, stem

    model = read(path)
    return Entry(
        id=stem(path),
        path=str(model.path),
        architecture=model.architecture,
        parameters=model.parameters,
        quantisation=model.quantisation,
        layers=model.blocks + 1,
        weights_bytes=model.weights,
        block_bytes=model.block_bytes,
        head_bytes=model.head_bytes,
        tied=model.tied,
        kv_bytes_per_1000_tokens=model.kv_bytes(1000),
        context=model.context,
        fit=measure.fit(model.path, model.context) if measure else None,
    )


def _report(usable: list[Entry], unusable: list[Unusable], measure: Measure | None) -> dict[str, Any]:
    return {
        "device": measure.device if measure else None,
        "budget": measure.budget if measure else None,
        "models": [asdict(entry) for entry in usable],
        "unusable": [asdict(entry) for entry in unusable],
    }


def _print(usable: list[Entry], unusable: list[Unusable], measure: Measure | None) -> None:
    console = Console()
    if usable:
        table = _table(usable, measure)
        # on a narrow screen, and in a file, whole lines that wrap are better than folded names
        console.width = max(console.width, console.measure(table, options=console.options.update(width=1000)).maximum)
        console.print(table)
    for entry in unusable:
        console.print(f"[red]unusable[/red] {escape(entry.path)}: {escape(entry.reason)}", soft_wrap=True)


def _table(entries: list[Entry], measure: Measure | None) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", caption_justify="left")
    for name in ("model", "arch", "quant"):
        table.add_column(name, no_wrap=True)
    for name in ("params", "layers", "weights", "per layer", "head", "KV/1000 tok", "context"):
        table.add_column(name, justify="right", no_wrap=True)
    if measure:
        table.add_column(f"in {brief_size(measure.budget)} on {escape(measure.device)}", no_wrap=True)
    for entry in entries:
        table.add_row(*_cells(entry))
    return table


def _cells(entry: Entry) -> list[str]:
    cells = [
        escape(entry.id),
        escape(entry.architecture),
        entry.quantisation,
        brief_count(entry.parameters),
        str(entry.layers),
        brief_size(entry.weights_bytes),
        brief_size(sum(entry.block_bytes) // len(entry.block_bytes)),
        brief_size(entry.head_bytes),
        f"~{brief_size(entry.kv_bytes_per_1000_tokens)}",
        f"{entry.context:,}",
    ]
    return cells if entry.fit is None else [*cells, _fit_cell(entry.fit, entry.layers)]


def _fit_cell(fit: Fit, layers: int) -> str:
    if fit.layers is None:
        return f"[red]no[/red], needs {brief_size(fit.device_bytes)} with no layer"
    how = "[green]whole[/green]" if fit.layers == layers else f"[yellow]{fit.layers} of {layers} layers[/yellow]"
    return f"{how}, {brief_size(fit.device_bytes)}"
