"""What moves that were measured say of the bounds on those to come."""

from pathlib import Path

from hotbunk.runtime import Runtime
from tests.runtime.rig import finish, job, model, until
from tests.runtime.simulated import Device, serve


def test_bounds_follow_whole_loads_from_nothing_and_unloads_that_suspended_somebody(
    smollm2: Path, gemma3: Path, device: Device
) -> None:
    def bounds(runtime: Runtime) -> tuple[float, float]:
        told = model(runtime, "small")
        return told["load_seconds_bound"], told["leave_seconds_bound"]

    async def test(runtime: Runtime, device: Device) -> None:
        load, leave = bounds(runtime)
        await runtime.load("small", 10)
        await runtime.load("small", 31)  # all of it, but not from nothing
        assert bounds(runtime) == (load, leave)
        await runtime.unload("small")  # idle
        assert bounds(runtime) == (load, leave)
        await runtime.load("small", 31)
        found, same = bounds(runtime)
        assert (found < load, same) == (True, leave)
        generation = runtime.submit(job("small", 5))
        await until(lambda: bool(device.worker.running.get("small")))
        await runtime.unload("small")
        assert bounds(runtime)[1] < leave
        await until(lambda: bool(device.worker.running.get("small")))  # it waits still, so its model is loaded again
        device.worker.finish()
        await finish(generation)

    serve(smollm2, gemma3, device, test)
