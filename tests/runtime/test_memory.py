"""What the driver of a device makes of memory that others take, that was not foretold, or that is not there."""

import asyncio
import logging
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from hotbunk.errors import EngineError, UnusableModel
from hotbunk.runtime import Runtime, memory, supervisor
from hotbunk.runtime.moves import STRIKES
from hotbunk.worker import protocol as wire
from tests.runtime.rig import finish, job, model, refusal, until
from tests.runtime.simulated import BASE, BUDGET, MB, TOTAL, Device, serve, shown


def ready(runtime: Runtime, name: str) -> bool:
    return bool(model(runtime, name)["state"] == "ready")


def moves(device: Device) -> list[tuple[str, str, int]]:
    return [
        (type(c).__name__, c.model, c.placement.layers)
        for life in device.lives
        for c in life.sent
        if isinstance(c, wire.Load | wire.Resize)
    ]


@asynccontextmanager
async def answering(runtime: Runtime, name: str) -> Any:
    """A request that runs until the worker is told to finish it."""
    generation = runtime.submit(job(name, 5))
    finishing = asyncio.create_task(finish(generation))
    await until(lambda: any(s["state"] == "running" for s in runtime.state()["sequences"]))
    yield generation
    await finishing


def test_the_budget_follows_what_others_take(smollm2: Path, gemma3: Path, device: Device) -> None:
    async def test(runtime: Runtime, device: Device) -> None:
        worker = device.worker
        async with answering(runtime, "small") as generation:
            worker.tick(3)
            await until(lambda: shown(runtime)["foreign"] == 0)
            assert (shown(runtime)["budget"], shown(runtime)["budget_configured"]) == (BUDGET, BUDGET)
            device.foreign = TOTAL - device.size("small", 31)  # all that we have left
            worker.tick(2)
            await until(lambda: model(runtime, "small")["planned"]["layers"] < 31)
            await until(lambda: ready(runtime, "small"))
            placed = model(runtime, "small")
            assert placed["device_bytes"] <= shown(runtime)["budget"] == device.size("small", 31) - 20 * MB
            worker.tick(2)
            await until(lambda: shown(runtime)["foreign"] == device.foreign)
            assert generation.timings.preemptions == 1
            device.foreign = 0
            worker.tick(8)
            await until(lambda: shown(runtime)["budget"] == BUDGET)
            await until(lambda: model(runtime, "small")["planned"]["layers"] == 31)
            assert model(runtime, "small")["layers"] == placed["layers"]  # while it runs, nothing is changed
            worker.finish()
        worker.tick(2)
        await until(lambda: model(runtime, "small")["layers"] == 31)
        assert [kind for kind, *_ in moves(device)] == ["Load", "Load", "Resize"]

    serve(smollm2, gemma3, device, test)


def test_what_falls_and_rises_by_little_is_no_change(smollm2: Path, gemma3: Path, device: Device) -> None:
    async def test(runtime: Runtime, device: Device) -> None:
        for foreign in (100 * MB, 105 * MB, 97 * MB, 104 * MB):
            device.foreign = foreign
            device.worker.tick(6)
            await until(lambda foreign=foreign: shown(runtime)["foreign"] == foreign)  # type: ignore[misc]
        budgets = [a for a in shown(runtime).items() if a[0] == "budget"]
        assert budgets == [("budget", 880 * MB)]

    serve(smollm2, gemma3, device, test)


def test_who_finds_no_room_waits_for_it(smollm2: Path, gemma3: Path, device: Device) -> None:
    async def test(runtime: Runtime, device: Device) -> None:
        device.foreign = TOTAL - BASE
        device.worker.tick(2)
        await until(lambda: model(runtime, "small")["short"] and model(runtime, "large")["short"])
        waiting = asyncio.create_task(finish(runtime.submit(job("small", 5))))
        device.foreign = 0
        device.worker.tick(5)
        await until(lambda: ready(runtime, "small"))
        assert not model(runtime, "small")["short"]
        await until(lambda: bool(device.worker.running.get("small")))
        device.worker.finish()
        await waiting

    serve(smollm2, gemma3, device, test)


