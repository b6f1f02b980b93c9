"""A worker in this process: one device, models whose every layer takes as much, and a driver that can be lied about."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from hotbunk.config import DeviceConfig
from hotbunk.placement import Footprint, Placement
from hotbunk.runtime import Runtime, driver
from hotbunk.runtime.process import Shares, WorkerLost
from hotbunk.worker import protocol as wire
from tests.runtime.rig import settings

MB = 1 << 20
TOTAL = 1000 * MB
BUDGET = 900 * MB
BASE = 20 * MB
"""What a model takes with no layer on the device, unless told."""


class Device:
    """What outlives a worker: the memory, and who else takes some of it."""

    def __init__(self) -> None:
        self.base = {"small": BASE, "large": BASE}
        self.layer = {"small": 10 * MB, "large": 15 * MB}
        self.foreign = 0
        self.silent = False
        """The driver says what is free without what others take."""
        self.surplus = 0
        """Bytes that every model takes and nobody foretold."""
        self.broken: set[str] = set()
        """Models that cannot be loaded, for a reason of their own."""
        self.deadly: set[str] = set()
        """Models that no worker survives opening."""
        self.gone: set[str] = set()
        """Models whose files cannot be opened any more."""
        self.failing: Exception | None = None
        """What comes of starting a worker, or of making one if it is an ``OSError``."""
        self.lives: list[Simulated] = []

    @property
    def worker(self) -> Simulated:
        return self.lives[-1]

    def size(self, model: str, layers: int) -> int:
        return self.base[model] + layers * self.layer[model]


class Simulated:
    """Stands in for ``runtime.process.Worker``; reports and beats come when it is told to."""

    def __init__(self, device: Device, config: DeviceConfig, shares: Shares, graphs: bool) -> None:
        self.device, self.shares, self.graphs, self.pid = device, shares, graphs, 0
        self.hello: wire.Hello | None = None
        self.beat: wire.Beat | None = None
        self.sent: list[wire.Command] = []
        self.closed = False
        self.loaded: dict[str, int] = {}
        self.running: dict[str, set[int]] = {}
        self.stored: dict[str, tuple[int, int]] = {}
        self.moving: list[wire.Report] | None = None  # while a list, moves are not complete before ``arrive``
        self.asked: list[wire.Predict] | None = None  # while a list, questions are not answered before ``answer``
        self.stuck = False  # while set, nothing can be unloaded
        self.held = asyncio.Event()  # while clear, what is loaded does not arrive
        self.held.set()
        self._reports: asyncio.Queue[wire.Report | Exception] = asyncio.Queue()
        device.lives.append(self)

    @property
    def free(self) -> int:
        return max(0, TOTAL - (0 if self.device.silent else self.device.foreign) - sum(self.loaded.values()))

    async def start(self) -> wire.Hello:
        if self.device.failing:
            raise self.device.failing
        self.hello = wire.Hello("SIM0", "simulated", TOTAL, self.free, 1, "none", True)
        return self.hello

    async def receive(self) -> wire.Report:
        report = await self._reports.get()
        if isinstance(report, Exception):
            raise report
        if isinstance(report, wire.Beat):
            self.beat = report
        await self.held.wait()
        return report

    async def close(self) -> None:
        self.closed = True

    def die(self, error: Exception | None = None) -> None:
        self.running.clear()
        self._reports.put_nowait(error or WorkerLost("it was told to die"))

    def tick(self, count: int = 1) -> None:
        """Beat."""
        for _ in range(count):
            ours = sum(self.loaded.values())
            self.say(wire.Beat(0.0, "", 0, 0, ours, 0, free=self.free, stored=dict(self.stored)))

    def arrive(self) -> None:
        """All moves under way are complete."""
        arrived, self.moving = self.moving, None
        for report in arrived or ():
            self.say(report)

    def answer(self) -> None:
        """All questions are answered."""
        asked, self.asked = self.asked, None
        for command in asked or ():
            self._predict(command)

    def say(self, report: wire.Report) -> None:
        if self.moving is not None and isinstance(report, wire.Loaded | wire.Unloaded):
            self.moving.append(report)
            return
        self._reports.put_nowait(report)

    def send(self, command: wire.Command) -> None:
        self.sent.append(command)
        match command:
            case wire.Open(model) if model in self.device.deadly:
                self.die()
            case wire.Open(model) if model in self.device.gone:
                self.say(wire.Failed("Open", "no such file", model))
            case wire.Open(model):
                self.say(wire.Opened(model, 31, 2048, 0, 0.0))
            case wire.Predict() if self.asked is not None:
                self.asked.append(command)
            case wire.Predict():
                self._predict(command)
            case wire.Load(model, placement) | wire.Resize(model, placement):
                self._place(type(command).__name__, model, placement)
            case wire.Unload(model) if self.stuck:
                self.say(wire.Failed("Unload", "MemoryError: no room for a state", model))
            case wire.Unload(model):
                for sequence in sorted(self.running.pop(model, ())):
                    self.say(wire.Suspended(sequence, 100, 0.1))
                self.say(wire.Unloaded(model, self.loaded.pop(model, 0), 0.1))
            case wire.Start(sequence, model):
                self.running.setdefault(model, set()).add(sequence)
            case wire.Resume(sequence):
                self.say(wire.Resumed(sequence, 100, 0.2, "disk"))
                self.running.setdefault(self._model(sequence), set()).add(sequence)
            case wire.Suspend(sequence):
                self.running[self._model(sequence)].discard(sequence)
                self.say(wire.Suspended(sequence, 100, 0.1, "pinned"))
            case wire.Cancel(sequence):
                self._end(sequence, "cancelled")

    def finish(self) -> None:
        """End all that runs."""
        for sequence in [s for ids in self.running.values() for s in ids]:
            self._end(sequence, "stop")

    def _end(self, sequence: int, reason: Any) -> None:
        for ids in self.running.values():
            ids.discard(sequence)
        self.say(wire.Ended(sequence, reason))

    def _model(self, sequence: int) -> str:
        starts = [c for life in self.device.lives for c in life.sent if isinstance(c, wire.Start)]
        return next(c.model for c in starts if c.sequence == sequence)

    def _predict(self, asked: wire.Predict) -> None:
        sizes = {layers: self.device.size(asked.model, layers) for layers in range(32)}
        fitting = [n for n in sizes if sizes[n] <= asked.budget] if asked.layers is None else [asked.layers]
        if not any(isinstance(c, wire.Open) and c.model == asked.model for c in self.sent):
            self.say(wire.Failed("Predict", f"model {asked.model} is not open here", asked.model))
            return
        if asked.model in self.device.gone:
            self.say(wire.Failed("Predict", "no such file", asked.model))
            return
        if not fitting:
            self.say(wire.Failed("Predict", "not even with no layer", asked.model))
            return
        layers, cached = max(fitting), asked.cached
        size = sizes[layers] + (0 if cached is None else (cached - layers) * MB)
        place = Placement(layers, asked.context, asked.slots, Footprint(size), Footprint(), asked.experts, cached)
        self.say(wire.Predicted(asked.model, place))

    def _place(self, command: str, model: str, placement: Placement) -> None:
        if model in self.device.broken:
            self.say(wire.Failed(command, "bad luck", model))
            return
        cached = placement.layers if placement.cached is None else placement.cached
        # whatever was foretold of it
        size = self.device.size(model, placement.layers) + (cached - placement.layers) * MB + self.device.surplus
        others = sum(self.loaded.values()) - self.loaded.get(model, 0)
        if size + others + self.device.foreign > TOTAL:
            self.say(wire.Failed(command, "out of memory", model, memory=True))
            return
        self.loaded[model] = size
        self.say(wire.Loaded(model, placement, Footprint(size), size, 0.1, {"promote": 0.1}, size + MB, pinned=True))


@contextmanager
def simulated(monkeypatch: pytest.MonkeyPatch) -> Iterator[Device]:
    """Every worker is simulated meanwhile."""
    device = Device()

    def make(config: DeviceConfig, shares: Shares, _: Path, __: float, graphs: bool) -> Simulated:
        if isinstance(device.failing, OSError):
            raise device.failing
        return Simulated(device, config, shares, graphs)

    monkeypatch.setattr(driver, "Worker", make)
    yield device


def serve(
    smollm2: Path, gemma3: Path, device: Device, test: Callable[[Runtime, Device], Awaitable[None]], **changes: Any
) -> None:
    """Test a runtime whose workers are simulated."""

    async def body() -> None:
        config = settings(smollm2, gemma3, **{"device": "auto", "budget": BUDGET, **changes})
        async with Runtime(config) as runtime:
            await test(runtime, device)

    asyncio.run(asyncio.wait_for(body(), 60))


def shown(runtime: Runtime) -> dict[str, Any]:
    """The device as ``/api/state`` shows it."""
    found: dict[str, Any] = runtime.state()["devices"][0]
    return found
