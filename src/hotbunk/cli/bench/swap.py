"""``hotbunk bench swap``: what moving models costs, step by step, beside what the bus allows."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from hotbunk.cli.bench.rival import Rival, compare, find
from hotbunk.errors import ConfigError
from hotbunk.measure.steps import Bandwidths, Limits, Step, Swap
from hotbunk.measure.swaps import Memory, Swaps
from hotbunk.measure.wire import worker
from hotbunk.placement import MOST_SLOTS
from hotbunk.units import brief_size

__all__ = ["Outcome", "bandwidths", "measure", "swap"]

SMALL = 16 << 20
"""Bytes of a small copy, as a layer's tensors are."""
LARGE = 1 << 30
"""Bytes of a large copy, where the device has pinned memory; without it a sixteenth tells as much."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """All that was measured. ``bus`` is the large copy's and the small one's; ``budget`` holds just one model.

    ``excess`` is the most resident memory above the host store while layers come and go, ``trouble`` what of the models
    is not in there.
    """

    device: str
    threads: int
    bus: list[Bandwidths]
    trouble: str
    swaps: list[Swap]
    memory: list[Memory]
    budget: int
    excess: int
    rivals: list[Rival]


def swap(
    model_a: Annotated[Path, typer.Argument(help="A GGUF file.", exists=True, dir_okay=False)],
    model_b: Annotated[Path, typer.Argument(help="Another one.", exists=True, dir_okay=False)],
    device: Annotated[str, typer.Option(help="The worker's device.")] = "auto",
    context: Annotated[int, typer.Option(min=512, help="Tokens of context for each slot.")] = 8192,
    slots: Annotated[int, typer.Option(min=1, max=MOST_SLOTS, help="Slots of each model.")] = 1,
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads.", show_default="physical cores less one")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Times that each move is made, after one to warm up.")] = 5,
    residency: Annotated[
        list[float] | None, typer.Option(min=0, max=1, help="Share of the layers on the device; may be repeated.")
    ] = None,
    tokens: Annotated[
        list[int] | None, typer.Option(min=0, help="Tokens in the KV cache; may be repeated. [0, 1000, 6000]")
    ] = None,
    versus: Annotated[
        str | None, typer.Option(help="A peer: llama-server, or llama-server=PATH.", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Switch between two models, preempt, and resize; print each step beside its physical limit."""
    residencies, lengths = residency or [1.0, 0.8], tokens if tokens is not None else [0, 1000, 6000]
    if (most := Swaps.room(context)) < max(lengths):
        raise ConfigError(
            f"--tokens {max(lengths)}: a context of {context} has room for {most}; give a longer --context"
        )
    peer = find(versus) if versus else None
    with Console(stderr=True).status("Moving models; takes a minute or more") as status:
        outcome = measure(
            _named(model_a, model_b), device, context, slots, threads, rounds, residencies, lengths, peer, status.update
        )
    if as_json:
        print(json.dumps(as_rows(outcome), indent=2))
    else:
        _print(Console(), outcome)