def test_after_the_bound_on_waiting_it_is_told_why(smollm2: Path, gemma3: Path, device: Device) -> None:
    async def test(runtime: Runtime, device: Device) -> None:
        device.foreign = TOTAL - BASE
        device.worker.tick(2)
        await until(lambda: model(runtime, "small")["short"])
        answer = asyncio.create_task(refusal(finish(runtime.submit(job("small", 5)))))
        while not answer.done():
            device.worker.tick()
            await asyncio.sleep(0.01)
        assert isinstance(answer.result(), EngineError)
        assert "there is no room for small on the device" in str(answer.result())
        assert "others hold 980 MiB" in str(answer.result())

    serve(smollm2, gemma3, device, test, max_wait=0.5, quantum=0.1)


def test_what_the_worker_has_of_a_sequence_that_is_dropped_is_freed(
    smollm2: Path, gemma3: Path, device: Device
) -> None:
    async def test(runtime: Runtime, device: Device) -> None:
        suspended = asyncio.create_task(refusal(finish(runtime.submit(job("small", 5)))))
        await until(lambda: bool(device.worker.running.get("small")))
        device.foreign = TOTAL - BASE
        while not suspended.done():
            device.worker.tick()
            await asyncio.sleep(0.01)
        assert "there is no room for small" in str(suspended.result())
        assert [type(c).__name__ for c in device.worker.sent if hasattr(c, "sequence")] == [
            "Start",
            "Suspend",
            "Cancel",
        ]

    serve(smollm2, gemma3, device, test, max_wait=0.3, quantum=0.1)


def test_what_is_left_of_a_sequence_that_failed_is_freed_once(smollm2: Path, gemma3: Path, device: Device) -> None:
    async def test(runtime: Runtime, device: Device) -> None:
        failed = asyncio.create_task(refusal(finish(runtime.submit(job("small", 5)))))
        await until(lambda: bool(device.worker.running.get("small")))
        [sequence] = device.worker.running["small"]
        device.worker.say(wire.Failed("Start", "it cannot be evaluated", sequence=sequence))
        assert str(await failed) == "it cannot be evaluated"
        assert [c.sequence for c in device.worker.sent if isinstance(c, wire.Cancel)] == [sequence]

    serve(smollm2, gemma3, device, test)


def test_at_start_no_more_is_used_than_is_free(smollm2: Path, gemma3: Path, device: Device) -> None:
    device.foreign = TOTAL - 200 * MB

    async def test(runtime: Runtime, device: Device) -> None:
        assert shown(runtime)["budget"] == 196 * MB
        assert await runtime.load("small", None)
        assert model(runtime, "small")["device_bytes"] <= 196 * MB

    serve(smollm2, gemma3, device, test)


def test_a_worker_that_comes_back_finds_less(
    smollm2: Path, gemma3: Path, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "SLOWEST", 0.0)

    async def test(runtime: Runtime, device: Device) -> None:
        await runtime.load("small", None)
        device.foreign = TOTAL - 200 * MB
        device.worker.die()
        await until(lambda: shown(runtime)["restarts"] == 1 and shown(runtime)["up"])
        assert shown(runtime)["budget"] == 196 * MB
        await runtime.load("small", None)
        assert 0 < model(runtime, "small")["layers"] < 31

    serve(smollm2, gemma3, device, test)


def test_a_model_that_kills_its_worker_at_start_leaves_the_others(
    smollm2: Path, gemma3: Path, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "SLOWEST", 0.0)
    device.deadly = {"large"}

    async def test(runtime: Runtime, device: Device) -> None:
        assert "the worker died while it opened the file" in model(runtime, "large")["problem"]
        assert (await runtime.load("small", None))["state"] == "ready"
        assert shown(runtime)["restarts"] == 1

    serve(smollm2, gemma3, device, test)


def test_a_model_given_up_while_it_is_fitted_does_not_come_back(smollm2: Path, gemma3: Path, device: Device) -> None:
    async def test(runtime: Runtime, device: Device) -> None:
        worker, send = device.worker, device.worker.send

        def strike(command: wire.Command) -> None:
            if isinstance(command, wire.Predict) and command.model == "small":
                for _ in range(STRIKES):
                    worker.say(wire.Failed("Load", "it is damaged", "small"))
            send(command)

        worker.send = strike  # type: ignore[method-assign]
        device.foreign = TOTAL - 200 * MB
        worker.tick(2)
        await until(lambda: model(runtime, "large")["planned"]["layers"] < 31)  # it is fitted after the other
        assert model(runtime, "small")["state"] == "unusable"

    serve(smollm2, gemma3, device, test)


