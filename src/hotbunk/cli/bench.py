"""``hotbunk bench``: what hotbunk costs, against libllama alone, both sides measured in one run."""

from __future__ import annotations

import ctypes as C
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Annotated, TypeVar

import typer
import zmq
from rich.console import Console
from rich.table import Table

from hotbunk.cli.samples import smollm2
from hotbunk.cli.ttft import ttft
from hotbunk.errors import EngineError
from hotbunk.llama.lib import api, captured
from hotbunk.placement import Placement
from hotbunk.sampling import Sampling
from hotbunk.worker.protocol import (
    Beat,
    Cancel,
    Command,
    Ended,
    Failed,
    Hello,
    Load,
    Loaded,
    Open,
    Opened,
    Produced,
    Report,
    Shutdown,
    Start,
    Unload,
    decode_report,
    encode,
)

app = typer.Typer(help="Measure what hotbunk costs, against libllama alone.", no_args_is_help=True)
app.command()(ttft)

AIMS = {1: 0.95, 8: 0.90}
"""The least share of the bare loop's speed that hotbunk promises, by number of streams."""

_PROMPT = [100 + n * 37 for n in range(16)]  # token ids that every model has
_CONTEXT = 512
_R = TypeVar("_R", bound=Report)


@dataclass(frozen=True, slots=True)
class Row:
    """Medians over the rounds: tokens per second of all streams together, and the ratio within a round."""

    streams: int
    bare: float
    worker: float
    ratio: float
    aim: float | None


@app.command()
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
    with _worker(device, threads) as wire:
        layers = 0 if wire.hello.device == "CPU" else 999
        every = wire.ask(Open("bench", str(model)), Opened).layers
        with closing(_Bare(model, layers, threads)) as bare:
            return [_compare(wire, every, bare, count, rounds, tokens) for count in streams]


def _compare(wire: _Wire, layers: int, bare: _Bare, streams: int, rounds: int, tokens: int) -> Row:
    """One row: who goes first alternates."""
    wire.load(layers, streams)
    bare.load(streams)
    pairs = []
    sides: list[Callable[[], float]] = [lambda: bare.speed(streams, tokens), lambda: wire.speed(streams, tokens)]
    for turn in range(-1, rounds):
        first, second = sides if turn % 2 else reversed(sides)
        speeds = {first: first(), second: second()}
        if turn >= 0:  # the first round warms both sides up
            pairs.append((speeds[sides[0]], speeds[sides[1]]))
    ratio = median(worker / alone for alone, worker in pairs)
    return Row(streams, median(b for b, _ in pairs), median(w for _, w in pairs), ratio, AIMS.get(streams))


def _table(model: Path, rounds: int, threads: int, rows: list[Row]) -> Table:
    table = Table("streams", "bare libllama", "hotbunk worker", "ratio", "aim", title=f"{model.stem}: decode, tokens/s")
    table.caption = f"medians of {rounds} rounds, {threads} threads on both sides"
    for column in table.columns:
        column.justify = "right"
    for row in rows:
        aim = "" if row.aim is None else f"{row.aim:.2f}"
        table.add_row(str(row.streams), f"{row.bare:.1f}", f"{row.worker:.1f}", f"{row.ratio:.3f}", aim)
    return table


# ---------------------------------------------------------------- through the worker


class _Wire:
    """The runtime's end of a worker's socket, with nothing of the runtime."""

    def __init__(self, folder: str) -> None:
        self.endpoint = f"ipc://{folder}/worker"
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.PAIR)
        self._socket.bind(self.endpoint)
        self._next = 0
        self._loaded = False
        self.hello: Hello

    def send(self, command: Command) -> None:
        self._socket.send(encode(command))

    def receive(self) -> Report:
        """The next report that is not a beat.

        Raises:
            EngineError: the worker has died, or says that a command failed.
        """
        while self._socket.poll(20_000):
            report: Report = decode_report(self._socket.recv())
            if isinstance(report, Failed):
                raise EngineError(report.message)
            if not isinstance(report, Beat):
                return report
        raise EngineError("the worker is silent; what it said last is above")

    def until(self, kind: type[_R]) -> _R:
        while not isinstance(report := self.receive(), kind):
            pass
        return report

    def ask(self, command: Command, answer: type[_R]) -> _R:
        self.send(command)
        return self.until(answer)

    def load(self, layers: int, streams: int) -> None:
        placement = Placement(layers, _CONTEXT, streams)
        if self._loaded:
            self.send(Unload("bench"))
        self.ask(Load("bench", placement), Loaded)
        self._loaded = True

    def speed(self, streams: int, tokens: int) -> float:
        """Tokens per second, as they arrive here, while all streams decode."""
        first, self._next = self._next, self._next + streams
        for sequence in range(first, self._next):
            self.send(Start(sequence, "bench", _PROMPT, Sampling(temperature=0), _CONTEXT, []))
        while len(self.until(Produced).tokens) < streams:
            pass
        began = perf_counter()
        for _ in range(tokens):
            self.until(Produced)
        seconds = perf_counter() - began
        for sequence in range(first, self._next):
            self.ask(Cancel(sequence), Ended)
        return tokens * streams / seconds

    def close(self) -> None:
        self._context.destroy(linger=0)


