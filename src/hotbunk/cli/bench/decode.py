"""``hotbunk bench decode``: what the worker costs against libllama alone, both sides measured in one run."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Annotated, Protocol

import typer
from rich.console import Console
from rich.table import Table

from hotbunk.cli.samples import smollm2
from hotbunk.measure.wire import CONTEXT, PROMPT, Wire, worker
from hotbunk.placement import Placement
from hotbunk.worker.protocol import Load, Loaded, Open, Opened, Produced, Unload

__all__ = ["AIMS", "Row", "decode", "measure"]

AIMS = {1: 0.95, 8: 0.90}
"""The least share of the bare loop's speed that hotbunk promises, by number of streams."""


@dataclass(frozen=True, slots=True)
class Row:
    """Medians over the rounds: tokens per second of all streams together, and the ratio within a round."""

    streams: int
    bare: float
    worker: float
    ratio: float
    aim: float | None


def decode(
    model: Annotated[
        Path | None, typer.Argument(help="A GGUF file.", exists=True, dir_okay=False, show_default="the demo's SmolLM2")
    ] = None,
    streams: Annotated[list[int] | None, typer.Option(min=1, help="Streams at once; may be repeated. [1, 8]")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Times that both sides take their turn.")] = 9,
    tokens: Annotated[int, typer.Option(min=8, max=400, help="Tokens of each stream in each turn.")] = 64,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads, on both sides.")] = os.cpu_count() or 1,
    device: Annotated[str, typer.Option(help="The worker's device.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Decode greedily through a worker process and in a bare libllama loop, in turns, and compare."""
    model = model or smollm2()
    with Console(stderr=True).status("Decoding on both sides in turns; takes a minute or two"):
        rows = measure(model, streams or list(AIMS), rounds, tokens, threads, device)
    if as_json:
        print(json.dumps([asdict(row) for row in rows], indent=2))
    else:
        Console().print(_table(model, rounds, threads, rows))


def measure(model: Path, streams: list[int], rounds: int, tokens: int, threads: int, device: str) -> list[Row]:
    """Take ``rounds`` interleaved measurements of each number of streams.

    Raises:
        EngineError: one of the two sides failed.
    """
    # here and not above: it brings libllama with it, which --help can do without
    from hotbunk.cli.bench.bare import Bare

    with worker(device, threads) as wire:
        ours = _Worker(wire, model)
        layers = 0 if wire.hello.device == "CPU" else 999
        with closing(Bare(model, layers, threads)) as bare:
            return [_compare(ours, bare, count, rounds, tokens) for count in streams]


class _Side(Protocol):
    def load(self, streams: int) -> None: ...

    def speed(self, streams: int, tokens: int) -> float: ...


def _compare(ours: _Side, bare: _Side, streams: int, rounds: int, tokens: int) -> Row:
    """One row: who goes first alternates."""
    ours.load(streams)
    bare.load(streams)
    pairs = []
    sides: list[Callable[[], float]] = [lambda: bare.speed(streams, tokens), lambda: ours.speed(streams, tokens)]
    for turn in range(-1, rounds):
        first, second = sides if turn % 2 else reversed(sides)
        speeds = {first: first(), second: second()}
        if turn >= 0:  # the first round warms both sides up
            pairs.append((speeds[sides[0]], speeds[sides[1]]))
    ratio = median(worker / alone for alone, worker in pairs)
    return Row(streams, median(b for b, _ in pairs), median(w for _, w in pairs), ratio, AIMS.get(streams))


def _table(model: Path, rounds: int, threads: int, rows: list[Row]) -> Table:
    table = Table("streams", "bare libllama", "hotbunk worker", "ratio", "aim", title=f"{model.stem}: decode, tokens/s")
    table.caption = f"medians of {rounds} rounds, also of their ratios; {threads} threads on both sides"
    for column in table.columns:
        column.justify = "right"
    for row in rows:
        aim = "" if row.aim is None else f"{row.aim:.2f}"
        table.add_row(str(row.streams), f"{row.bare:.1f}", f"{row.worker:.1f}", f"{row.ratio:.3f}", aim)
    return table


class _Worker:
    """The worker's side: all layers of the model on the device."""

    def __init__(self, wire: Wire, model: Path) -> None:
        self._wire = wire
        self._layers = wire.ask(Open("bench", str(model)), Opened).layers
        self._loaded = False

    def load(self, streams: int) -> None:
        if self._loaded:
            self._wire.send(Unload("bench"))
        self._wire.ask(Load("bench", Placement(self._layers, CONTEXT, streams)), Loaded)
        self._loaded = True

    def speed(self, streams: int, tokens: int) -> float:
        """Tokens per second, as they arrive here, while all streams decode."""
        wire = self._wire
        sequences = [wire.start("bench", PROMPT, CONTEXT) for _ in range(streams)]
        while len(wire.until(Produced).tokens) < streams:
            pass
        began = perf_counter()
        for _ in range(tokens):
            wire.until(Produced)
        seconds = perf_counter() - began
        for sequence in sequences:
            wire.cancel(sequence)
        return tokens * streams / seconds