def test_a_load_without_memory_is_made_smaller(smollm2: Path, gemma3: Path, device: Device) -> None:
    device.silent, device.foreign = True, 700 * MB

    async def test(runtime: Runtime, device: Device) -> None:
        device.worker.tick(3)
        await until(lambda: shown(runtime)["foreign"] == 0)
        generation = runtime.submit(job("small", 5))
        beats = asyncio.create_task(beating(device))
        await until(lambda: ready(runtime, "small"))
        beats.cancel()
        tried = [layers for _, _, layers in moves(device)]
        assert tried == [31, 26]
        assert model(runtime, "small")["problem"] is None
        await until(lambda: bool(device.worker.running.get("small")))
        device.worker.finish()
        await finish(generation)

    serve(smollm2, gemma3, device, test)


async def beating(device: Device) -> None:
    while True:
        device.worker.tick()
        await asyncio.sleep(0.01)


def test_a_model_without_any_memory_is_tried_again_and_harms_nobody(
    smollm2: Path, gemma3: Path, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "BACKOFF", 0.01)
    device.base["small"], device.layer["small"], device.layer["large"] = 50 * MB, 2 * MB, 0
    device.silent = True

    async def test(runtime: Runtime, device: Device) -> None:
        device.foreign = TOTAL - 40 * MB
        waiting = runtime.submit(job("small", 5))
        await until(lambda: [layers for _, _, layers in moves(device)[-2:]] == [0, 0])
        other = asyncio.create_task(finish(runtime.submit(job("large", 5))))
        await until(lambda: bool(device.worker.running.get("large")))
        device.worker.finish()
        await other
        assert model(runtime, "small")["problem"] is None
        device.foreign = 0
        await until(lambda: bool(device.worker.running.get("small")))
        device.worker.finish()
        await finish(waiting)

    serve(smollm2, gemma3, device, test)


def test_a_model_is_tried_again_however_often_it_has_failed(
    smollm2: Path, gemma3: Path, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "BACKOFF", 0.0)
    device.silent = True

    async def test(runtime: Runtime, device: Device) -> None:
        device.foreign = TOTAL
        waiting = asyncio.create_task(finish(runtime.submit(job("small", 5))))
        await until(lambda: len(device.worker.sent) > 4400)  # a pause that doubles each time is no number any more
        device.foreign = 0
        await until(lambda: bool(device.worker.running.get("small")))
        device.worker.finish()
        await waiting

    serve(smollm2, gemma3, device, test)


def test_a_model_without_memory_whose_file_is_gone_harms_nobody(smollm2: Path, gemma3: Path, device: Device) -> None:
    device.silent = True

    async def test(runtime: Runtime, device: Device) -> None:
        device.foreign, device.gone = TOTAL - 200 * MB, {"small"}
        assert isinstance(await refusal(runtime.load("small", None)), UnusableModel)
        beats = asyncio.create_task(beating(device))
        await until(lambda: model(runtime, "small")["short"])
        generation = runtime.submit(job("large", 5))
        await until(lambda: bool(device.worker.running.get("large")))
        beats.cancel()
        device.worker.finish()
        await finish(generation)

    serve(smollm2, gemma3, device, test)


def test_a_resize_without_memory_ends_in_something_smaller(smollm2: Path, gemma3: Path, device: Device) -> None:
    device.silent = True

    async def test(runtime: Runtime, device: Device) -> None:
        await runtime.load("small", 10)
        async with answering(runtime, "small") as generation:
            device.foreign = 800 * MB
            assert isinstance(await refusal(runtime.load("small", 20)), UnusableModel)
            await until(lambda: ready(runtime, "small"))
            assert 0 < model(runtime, "small")["layers"] < 20
            device.worker.finish()
        assert generation.finish_reason == "stop"

    serve(smollm2, gemma3, device, test)


def test_what_failed_is_offered_again_later(
    smollm2: Path, gemma3: Path, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "CAUTION", 0.05)
    device.silent, device.foreign = True, 700 * MB

    async def test(runtime: Runtime, device: Device) -> None:
        assert isinstance(await refusal(runtime.load("small", None)), UnusableModel)
        beats = asyncio.create_task(beating(device))
        answer = asyncio.create_task(finish(runtime.submit(job("small", 5))))
        await until(lambda: bool(device.worker.running.get("small")))
        assert 0 < model(runtime, "small")["layers"] < 31
        device.foreign = 0
        device.worker.finish()
        await answer
        await until(lambda: model(runtime, "small")["layers"] == 31)
        beats.cancel()

    serve(smollm2, gemma3, device, test)