def measure(
    models: dict[str, Path],
    device: str,
    context: int,
    slots: int,
    threads: int | None,
    rounds: int,
    residencies: list[float],
    lengths: list[int],
    peer: Path | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Outcome:
    """Measure the bus, then all moves through a worker, then the peer. ``models`` are two files by name.

    Raises:
        EngineError: the device cannot be had, or a move failed.
    """
    say("measuring the bus")
    bus = bandwidths(device)
    with worker(device, threads) as wire:
        paths = {name: str(path) for name, path in models.items()}
        swaps = Swaps(wire, Limits(bus[0]), paths, context, slots, rounds)
        trouble = swaps.stored(say) if bus[0]["h2d_pinned"] else "the device has no use for a host store"
        for residency in residencies:
            say(f"switching at {residency:.0%}")
            swaps.switch(residency)
            for count in lengths:
                say(f"preempting {count} tokens at {residency:.0%}")
                swaps.preempt(residency, count)
        say("resizing")
        wire.fresh()
        wire.excess = 0  # before, the files were resident until the store was filled, and the KV cache of host layers
        swaps.resize(max(lengths))
        wire.fresh()  # small models are done before the next beat
        budget = max(swaps.place(name, 1.0).device.total for name in models)
        hello, excess = wire.hello, wire.excess
    say("asking the peer")
    rivals = compare(models, peer, device, budget, context, slots, threads, rounds) if peer else []
    memory = list(swaps.memory.values())
    return Outcome(hello.description, hello.threads, bus, trouble, swaps.swaps, memory, budget, excess, rivals)


def bandwidths(device: str) -> list[Bandwidths]:
    """The bus as a process of its own measures it: one large copy, one small.

    Raises:
        EngineError: it cannot be measured.
    """
    from hotbunk.measure.machine import copies  # which no other command's --help should wait for

    [small] = copies(device, [SMALL])
    return [*copies(device, [LARGE if small["h2d_pinned"] else LARGE // 16]), small]


def _named(*paths: Path) -> dict[str, Path]:
    """The files by stem; a file given twice, or another of the same name, gets a number."""
    names: dict[str, Path] = {}
    for number, path in enumerate(paths, 1):
        names[path.stem if path.stem not in names else f"{path.stem}-{number}"] = path
    return names


def as_rows(outcome: Outcome) -> dict[str, Any]:
    """The outcome ready for JSON, with limits and ratios spelt out; seconds and bytes."""
    rows = asdict(outcome)
    rows["swaps"] = [_row(each) for each in outcome.swaps]
    return rows


def _row(each: Swap) -> dict[str, Any]:
    steps = [asdict(step) | {"ratio": step.ratio} for step in each.steps]
    return asdict(each) | {"steps": steps, "limit": each.limit, "ratio": each.ratio}


# ---------------------------------------------------------------- tables


def _print(console: Console, outcome: Outcome) -> None:
    console.print(_bus(outcome))
    if outcome.trouble:
        console.print(f"Not from pinned memory: {outcome.trouble}.")
    console.print(_moves(outcome), _memory(outcome))
    if outcome.rivals:
        console.print(_rivals(outcome))


def _right(table: Table) -> Table:
    for column in table.columns[1:]:
        column.justify = "right"
    return table


def _bus(outcome: Outcome) -> Table:
    table = _right(
        Table("bus, GB/s; copies of", "pinned there", "back", "pageable there", "back", title=outcome.device)
    )
    for bus in outcome.bus:
        keys = ("h2d_pinned", "d2h_pinned", "h2d_pageable", "d2h_pageable")
        speeds = ("-" if bus[key] is None else f"{(bus[key] or 0) / 1e9:.1f}" for key in keys)
        table.add_row(brief_size(int(bus["size"] or 0)), *speeds)
    return table


def _moves(outcome: Outcome) -> Table:
    table = _right(Table("move", "bytes", "ms", "limit ms", "ratio", title="moves, medians"))
    table.caption = f"{outcome.threads} threads; limit: bytes / measured bandwidth; steps may overlap"
    for each in outcome.swaps:
        size = sum(step.size for step in each.steps)
        table.add_row(f"[bold]{each.title}", *_figures(size, each.seconds, each.limit, each.ratio))
        for step in each.steps:
            if step.size or step.seconds >= 5e-5:
                table.add_row(f"  {step.name}", *_step(step))
        table.add_section()
    return table


def _step(step: Step) -> tuple[str, ...]:
    return _figures(step.size, step.seconds, step.limit, step.ratio)


def _figures(size: int, seconds: float, limit: float | None, ratio: float | None) -> tuple[str, ...]:
    return (
        brief_size(size) if size else "",
        f"{seconds * 1e3:.1f}",
        f"{limit * 1e3:.1f}" if limit else "",
        f"{ratio:.2f}" if ratio else "",
    )


def _memory(outcome: Outcome) -> Table:
    table = _right(Table("device memory", "layers", "foretold", "libllama reports", "driver says"))
    table.caption = f"resident host memory above the host store: at most {brief_size(max(outcome.excess, 0))}"
    for each in outcome.memory:
        sizes = (brief_size(each.predicted), brief_size(each.reported), brief_size(each.driver))
        table.add_row(each.model, str(each.layers), *sizes)
    return table


def _rivals(outcome: Outcome) -> Table:
    table = _right(Table("request until first token, s", "hotbunk", "llama-server's router", "times faster"))
    for each in outcome.rivals:
        table.add_row(each.model, f"{each.hotbunk:.3f}", f"{each.router:.3f}", f"{each.ratio:.1f}")
    return table
