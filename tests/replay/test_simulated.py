"""The simulator beside the real thing: small replays on this machine's CPU and over RPC, simulated from quick profiles.

How far its times are from the truth is told (at the end of the tests' summary) and not judged: this machine may be busy
with anything. What must be the same is what became of the requests, and how often models came and went.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hotbunk.costs.dissect import dissect
from hotbunk.costs.fingerprint import content
from hotbunk.costs.store import Store
from hotbunk.gateway.server import serve
from hotbunk.llama.gguf import read
from hotbunk.measure.machine import machine, roofline
from hotbunk.measure.probes import Probes
from hotbunk.measure.wire import worker
from hotbunk.outcomes import Fate, Run
from hotbunk.outcomes.metrics import errors
from hotbunk.profile import Profiler
from hotbunk.replay.client import Endpoint
from hotbunk.replay.prompts import Prompts
from hotbunk.replay.replay import Replay
from hotbunk.replay.standing import measured, standing
from hotbunk.runtime import Runtime
from hotbunk.simulator.contest import Setting, Standing
from hotbunk.simulator.pace import Delays
from hotbunk.simulator.profile import Profile
from hotbunk.simulator.stored import stored
from hotbunk.traces import Request, Trace
from tests.runtime.rig import ONLY_ONE, run, settings

ASKED = [("small", 40, 30), ("large", 25, 12), ("small", 90, 6), ("large", 60, 20), ("small", 10, 25)]
TRACE = Trace.of(
    "in turn",
    [Request(0.05, *asked, after=row - 1 if row else None) for row, asked in enumerate(ASKED)]
    + [Request(0.05, "small", 20, 10, after=3)],
)
"""Each asks for the model that is not there, and the last two for the same: as many loads as answers but one."""
LOADS = len(ASKED)
SLOTS, CONTEXT = 2, 512
SECONDS, MEASURED = 6.0, 160
"""To profile each model, by a clock that ticks; and the longest context there: no request has a longer one."""


@pytest.fixture(params=["cpu", "rpc"])
def device(request: pytest.FixtureRequest) -> str:
    return "cpu" if request.param == "cpu" else str(request.getfixturevalue("spare_device"))


@pytest.mark.usefixtures("ticking")
def test_a_replay_and_its_simulation(
    device: str, smollm2: Path, gemma3: Path, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    models = {"small": smollm2, "large": gemma3}
    known = _profiled(device, models, tmp_path / "costs.sqlite")
    live, stands, delays = _replayed(device, models)
    own = {"latency": delays.latency, "hop": delays.hop, "turn": delays.turn, "draw": delays.draw}
    anatomies = {model: known.models[model].anatomy for model in models}
    profile = msgspec.structs.replace(known, **own)
    memory = ONLY_ONE, CONTEXT, SLOTS, 0.0
    setting = Setting(profile, anatomies, *memory, quantum=0.3, standing=stands, announced=True)
    simulated = setting.run("timeslice", TRACE)
    for made in (live, simulated):
        assert (made.outcomes.fate == Fate.DONE).all()
        assert made.outcomes.tokens.tolist() == TRACE.output.tolist()
        assert made.usage.loads == LOADS
        assert made.usage.unloads == LOADS - 1
        assert made.outcomes.preemptions.sum() == made.usage.suspends == 0
    assert {(s.model, s.layers, s.size) for s in live.stays} == {(s.model, s.layers, s.size) for s in simulated.stays}
    assert live.usage.busy > 0
    for name, error in errors(live, simulated).items():
        record_property(f"(simulated - live) / live: {name}", f"{error:+.0%}")


def _profiled(device: str, models: dict[str, Path], path: Path) -> Profile:
    """What ``hotbunk profile`` finds out in a few seconds."""
    line = roofline(device, 1, quick=True)  # before the worker: an RPC device serves one process at a time
    with worker(device, 1) as wire, Store(path) as store:
        here = machine(wire.hello)
        store.keep_roofline(here, line)
        for name, file in models.items():
            facts = read(file)
            probes = Probes(wire, name, facts)
            profiler = Profiler(probes, store, here, content(facts.files), dissect(facts, name), line)
            profiler.run(SECONDS, MEASURED, SLOTS, ONLY_ONE, resident=True)
            probes.leave()
        return stored(store)


def _replayed(device: str, models: dict[str, Path]) -> tuple[Run, dict[str, Standing], Delays]:
    found: list[Any] = []

    async def body() -> None:
        async with Runtime(settings(models["small"], models["large"], device=device, slots=SLOTS)) as runtime:
            address: asyncio.Future[str] = asyncio.get_running_loop().create_future()
            server = asyncio.create_task(serve(runtime, "127.0.0.1", 0, address.set_result))
            async with Endpoint(await address) as endpoint:
                delays = await measured(endpoint, "small", Prompts(), SLOTS, 4)
                for model in models:
                    await runtime.unload(model)
                stands = standing(runtime.state())
                replayed = await Replay(TRACE, endpoint, Prompts()).run(asyncio.Event())
            os.kill(os.getpid(), signal.SIGTERM)
            await server
        found.extend((replayed.run, stands, delays))

    run(body)
    live, stands, delays = found
    return live, stands, delays