def test_predictions_are_held_against_the_truth(
    smollm2: Path, gemma3: Path, device: Device, caplog: pytest.LogCaptureFixture
) -> None:
    device.surplus = 30 * MB

    async def test(runtime: Runtime, device: Device) -> None:
        size = device.size("small", 31)
        with caplog.at_level(logging.WARNING, "hotbunk.runtime"):
            state = await runtime.load("small", None)
        assert (state["predicted_bytes"], state["reported_bytes"]) == (size, size + device.surplus)
        assert state["driver_bytes"] == size + device.surplus + MB
        assert state["planned"]["device"]["total"] == size + device.surplus  # it is not underrated again
        assert any("as foretold" in message for message in caplog.messages)

    serve(smollm2, gemma3, device, test)


def test_what_takes_more_than_the_budget_is_placed_anew(smollm2: Path, gemma3: Path, device: Device) -> None:
    device.surplus = 5 * MB

    async def test(runtime: Runtime, device: Device) -> None:
        runtime.submit(job("small", 5))
        await until(lambda: bool(device.worker.running.get("small")))
        await until(lambda: ready(runtime, "small"))
        assert shown(runtime)["used"] <= shown(runtime)["budget"] == device.size("small", 31)
        await until(lambda: 0 < model(runtime, "small")["planned"]["layers"] < 31)

    serve(smollm2, gemma3, device, test, budget=BASE + 310 * MB)


@pytest.mark.parametrize(("budget", "layers"), [(900 * MB, 30), (895 * MB, 29)])
def test_others_are_offered_what_one_to_be_kept_really_leaves(
    smollm2: Path, gemma3: Path, device: Device, budget: int, layers: int
) -> None:
    device.base["large"], device.surplus = 100 * MB, 10 * MB

    async def test(runtime: Runtime, device: Device) -> None:
        await until(lambda: ready(runtime, "small"))
        generation = runtime.submit(job("large", 5))
        await until(lambda: bool(device.worker.running.get("large")))
        device.worker.finish()
        await finish(generation)
        assert (model(runtime, "small")["layers"], model(runtime, "large")["layers"]) == (31, layers)

    models = {"small": {"path": smollm2, "keep_resident": True}, "large": {"path": gemma3}}
    serve(smollm2, gemma3, device, test, models=models, budget=budget)


@pytest.mark.parametrize(("base", "budget"), [(2 * MB, 770 * MB), (0, 766 * MB)])
def test_who_would_take_more_than_is_left_beside_one_to_be_kept_is_told_so(
    smollm2: Path, gemma3: Path, device: Device, base: int, budget: int
) -> None:
    device.base.update(small=base, large=300 * MB)  # whole, large takes 765 MB as foretold, and its surplus
    device.layer["small"], device.surplus = 4 * MB, 10 * MB

    async def test(runtime: Runtime, device: Device) -> None:
        await until(lambda: ready(runtime, "large") and model(runtime, "large")["layers"] == 30)
        answer = asyncio.create_task(refusal(finish(runtime.submit(job("small", 5)))))
        while not answer.done():
            device.worker.tick()
            device.worker.finish()
            await asyncio.sleep(0.01)
        assert "there is no room for small on the device" in str(answer.result())
        assert shown(runtime)["used"] == device.size("large", 30) + device.surplus
        assert len([name for _, name, _ in moves(device) if name == "small"]) <= 1

    models = {"small": {"path": smollm2}, "large": {"path": gemma3, "keep_resident": True}}
    serve(smollm2, gemma3, device, test, models=models, budget=budget, max_wait=0.3)


def test_whom_one_to_be_kept_leaves_no_room_is_not_waited_for_for_ever(
    smollm2: Path, gemma3: Path, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory.Memory, "refit", lambda self: None)  # whatever it makes of it

    async def test(runtime: Runtime, device: Device) -> None:
        await until(lambda: ready(runtime, "large"))
        device.foreign = TOTAL - device.size("large", 31) - BASE
        answer = asyncio.create_task(refusal(finish(runtime.submit(job("small", 5)))))
        while not answer.done():
            device.worker.tick()
            await asyncio.sleep(0.01)
        assert "there is no room for small on the device beside the models that are kept" in str(answer.result())

    models = {"small": {"path": smollm2}, "large": {"path": gemma3, "keep_resident": True}}
    serve(smollm2, gemma3, device, test, models=models, budget=900 * MB, max_wait=0.3)


