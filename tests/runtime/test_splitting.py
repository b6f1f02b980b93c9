"""Two models on a device that holds one of them, where a switch is said to be dear: neither leaves for the other."""

from dataclasses import replace
from pathlib import Path

from hotbunk.costs.store import Store
from hotbunk.measure.machine import machine
from hotbunk.measure.wire import worker
from tests.costs.test_model import MACHINE
from tests.runtime.rig import finish, job, model, run, running, settings, some, until

SLOW = replace(MACHINE, h2d_pinned=None, d2h_pinned=None, h2d_pageable=2e7, d2h_pageable=2e7, pin=None, streams=False)


def test_a_newcomer_stands_beside_the_busy_with_fewer_layers(
    smollm2: Path, gemma3: Path, spare_device: str, tmp_path: Path
) -> None:
    file = tmp_path / "costs.sqlite"
    with worker(spare_device, 1) as wire, Store(file) as store:
        store.keep_roofline(machine(wire.hello), SLOW)
    slo = {"ttft": "60s", "tpot": "10s"}

    async def test() -> None:
        async with running(settings(smollm2, gemma3, device=spare_device, store=file, slo=slo)) as runtime:
            await until(lambda: len(model(runtime, "large")["offers"]) > 1)
            endless = runtime.submit(job("small", 500))
            await some(aiter(endless), 1)
            assert len(await finish(runtime.submit(job("large", 5)))) == 5
            large = model(runtime, "large")
            assert large["state"] == model(runtime, "small")["state"] == "ready"
            assert large["layers"] < large["layers_total"]
            assert endless.timings.preemptions == 0
            endless.cancel()

    run(test)
