"""What a runtime foretells beside what it then measures: on real models, and on a device that lies about its speed."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hotbunk.costs.dissect import dissect
from hotbunk.costs.fingerprint import content
from hotbunk.costs.learning import HALF_LIFE, Learner
from hotbunk.costs.record import Kind, Record
from hotbunk.costs.store import Store
from hotbunk.errors import EngineError
from hotbunk.llama.gguf import read
from hotbunk.measure.machine import machine
from hotbunk.placement import Placement
from hotbunk.runtime import Generation, Runtime, knowledge
from hotbunk.worker import protocol as wire
from tests.costs.test_model import MACHINE
from tests.runtime.rig import finish, job, model, run, running, settings, until
from tests.runtime.simulated import MB, TOTAL, Device, simulated

SIMULATED = machine(wire.Hello("SIM0", "simulated", TOTAL, TOTAL, 1, "none", True))


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Iterator[Device]:
    with simulated(monkeypatch) as made:
        yield made


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "costs.sqlite"


def kinds(runtime: Runtime, name: str = "small") -> dict[str, Any]:
    found: dict[str, Any] = model(runtime, name)["costs"]["kinds"]
    return found


def test_predictions_stand_beside_what_was_measured(smollm2: Path, gemma3: Path, spare_device: str, file: Path) -> None:
    async def test() -> None:
        config = settings(smollm2, gemma3, device=spare_device, measure=True, store=file, policy="timeslice")
        async with running(config) as runtime:  # a machine that nobody has measured yet
            before = model(runtime, "small")
            assert {kind["source"] for kind in before["costs"]["kinds"].values()} == {"roofline"}
            while not kinds(runtime)["kv_in"]["points"]:
                await asyncio.gather(*(finish(runtime.submit(job(name, 100))) for name in ("small", "large")))
            while not kinds(runtime)["decode"]["points"]:
                await finish(runtime.submit(job("small", 200)))
            for name in ("decode", "prefill", "load", "context", "unload", "kv_out", "kv_in"):
                told = kinds(runtime)[name]
                assert told["source"] == "learned"
                assert told["points"] >= 1
                assert 0 < told["low"] < told["predicted"] < told["high"]
                assert told["measured"] > 0
                assert told["measured_sum"] >= told["measured"]
        with Store(file) as store:
            assert not store.known()  # what is learnt beside neighbours is no profile
        again = config.model_copy(update={"measure": False})
        async with Runtime(again) as runtime:
            assert model(runtime, "small")["load_seconds_bound"] == before["load_seconds_bound"]
            assert model(runtime, "small")["costs"]["problem"] is None

    run(test)


# ---------------------------------------------------------------- a device that is told how fast it is


Test = Callable[[Runtime, Device], Awaitable[None]]


def profiled(file: Path, smollm2: Path, seconds: float) -> None:
    """The store says that a prompt of 100 tokens takes so long."""
    facts = read(smollm2)
    place = Placement(31, 512, 8)
    with Store(file) as store:
        store.keep_roofline(SIMULATED, MACHINE)
        for _ in range(10 if seconds else 0):
            record = Record(Kind.PREFILL, place, seconds, tokens=100)
            store.add(SIMULATED, content(facts.files), "small", dissect(facts, "small"), record)


def serve(smollm2: Path, gemma3: Path, device: Device, file: Path | None, test: Test, **changes: Any) -> None:
    async def body() -> None:
        config = settings(smollm2, gemma3, **{"device": "auto", "budget": TOTAL, "store": file, **changes})
        async with Runtime(config) as runtime:
            await test(runtime, device)

    asyncio.run(asyncio.wait_for(body(), 60))


class Speaker:
    """Has a running request, and the worker say how long its evaluations take."""

    def __init__(self, runtime: Runtime, device: Device) -> None:
        self.runtime, self.device = runtime, device
        self.generation: Generation = runtime.submit(job("small", 5))

    async def say(self, seconds: float, times: int, prefilled: int = 100) -> None:
        await until(lambda: any(s["state"] == "running" for s in self.runtime.state()["sequences"]))
        for _ in range(times):
            token = wire.Token(self.runtime.state()["sequences"][0]["sequence"], 1)
            self.device.worker.say(wire.Produced("small", [token], seconds, prefilled))
        before = self.device.worker.beat
        self.device.worker.tick()
        await until(lambda: self.device.worker.beat is not before)  # what was said earlier has been heard

    def drift(self) -> Any:
        return kinds(self.runtime)["prefill"]["drift"]


def test_a_slowdown_is_reported_and_its_end(
    smollm2: Path, gemma3: Path, device: Device, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def test(runtime: Runtime, device: Device) -> None:
        speaker = Speaker(runtime, device)
        assert kinds(runtime)["prefill"]["source"] == "profile"
        assert kinds(runtime, "large")["prefill"]["source"] == "roofline"
        await speaker.say(0.1, 30)
        assert kinds(runtime)["prefill"]["predicted"] == pytest.approx(0.1, rel=0.05)
        assert speaker.drift() is None
        await speaker.say(0.2, 8)
        assert speaker.drift()["factor"] == pytest.approx(2, rel=0.05)
        assert (speaker.drift()["points"], speaker.drift()["against"]) == (8, "profile")
        await speaker.say(0.1, 8)
        assert speaker.drift() is None
        device.worker.finish()

    caplog.set_level(logging.INFO)
    profiled(file, smollm2, 0.1)
    serve(smollm2, gemma3, device, file, test)
    said = [record for record in caplog.records if "prefill of small" in record.message]
    assert [record.levelname for record in said] == ["WARNING", "INFO"]
    assert "takes 2 times what was measured on this machine; is somebody else using the device" in said[0].message
    assert said[1].message.endswith("takes what it should again")


def test_a_model_never_profiled_is_held_against_its_beginning(
    smollm2: Path, gemma3: Path, device: Device, file: Path
) -> None:
    async def test(runtime: Runtime, device: Device) -> None:
        speaker = Speaker(runtime, device)
        await speaker.say(0.1, int(HALF_LIFE) + 5)
        told = kinds(runtime)["prefill"]
        assert (told["source"], told["drift"]) == ("learned", None)
        assert told["predicted"] == pytest.approx(0.1, rel=0.1)
        await speaker.say(0.2, 8)
        assert speaker.drift()["against"] == "first"
        device.worker.finish()

    profiled(file, smollm2, 0)
    serve(smollm2, gemma3, device, file, test)


def test_the_scheduler_reckons_with_what_is_learnt(smollm2: Path, gemma3: Path, device: Device, file: Path) -> None:
    async def test(runtime: Runtime, device: Device) -> None:
        before = model(runtime, "small")["pace"]["token"]
        await Speaker(runtime, device).say(0.2, 40)
        assert model(runtime, "small")["pace"]["token"] == pytest.approx(2 * before, rel=0.1)
        device.worker.finish()

    profiled(file, smollm2, 0.1)
    serve(smollm2, gemma3, device, file, test)


def test_only_a_policy_that_splits_is_offered_smaller_placements(
    smollm2: Path, gemma3: Path, device: Device, file: Path
) -> None:
    def layers(runtime: Runtime) -> list[int]:
        return [offer["layers"] for offer in model(runtime, "small")["offers"]]

    async def split(runtime: Runtime, device: Device) -> None:
        await until(lambda: len(layers(runtime)) > 3)
        assert layers(runtime) == sorted(layers(runtime), reverse=True)
        assert layers(runtime)[-1] == 0
        sizes = [offer["device"]["total"] for offer in model(runtime, "small")["offers"]]
        assert sizes == [device.size("small", count) for count in layers(runtime)]
        device.foreign = TOTAL - 200 * MB  # what is left holds no more than some of its layers
        device.worker.tick(2)
        await until(lambda: layers(runtime)[0] < 18)
        assert layers(runtime) == sorted(set(layers(runtime)), reverse=True)
        device.foreign = 0

    async def whole(runtime: Runtime, device: Device) -> None:
        await runtime.load("small", None)
        assert layers(runtime) == [31]

    profiled(file, smollm2, 0)
    serve(smollm2, gemma3, device, file, split, policy="priced")
    serve(smollm2, gemma3, device, file, whole, policy="fifo")


def test_steps_are_told_by_how_much_is_behind_them(smollm2: Path, gemma3: Path, device: Device, file: Path) -> None:
    heard: list[Record] = []
    hear = Learner.hear

    def hear_too(self: Learner, record: Record, at: float) -> None:
        heard.append(record)
        hear(self, record, at)

    async def test(runtime: Runtime, device: Device) -> None:
        speaker = Speaker(runtime, device)
        await speaker.say(0.1, 1, prefilled=4)
        await speaker.say(2.0, 3, prefilled=0)  # each is a measurement by itself
        assert kinds(runtime)["decode"]["points"] == 3
        device.worker.finish()

    profiled(file, smollm2, 0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Learner, "hear", hear_too)
        serve(smollm2, gemma3, device, file, test)
    steps = [(r.sequences, r.tokens) for r in heard if r.kind is Kind.DECODE]
    assert steps == [(1, 4), (1, 5), (1, 6)]  # a prompt of four, and what was drawn since


# ---------------------------------------------------------------- what is known at the start


async def nothing(runtime: Runtime, device: Device) -> None:
    pass


def test_a_machine_is_measured_once(
    smollm2: Path, gemma3: Path, device: Device, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, int, int]] = []

    def roofline(name: str, threads: int, quick: bool) -> Any:
        asked.append((name, threads, len(device.lives)))
        return MACHINE

    monkeypatch.setattr(knowledge, "roofline", roofline)
    serve(smollm2, gemma3, device, file, nothing, measure=True)
    assert (asked, len(device.lives)) == ([("auto", 1, 1)], 2)  # between two workers
    with Store(file) as store:
        assert store.roofline(SIMULATED) == MACHINE
    serve(smollm2, gemma3, device, file, nothing, measure=True)
    assert (len(asked), len(device.lives)) == (1, 3)


def test_what_cannot_be_measured_is_served_all_the_same(
    smollm2: Path, gemma3: Path, device: Device, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def roofline(name: str, threads: int, quick: bool) -> Any:
        raise EngineError("the speed of auto could not be measured: no room")

    async def test(runtime: Runtime, device: Device) -> None:
        assert model(runtime, "small")["costs"] == {
            "problem": "the speed of auto could not be measured: no room",
            "kinds": {},
        }
        speaker = Speaker(runtime, device)
        await speaker.say(0.1, 1)
        device.worker.finish()

    monkeypatch.setattr(knowledge, "roofline", roofline)
    serve(smollm2, gemma3, device, file, test, measure=True)


def test_without_leave_nothing_is_measured_nor_written(smollm2: Path, gemma3: Path, device: Device, file: Path) -> None:
    async def test(runtime: Runtime, device: Device) -> None:
        assert "--measure" in model(runtime, "small")["costs"]["problem"]

    serve(smollm2, gemma3, device, file, test)
    assert not file.exists()


def test_a_store_that_cannot_be_used_is_warned_of(
    smollm2: Path, gemma3: Path, device: Device, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file.write_text("no database " * 100)
    serve(smollm2, gemma3, device, file, nothing)
    assert f"the store {file} cannot be used" in caplog.text