def test_of_two_to_be_kept_the_one_that_stayed_makes_room_for_the_other(
    smollm2: Path, gemma3: Path, device: Device
) -> None:
    async def test(runtime: Runtime, device: Device) -> None:
        await until(lambda: ready(runtime, "small") and ready(runtime, "large"))
        async with answering(runtime, "small"):  # so the other is the one to leave
            await until(lambda: bool(device.worker.running.get("small")))
            device.worker.finish()
        before = len(moves(device))
        device.foreign = TOTAL - 820 * MB  # both take 815, and 20 are left alone
        device.worker.tick(3)
        await until(lambda: not ready(runtime, "large"))
        generation = asyncio.create_task(finish(runtime.submit(job("large", 5))))
        while not generation.done():
            device.worker.tick()
            device.worker.finish()
            await asyncio.sleep(0.01)
        assert generation.exception() is None
        for _ in range(5):
            device.worker.tick()
            await asyncio.sleep(0.01)
        assert moves(device)[before:] == [("Resize", "small", 29), ("Load", "large", 31)]
        assert shown(runtime)["used"] <= shown(runtime)["budget"]

    models = {name: {"path": path, "keep_resident": True} for name, path in (("small", smollm2), ("large", gemma3))}
    serve(smollm2, gemma3, device, test, models=models, max_wait=5.0)


def test_who_takes_more_than_foretold_in_each_form_is_underrated_once(
    smollm2: Path, gemma3: Path, device: Device
) -> None:
    device.surplus = 20 * MB

    async def test(runtime: Runtime, device: Device) -> None:
        await runtime.load("small", 10)
        await runtime.load("small", 20)
        for foreign, layers in ((TOTAL - 220 * MB, 16), (TOTAL - 120 * MB, 6)):  # 20 MB of it are left alone
            device.foreign = foreign
            while model(runtime, "small")["planned"]["layers"] != layers:
                device.worker.tick()
                await asyncio.sleep(0.01)
            planned = model(runtime, "small")["planned"]["device"]["total"]
            assert planned == device.size("small", layers) + device.surplus

    serve(smollm2, gemma3, device, test)


def test_a_model_that_takes_less_than_foretold_stays_as_it_is(smollm2: Path, gemma3: Path, device: Device) -> None:
    device.foreign, device.surplus = TOTAL - 200 * MB, -5 * MB

    async def test(runtime: Runtime, device: Device) -> None:
        await runtime.load("small", None)
        assert 0 < model(runtime, "small")["layers"] < 31
        for beats in range(1, 6):
            device.worker.tick()
            await until(lambda: ready(runtime, "small"))
            await asyncio.sleep(0.01 * beats)
        assert len(moves(device)) == 1

    serve(smollm2, gemma3, device, test)


def test_the_store_is_shown_and_its_progress_told(
    smollm2: Path, gemma3: Path, device: Device, caplog: pytest.LogCaptureFixture
) -> None:
    async def test(runtime: Runtime, device: Device) -> None:
        with caplog.at_level(logging.INFO, "hotbunk.runtime"):
            for done in (0, 0, 10**9, 2 * 10**9, 4 * 10**9, 4 * 10**9):
                device.worker.stored = {"small": (done, 4 * 10**9), "large": (0, 10**9)}
                device.worker.tick()
                await until(lambda done=done: shown(runtime)["stored"].get("small", {}).get("bytes") == done)  # type: ignore[misc]
        assert shown(runtime)["stored"]["large"] == {"bytes": 0, "total": 10**9}
        told = [message for message in caplog.messages if "host store" in message]
        assert len(told) == 2
        assert told[0] == "small is being copied into the host store: 4 GB"
        assert told[1].startswith("small is in the host store: 4 GB pinned in ")
        assert told[1].endswith("GB/s")

    serve(smollm2, gemma3, device, test)


def test_what_is_carried_is_counted_by_tier(smollm2: Path, gemma3: Path, device: Device) -> None:
    async def test(runtime: Runtime, device: Device) -> None:
        async with answering(runtime, "small"):
            await runtime.unload("small")
            await until(lambda: bool(device.worker.running.get("small")))
            device.worker.finish()
        state = shown(runtime)
        assert state["suspends"]["pinned"] == {"count": 1, "bytes": 100, "seconds": 0.1}
        assert state["resumes"]["disk"] == {"count": 1, "bytes": 100, "seconds": 0.2}
        notes = {d["action"]: d for d in runtime.state()["decisions"]}
        assert (notes["suspend"]["tier"], notes["resume"]["tier"]) == ("pinned", "disk")
        assert notes["load"]["pinned"] is True
        assert notes["load"]["driver"] > 0

    serve(smollm2, gemma3, device, test)


