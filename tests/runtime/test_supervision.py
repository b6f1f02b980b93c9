"""What becomes of a device's models and requests when its worker is lost, and when no other can be had at once."""

import asyncio
from pathlib import Path

import pytest

from hotbunk.errors import EngineError
from hotbunk.runtime import Runtime, supervisor
from tests.runtime.rig import finish, job, model, refusal, until
from tests.runtime.simulated import Device, serve, shown


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next worker is started without a pause."""
    monkeypatch.setattr(supervisor, "SLOWEST", 0.0)


@pytest.mark.parametrize(
    ("how", "said", "restarts"),
    [
        ("gone", "a new worker could not open it: no such file", 1),
        ("deadly", "could not be loaded 3 times: the worker was lost while it opened the file", 4),
    ],
)
def test_a_model_that_cannot_be_opened_again_leaves_the_others(
    smollm2: Path, gemma3: Path, device: Device, how: str, said: str, restarts: int
) -> None:
    async def test(runtime: Runtime, device: Device) -> None:
        lost = asyncio.create_task(refusal(finish(runtime.submit(job("large", 5)))))
        kept = asyncio.create_task(finish(runtime.submit(job("small", 5))))
        await until(lambda: all(s["state"] == "running" for s in runtime.state()["sequences"]))
        getattr(device, how).add("large")
        device.worker.die()
        error = await lost
        assert isinstance(error, EngineError)
        assert said in str(error)
        assert model(runtime, "large")["problem"] == str(error)
        await until(lambda: bool(device.worker.running.get("small")))
        device.worker.finish()
        await kept
        assert shown(runtime)["restarts"] == restarts

    serve(smollm2, gemma3, device, test)
