"""Profiling models one after the other, each on a worker of its own, and saying how it goes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn

from hotbunk.cli.files import named
from hotbunk.costs.dissect import dissect
from hotbunk.costs.fingerprint import content
from hotbunk.costs.plan import check
from hotbunk.costs.record import Kind, Record
from hotbunk.costs.store import Store
from hotbunk.errors import ConfigError, HotbunkError
from hotbunk.llama.gguf import find, read, stem
from hotbunk.measure.filling import fill
from hotbunk.measure.machine import full_roofline, machine
from hotbunk.measure.probes import Probes
from hotbunk.measure.wire import Died, Wire, worker
from hotbunk.placement import Placement
from hotbunk.profile import Profiler
from hotbunk.profile import Progress as Measured

__all__ = ["Session"]

_SHARE = 0.9  # of the free device memory, unless a budget is given

Say = Callable[[str], object]


@dataclass(frozen=True)
class Session:
    """Where and how to profile, and the store for it.

    ``context`` [tokens] and ``slots`` are the most to measure; ``budget`` [bytes] is what may be used of the device,
    ``seconds`` the time for each model. ``resident``: only with as many layers on the device as fit.
    """

    kept: Store
    device: str
    threads: int | None
    context: int
    slots: int
    budget: int | None
    seconds: float
    resident: bool = False

    def measure(self, paths: Sequence[Path]) -> list[str]:
        """Profile each model; returns a sentence for each that could not be.

        Raises:
            ConfigError: there is no such file, two have the same name, or the store cannot be used.
            EngineError: there is no such device.
        """
        if not paths:
            raise ConfigError("no model to profile: name GGUF files or folders, or --show what is known")
        files, failed = named(find(paths)), list[str]()
        limit = self._prepared()
        for name, file in files.items():
            try:
                self._survive(file, limit)
            except HotbunkError as error:
                failed.append(f"{name}: {error}")
        return failed

    def _prepared(self) -> int:
        """See to it that the machine's roofline is known; returns the bytes of device memory to use."""
        with worker(self.device, self.threads) as wire:
            here, free = machine(wire.hello), wire.hello.memory_free
        # between workers: an RPC device serves one process at a time
        full_roofline(self.kept, here, self.device, _line)
        return int(free * _SHARE) if self.budget is None else self.budget

    def _survive(self, file: Path, limit: int) -> None:
        """Profile a model; with a second worker, for the time that is left, should the first one die over it."""
        end = monotonic() + self.seconds
        try:
            with worker(self.device, self.threads) as wire:
                self._profile(wire, file, limit, end)
        except Died as died:
            if monotonic() > end:
                raise
            how = " without CUDA graphs" if died.failed else ""
            _line(f"{stem(file)}: {died}; going on with another one{how}")
            with worker(self.device, self.threads, graphs=not died.failed) as wire:
                self._profile(wire, file, limit, end)

    def _profile(self, wire: Wire, file: Path, limit: int, end: float) -> None:
        name = stem(file)
        facts, here = read(file), machine(wire.hello)
        mark, anatomy, line = content(facts.files), dissect(facts, name), self.kept.roofline(here)
        assert line
        if why := self.kept.near(here, mark, name):
            typer.echo(why, err=True)
        probes, length = Probes(wire, name, facts), min(self.context, facts.context)
        check(name, [probes.place(0, length, self.slots)], 1, limit)
        with _telling(name, self.seconds) as say:
            for filled in fill(wire, [name], say).values():
                pin = Record(Kind.PIN, Placement(0, 0, 0), filled.seconds, moved=filled.size)
                self.kept.add(here, mark, name, anatomy, pin)
            profiler = Profiler(probes, self.kept, here, mark, anatomy, line)
            left = end - monotonic()

            def said(progress: Measured) -> None:
                say(_told(name, progress))

            ended = profiler.run(left, length, self.slots, limit, said, self.resident)
        _line(f"{name}: {ended}, {len(profiler.records)} measurements")


@contextmanager
def _telling(name: str, seconds: float) -> Iterator[Say]:
    """Say how it goes beside a bar of the time used, or line by line where that cannot be shown."""
    console, began = Console(stderr=True), monotonic()
    if not console.is_terminal:
        yield _line
        return
    columns = BarColumn(20), TextColumn("{task.description}")
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(f"{escape(name)}: measuring", total=seconds)
        yield lambda text: bar.update(task, description=escape(text), completed=monotonic() - began)


def _told(name: str, progress: Measured) -> str:
    record, held = progress.record, ", held out" if progress.record.check else ""
    errors = ", ".join(f"{kind} {error:.1%}" for kind, error in progress.errors.items())
    return (
        f"{name}: {record.kind}, {record.placement.layers} layers, {record.sequences} x {record.tokens} tokens: "
        f"{record.seconds * 1e3:.2f} ms, expected {progress.expected * 1e3:.2f} ms{held}; "
        f"errors {errors or 'not known yet'}; {max(0.0, progress.left):.0f} s left"
    )


def _line(text: str) -> None:
    typer.echo(text, err=True)