def test_a_load_begins_before_the_request_is_complete(smollm2: Path, gemma3: Path, device: Device) -> None:
    async def test(runtime: Runtime, device: Device) -> None:
        runtime.expect("large")
        assert isinstance(device.worker.sent[-1], wire.Load)  # sent before anything else could run
        await until(lambda: ready(runtime, "large"))

    serve(smollm2, gemma3, device, test)


def test_a_resize_by_hand_keeps_the_contexts_if_that_fits(smollm2: Path, gemma3: Path, device: Device) -> None:
    async def test(runtime: Runtime, device: Device) -> None:
        await runtime.load("small", None)
        await runtime.load("small", 25)
        [_, resize] = [c for c in device.worker.sent if isinstance(c, wire.Load | wire.Resize)]
        assert (resize.placement.layers, resize.placement.cached) == (25, 31)
        await runtime.load("small", 25)  # as it stands already
        await runtime.load("large", 10)
        await runtime.unload("small")
        await runtime.load("small", 0)
        assert [layers for _, _, layers in moves(device)] == [31, 25, 10, 0]
        await runtime.load("small", 31)
        last = device.worker.sent[-1]
        assert isinstance(last, wire.Resize)
        assert model(runtime, "small")["planned"]["layers"] == 31

    serve(smollm2, gemma3, device, test)


def test_shares_are_for_each_worker(smollm2: Path, gemma3: Path, device: Device) -> None:
    async def test(runtime: Runtime, device: Device) -> None:
        options = [life.shares.options() for life in device.lives]
        assert options == [["--host-memory", "500", "--arena", "auto", "--held-budget", "7"]] * 2

    devices: list[dict[str, Any]] = [{"name": "a", "budget": BUDGET}, {"name": "b", "budget": BUDGET}]
    changes: dict[str, Any] = {"devices": devices, "host_memory": 1001, "held_memory": 7}
    serve(smollm2, gemma3, device, test, budget=None, **changes)


def test_actions_of_a_shrunken_budget_say_why(smollm2: Path, gemma3: Path, device: Device) -> None:
    async def test(runtime: Runtime, device: Device) -> None:
        await runtime.load("small", None)
        device.foreign = TOTAL - 100 * MB
        device.worker.tick(3)
        await until(lambda: not ready(runtime, "small"))
        [note] = [d for d in runtime.state()["decisions"] if d["action"] == "unload"]
        assert note["reason"] == "idle; the device has less memory for us than before"

    serve(smollm2, gemma3, device, test)


def spared(device: Device) -> list[int]:
    """What the worker was told of room to spare, order by order."""
    return [c.spare for c in device.worker.sent if isinstance(c, wire.Load | wire.Resize | wire.Unload | wire.Trim)]


def test_the_worker_may_keep_what_nobody_needs_of_the_budget(smollm2: Path, gemma3: Path, device: Device) -> None:
    async def test(runtime: Runtime, device: Device) -> None:
        async with answering(runtime, "small"):
            device.worker.finish()
        async with answering(runtime, "large"):
            device.worker.finish()
        both = device.size("small", 31) + device.size("large", 31)
        assert spared(device) == [BUDGET - device.size("small", 31), BUDGET - both]

    serve(smollm2, gemma3, device, test)


def test_who_unloads_by_hand_gets_the_memory_back(smollm2: Path, gemma3: Path, device: Device) -> None:
    async def test(runtime: Runtime, device: Device) -> None:
        await runtime.load("small", None)
        await runtime.unload("small")
        assert spared(device)[-1] == 0

    serve(smollm2, gemma3, device, test)


def test_the_worker_keeps_no_more_than_a_budget_that_has_fallen(smollm2: Path, gemma3: Path, device: Device) -> None:
    async def test(runtime: Runtime, device: Device) -> None:
        async with answering(runtime, "small"):
            device.worker.finish()
        device.foreign = 400 * MB
        device.worker.tick(3)
        await until(lambda: shown(runtime)["budget"] < BUDGET)
        assert spared(device)[-1] == shown(runtime)["budget"] - device.size("small", 31)

    serve(smollm2, gemma3, device, test)