@contextmanager
def _worker(device: str, threads: int) -> Iterator[_Wire]:
    with tempfile.TemporaryDirectory(prefix="hotbunk-") as folder, closing(_Wire(folder)) as wire:
        options = ["--endpoint", wire.endpoint, "--device", device, "--threads", str(threads)]
        options += ["--host-parent-pid", str(os.getpid())]
        with subprocess.Popen([sys.executable, "-m", "hotbunk.worker", *options]) as process:
            try:
                wire.hello = wire.until(Hello)
                yield wire
                wire.send(Shutdown())
                process.wait(5)
            finally:
                process.kill()  # harmless when it has gone


# ---------------------------------------------------------------- libllama alone


class _Bare:
    """An ordinary load and a loop with nothing in it but libllama's own calls."""

    def __init__(self, model: Path, layers: int, threads: int) -> None:
        parameters = api.llama_model_default_params()
        parameters.n_gpu_layers = layers
        with captured() as lines:
            self._model = api.llama_model_load_from_file(str(model).encode(), parameters)
        if not self._model:
            raise EngineError(f"libllama cannot load {model}: {' '.join(lines)}")
        self._threads = threads
        self._context: C.c_void_p | None = None
        self._sampler = api.llama_sampler_init_greedy()
        self._batch = api.llama_batch_init(max(len(_PROMPT), 64), 0, 1)

    def load(self, streams: int) -> None:
        """Make a context with a slot for each stream."""
        self._free_context()
        parameters = api.llama_context_default_params()
        parameters.n_ctx, parameters.n_seq_max, parameters.n_batch = _CONTEXT * streams, streams, _CONTEXT
        parameters.n_threads = parameters.n_threads_batch = self._threads
        self._context = api.llama_init_from_model(self._model, parameters)
        if not self._context:
            raise EngineError(f"libllama cannot make a context of {streams} slots of {_CONTEXT} tokens")

    def speed(self, streams: int, tokens: int) -> float:
        """Tokens per second of ``streams`` sequences in one batch."""
        api.llama_memory_clear(api.llama_get_memory(self._context), True)
        last = [self._prefill(slot) for slot in range(streams)]
        began = perf_counter()
        for position in range(len(_PROMPT), len(_PROMPT) + tokens):
            for slot, token in enumerate(last):
                self._put(slot, token, position, slot, True)
            self._evaluate(streams)
            last = [api.llama_sampler_sample(self._sampler, self._context, slot) for slot in range(streams)]
        return tokens * streams / (perf_counter() - began)

    def close(self) -> None:
        self._free_context()
        api.llama_batch_free(self._batch)
        api.llama_sampler_free(self._sampler)
        api.llama_model_free(self._model)

    def _prefill(self, slot: int) -> int:
        for index, token in enumerate(_PROMPT):
            self._put(index, token, index, slot, index + 1 == len(_PROMPT))
        self._evaluate(len(_PROMPT))
        return int(api.llama_sampler_sample(self._sampler, self._context, -1))

    def _put(self, index: int, token: int, position: int, slot: int, output: bool) -> None:
        batch = self._batch
        batch.token[index], batch.pos[index] = token, position
        batch.n_seq_id[index], batch.seq_id[index][0], batch.logits[index] = 1, slot, output

    def _evaluate(self, count: int) -> None:
        self._batch.n_tokens = count
        if code := api.llama_decode(self._context, self._batch):
            raise EngineError(f"libllama could not evaluate {count} tokens: code {code}")

    def _free_context(self) -> None:
        if self._context:
            api.llama_free(self._context)
            self._context = None
