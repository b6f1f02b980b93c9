"""``hotbunk profile``: measure what models cost on this machine, and show what is known."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from hotbunk.errors import ConfigError, HotbunkError
from hotbunk.units import brief_size, parse_size

if TYPE_CHECKING:
    from hotbunk.costs.model import Costs
    from hotbunk.costs.store import Known, Store
    from hotbunk.measure.wire import Wire
    from hotbunk.profile import Profiler, Progress

__all__ = ["profile"]

QUICK, FULL = 60.0, 900.0
"""Seconds for each model, unless ``--time-budget`` says otherwise."""


def profile(
    models: Annotated[list[Path] | None, typer.Argument(help="GGUF files, or folders to search.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A minute for each model (the default).")] = False,
    full: Annotated[bool, typer.Option("--full", help="Up to a quarter of an hour for each, contexts to 32k.")] = False,
    time_budget: Annotated[str | None, typer.Option(help="Time for each model, like 60s or 5m.")] = None,
    device: Annotated[str, typer.Option(help="Device: auto, cpu, CUDA0, rpc:HOST:PORT.")] = "auto",
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads; default: physical cores less one.")] = None,
    context: Annotated[int | None, typer.Option(min=256, help="Longest context to measure; default 8192.")] = None,
    slots: Annotated[int, typer.Option(min=1, help="Most sequences at once.")] = 8,
    budget: Annotated[str | None, typer.Option(help="Device memory to use, like 24GiB; default: 90 % of it.")] = None,
    store: Annotated[
        Path | None, typer.Option(help="File to keep figures in.", show_default="~/.local/share/hotbunk/costs.sqlite")
    ] = None,
    show: Annotated[bool, typer.Option("--show", help="Measure nothing; show what is known.")] = False,
    export: Annotated[Path | None, typer.Option(help="Write all that is known to this folder.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure what models cost on this machine: decoding, prefill, moves and KV caches, at all residencies.

    The next point is where the fitted model is least certain; every fourth is drawn at random and held out, to judge
    the fit by. Ends when the held-out error is small enough (5 % for decoding, 10 % for the rest) or the time is up.
    Whatever was measured is kept at once: break off and go on later as you like.
    """
    if quick and full:
        raise ConfigError("--quick and --full are two things; choose one")
    # here and not above: it brings SciPy with it, which --help can do without
    from hotbunk.costs.store import Store

    with Store(store) as kept:
        worked = True
        if not (show or (export and not models)):
            seconds = _seconds(time_budget) if time_budget else FULL if full else QUICK
            length = context or (32768 if full else 8192)
            worked = _measure(kept, models or [], device, threads, length, slots, budget, seconds)
        known = kept.known()
        if export:
            from hotbunk.profile.export import write

            write(kept, known, export)
        _tell(kept, known, as_json)
    if not worked:
        raise typer.Exit(1)


def _measure(
    kept: Store,
    paths: list[Path],
    device: str,
    threads: int | None,
    context: int,
    slots: int,
    budget: str | None,
    seconds: float,
) -> bool:
    """Profile each model; whether all could be."""
    from hotbunk.llama.gguf import find, stem
    from hotbunk.measure.machine import machine, roofline
    from hotbunk.measure.wire import worker

    if not paths:
        raise ConfigError("no model to profile: name GGUF files or folders, or --show what is known")
    console, failed = Console(stderr=True), False
    files = find(paths)
    with worker(device, threads) as wire:
        hello, here = wire.hello, machine(wire.hello)
        limit = _bytes(budget) or int(hello.memory_free * 0.9)
    if kept.roofline(here) is None:  # between workers: an RPC device serves one process at a time
        console.print(f"measuring the roofline of {here.device}")
        kept.keep_roofline(here, roofline(device, hello.threads))
    with worker(device, threads) as wire:
        for file in files:
            try:
                _one(kept, wire, file, context, slots, limit, seconds, console)
            except HotbunkError as error:
                failed = True
                console.print(f"{stem(file)}: {error}", style="red", markup=False)
    return not failed


