"""What becomes of a device's models and requests when its worker is lost, and when no other can be had at once."""

import asyncio
from collections import Counter
from functools import partial
from pathlib import Path

import pytest

from hotbunk.errors import ConfigError, EngineError, UnusableModel
from hotbunk.gateway.metrics import Metrics
from hotbunk.runtime import Runtime, supervisor
from hotbunk.runtime.driver import Driver
from hotbunk.runtime.process import DeviceFailed, WorkerLost
from hotbunk.worker import protocol as wire
from tests.runtime.rig import finish, job, model, refusal, until
from tests.runtime.simulated import BUDGET, MB, TOTAL, Device, serve, shown

TWO = [{"name": "rpc:one:1", "budget": BUDGET}, {"name": "rpc:two:2", "budget": BUDGET}]


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next worker is started without a pause."""
    monkeypatch.setattr(supervisor, "SLOWEST", 0.0)


def replaced(runtime: Runtime, count: int) -> bool:
    """Whether so many workers have been replaced, and the last is up."""
    return bool(shown(runtime)["restarts"] == count and shown(runtime)["up"])


@pytest.mark.parametrize(
    ("how", "said", "restarts"),
    [
        ("gone", "a new worker could not open it: no such file", 1),
        ("deadly", "3 workers were lost while they opened its file; to try again, load it by hand", 4),
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


class Once(set[str]):
    """Models of which each that is looked for is found once."""

    def __contains__(self, model: object) -> bool:
        there = super().__contains__(model)
        self.discard(str(model))
        return there


def test_workers_that_are_lost_over_a_file_now_and_then_do_not_condemn_it(
    smollm2: Path, gemma3: Path, device: Device
) -> None:
    device.deadly = Once()

    async def test(runtime: Runtime, device: Device) -> None:
        for times in range(1, 6):
            device.deadly.add("large")
            device.worker.die()
            await until(partial(replaced, runtime, 2 * times))
        assert model(runtime, "large")["problem"] is None

    serve(smollm2, gemma3, device, test)


@pytest.mark.parametrize("how", ["gone", "deadly"])
def test_a_model_that_was_given_up_is_served_again_once_it_is_loaded_by_hand(
    smollm2: Path, gemma3: Path, device: Device, how: str
) -> None:
    async def test(runtime: Runtime, device: Device) -> None:
        getattr(device, how).add("large")
        device.worker.die()
        await until(lambda: bool(model(runtime, "large")["problem"] and shown(runtime)["up"]))
        with pytest.raises(UnusableModel, match="to try again, load it by hand"):
            runtime.submit(job("large", 5))
        if how == "gone":
            error = await refusal(runtime.load("large", None))
            assert isinstance(error, UnusableModel)
            assert str(error) == "large still cannot be served: no such file"
        getattr(device, how).clear()
        assert (await runtime.load("large", None))["state"] == "ready"
        answer = asyncio.create_task(finish(runtime.submit(job("large", 5))))
        await until(lambda: bool(device.worker.running.get("large")))
        device.worker.finish()
        await answer

    serve(smollm2, gemma3, device, test)


def test_a_model_is_revived_once_however_many_ask(smollm2: Path, gemma3: Path, device: Device) -> None:
    async def test(runtime: Runtime, device: Device) -> None:
        device.gone.add("large")
        device.worker.die()
        await until(lambda: bool(model(runtime, "large")["problem"] and shown(runtime)["up"]))
        device.gone.clear()
        states = await asyncio.gather(*(runtime.load("large", None) for _ in range(3)))
        assert {state["state"] for state in states} == {"ready"}
        opened = [command for command in device.worker.sent if isinstance(command, wire.Open)]
        assert [command.model for command in opened].count("large") == 2  # as the worker began, and now
        assert model(runtime, "large")["load_seconds_bound"] < 60

    serve(smollm2, gemma3, device, test)


def test_a_model_that_is_revived_while_memory_is_short_gets_the_rest_later(
    smollm2: Path, gemma3: Path, device: Device
) -> None:
    async def test(runtime: Runtime, device: Device) -> None:
        device.gone.add("large")
        device.worker.die()
        await until(lambda: bool(model(runtime, "large")["problem"] and shown(runtime)["up"]))
        device.gone.clear()
        device.foreign = TOTAL - 200 * MB
        device.worker.tick(4)
        await until(lambda: shown(runtime)["budget"] < 200 * MB)
        assert 0 < (await runtime.load("large", None))["layers"] < 31
        await runtime.unload("large")
        device.foreign = 0
        device.worker.tick(10)
        await until(lambda: shown(runtime)["budget"] == BUDGET)
        await until(lambda: model(runtime, "large")["offers"][0]["layers"] == 31)

    serve(smollm2, gemma3, device, test)


def test_nobody_goes_on_with_another_file_than_before(
    smollm2: Path, gemma3: Path, device: Device, tmp_path: Path
) -> None:
    file = tmp_path / "small.gguf"
    file.symlink_to(smollm2)

    async def test(runtime: Runtime, device: Device) -> None:
        begun = asyncio.create_task(refusal(finish(runtime.submit(job("small", 5)))))
        await until(lambda: bool(device.worker.running.get("small")))
        file.unlink()
        file.symlink_to(gemma3)
        device.worker.die()
        assert str(await begun) == "small.gguf is another file by now; restart hotbunk to serve it"
        assert "is another file by now" in str(await refusal(runtime.load("small", None)))

    serve(file, gemma3, device, test)


@pytest.mark.parametrize(
    "error", [BlockingIOError("out of processes"), WorkerLost("it died"), ConfigError("no device")]
)
def test_a_worker_is_had_as_soon_as_the_system_allows(
    smollm2: Path, gemma3: Path, device: Device, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    async def test(runtime: Runtime, device: Device) -> None:
        answer = asyncio.create_task(finish(runtime.submit(job("small", 5))))
        await until(lambda: bool(device.worker.running.get("small")))
        device.failing = error
        device.worker.die()
        await until(lambda: len(caplog.records) > 1100)  # a pause that doubles each time is no number any more
        assert f"no new worker yet: {error}" in caplog.messages
        assert not shown(runtime)["up"]
        device.failing = None
        await until(lambda: bool(device.worker.running.get("small")))
        device.worker.finish()
        await answer

    serve(smollm2, gemma3, device, test)


def test_without_a_worker_nobody_new_waits_beyond_the_bound_and_who_has_begun_goes_on(
    smollm2: Path, gemma3: Path, device: Device
) -> None:
    async def test(runtime: Runtime, device: Device) -> None:
        begun = asyncio.create_task(finish(runtime.submit(job("small", 5))))
        await until(lambda: bool(device.worker.running.get("small")))
        device.failing = OSError("out of memory")
        device.worker.die()
        await until(lambda: not shown(runtime)["up"])
        error = await refusal(finish(runtime.submit(job("small", 5))))
        assert str(error) == "no worker of auto has come up for it within 0.3 s: out of memory; ask again later"
        device.failing = None
        await until(lambda: bool(device.worker.running.get("small")))
        device.worker.finish()
        await begun

    serve(smollm2, gemma3, device, test, max_wait=0.3, quantum=0.1)


def test_an_end_in_the_midst_of_a_replacement_is_one(smollm2: Path, gemma3: Path, device: Device) -> None:
    async def test(runtime: Runtime, device: Device) -> None:
        device.failing = OSError("out of memory")
        device.worker.die()
        await until(lambda: not shown(runtime)["up"])

    serve(smollm2, gemma3, device, test)
    assert all(life.closed for life in device.lives)


def test_what_ended_supervision_does_not_end_the_end(
    smollm2: Path, gemma3: Path, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = []

    def fail(_: Driver) -> None:
        failed.append(1)
        raise OSError("a bug")

    monkeypatch.setattr(Driver, "_lose", fail)

    async def test(runtime: Runtime, device: Device) -> None:
        device.lives[0].die()
        await until(lambda: bool(failed))

    serve(smollm2, gemma3, device, test, budget=None, devices=TWO)
    assert all(life.closed for life in device.lives)


def test_a_worker_that_cannot_be_understood_is_replaced(
    smollm2: Path, gemma3: Path, device: Device, caplog: pytest.LogCaptureFixture
) -> None:
    async def test(runtime: Runtime, device: Device) -> None:
        answer = asyncio.create_task(finish(runtime.submit(job("small", 5))))
        await until(lambda: bool(device.worker.running.get("small")))
        device.lives[0].die(ValueError("no report"))
        await until(lambda: len(device.lives) > 1 and bool(device.worker.running.get("small")))
        told = next(r for r in caplog.records if r.getMessage() == "no report; starting another")
        assert told.exc_info  # it is a bug, unlike a death
        device.worker.finish()
        await answer

    serve(smollm2, gemma3, device, test)


def test_after_a_failure_of_its_gpu_a_worker_does_without_cuda_graphs(
    smollm2: Path, gemma3: Path, device: Device, caplog: pytest.LogCaptureFixture
) -> None:
    async def test(runtime: Runtime, device: Device) -> None:
        for count, error in enumerate([None, DeviceFailed("an illegal instruction"), None], 1):
            device.worker.die(error)
            await until(partial(replaced, runtime, count))
        assert [life.graphs for life in device.lives] == [True, True, False, False]
        assert "an illegal instruction; starting another without CUDA graphs" in caplog.messages
        assert not shown(runtime)["graphs"]

    serve(smollm2, gemma3, device, test)


def test_a_worker_that_cannot_unload_a_model_is_replaced(smollm2: Path, gemma3: Path, device: Device) -> None:
    async def test(runtime: Runtime, device: Device) -> None:
        await runtime.load("small", None)
        device.lives[0].stuck = True
        assert (await runtime.unload("small"))["state"] == "absent"
        answer = asyncio.create_task(finish(runtime.submit(job("small", 5))))
        await until(lambda: len(device.lives) > 1 and bool(device.worker.running.get("small")))
        device.worker.finish()
        await answer

    serve(smollm2, gemma3, device, test)


def test_nobody_asks_a_new_worker_before_the_files_are_open_there(smollm2: Path, gemma3: Path, device: Device) -> None:
    async def test(runtime: Runtime, device: Device) -> None:
        device.failing = OSError("out of memory")
        device.worker.die()
        await until(lambda: not shown(runtime)["up"])
        loading = asyncio.create_task(runtime.load("small", 10))
        await asyncio.sleep(0)  # it asks what 10 layers take, and waits
        device.failing = None
        assert (await loading)["layers"] == 10

    serve(smollm2, gemma3, device, test)


def test_devices_are_told_apart_by_their_names(smollm2: Path, gemma3: Path, device: Device) -> None:
    async def test(runtime: Runtime, device: Device) -> None:
        assert [d["name"] for d in runtime.state()["devices"]] == ["rpc:one:1", "rpc:two:2"]
        assert {m["device"] for m in runtime.state()["models"]} == {"rpc:one:1", "rpc:two:2"}
        samples = [line.rsplit(" ", 1)[0] for line in Metrics(runtime.state).render().decode().splitlines()]
        assert 'hotbunk_device_computing_seconds_total{device="rpc:two:2"}' in samples
        assert all(count == 1 for sample, count in Counter(samples).items() if not sample.startswith("#"))

    serve(smollm2, gemma3, device, test, budget=None, devices=TWO)