def _one(
    kept: Store, wire: Wire, file: Path, context: int, slots: int, limit: int, seconds: float, console: Console
) -> None:
    from hotbunk.costs.dissect import dissect
    from hotbunk.costs.fingerprint import content
    from hotbunk.llama.gguf import read, stem
    from hotbunk.measure.machine import machine
    from hotbunk.measure.probes import Probes
    from hotbunk.profile import Profiler

    facts, name, here = read(file), stem(file), machine(wire.hello)
    mark, line = content(facts), kept.roofline(here)
    assert line
    if why := kept.near(here, mark, name):
        console.print(why, style="yellow", markup=False)
    profiler = Profiler(Probes(wire, name, str(file)), kept, here, mark, dissect(facts, name), line)
    length = min(context, facts.context)
    with console.status(f"{name}: measuring") as status:
        _run(profiler, name, seconds, length, slots, limit, status.update if console.is_terminal else None, console)


def _run(
    profiler: Profiler, name: str, seconds: float, context: int, slots: int, limit: int, update: Any, console: Console
) -> None:
    def said(progress: Progress) -> None:
        record, held = progress.record, ", held out" if progress.record.check else ""
        errors = ", ".join(f"{kind} {error:.1%}" for kind, error in progress.errors.items())
        words = (
            f"{name}: {record.kind}, {record.placement.layers} layers, {record.sequences} x {record.tokens} tokens: "
            f"{record.seconds * 1e3:.2f} ms, expected {progress.expected * 1e3:.2f} ms{held}; "
            f"errors {errors or 'not known yet'}; {max(0.0, progress.left):.0f} s left"
        )
        if update:
            update(words)
        else:
            console.print(words, markup=False, highlight=False)

    try:
        reached = profiler.run(seconds, context, slots, limit, said)
    except KeyboardInterrupt:
        console.print(f"{name}: stopped; all {len(profiler.records)} measurements are kept", markup=False)
        raise typer.Exit(130) from None
    end = "known well enough" if reached else "the time is up"
    console.print(f"{name}: {end}, {len(profiler.records)} measurements", markup=False)


def _tell(kept: Store, known: list[Known], as_json: bool) -> None:
    """Print what is known, as tables or as JSON."""
    if as_json:
        typer.echo(json.dumps([_row(kept, each) for each in known], indent=2))
        return
    console = Console()
    if not known:
        console.print(f"{kept.path} holds no measurements yet")
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
    from hotbunk.costs.model import errors

    held = [record for record in kept.records(known.machine, known.model) if record.check]
    return {str(kind): error for kind, error in errors(costs, held).items()} if costs else {}


def _show(kept: Store, known: Known, console: Console) -> None:
    from hotbunk.profile.units import meant

    when = datetime.fromtimestamp(known.last).strftime("%Y-%m-%d %H:%M")
    size = brief_size(known.anatomy.weights)
    title = f"{known.name} ({size}) on {known.machine.device}, {known.machine.threads} threads"
    table = Table("", "what", "times the roofline", "±", "that is", title=title, title_justify="left")
    costs = kept.costs(known.machine, known.model, known.anatomy)
    for parameter in costs.parameters() if costs else []:
        if costs and costs.fits[parameter.kind].count:
            factor, error = f"{parameter.factor:.2f}", f"{parameter.error:.2f}"
            table.add_row(parameter.kind, parameter.term.meaning, factor, error, meant(costs, parameter))
    console.print(table)
    found = ", ".join(f"{kind} {error:.1%}" for kind, error in _errors(kept, known, costs).items())
    console.print(f"{known.count} measurements, the last on {when}; held-out errors: {found or 'none held out yet'}\n")


def _bytes(budget: str | None) -> int:
    try:
        return parse_size(budget) if budget else 0
    except ValueError as error:
        raise ConfigError(f"--budget {budget}: {error}") from error


def _seconds(text: str) -> float:
    units = {"s": 1.0, "m": 60.0, "h": 3600.0}
    number, unit = (text[:-1], text[-1]) if text[-1:] in units else (text, "s")
    try:
        seconds = float(number) * units[unit]
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise ConfigError(f"--time-budget {text}: give a time such as 60s, 5m or 1h")
    return seconds
