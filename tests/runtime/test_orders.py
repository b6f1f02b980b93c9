"""Loads and unloads by hand: each is answered, and not before it has been obeyed."""

import asyncio
from pathlib import Path

import pytest

from hotbunk.errors import BadRequest, UnusableModel
from hotbunk.runtime import Runtime, moves, supervisor
from hotbunk.worker import protocol as wire
from tests.runtime.rig import finish, job, model, refusal, until
from tests.runtime.simulated import BASE, MB, TOTAL, Device, serve, shown


def orders(device: Device) -> list[tuple[str, int | None]]:
    """What the worker was told to do with ``small``."""
    moves = (c for c in device.worker.sent if isinstance(c, wire.Load | wire.Resize | wire.Unload))
    return [
        (type(c).__name__, None if isinstance(c, wire.Unload) else c.placement.layers)
        for c in moves
        if c.model == "small"
    ]


def predicted(device: Device) -> int | None:
    """The layers that the worker was last asked about."""
    return next(c.layers for c in reversed(device.worker.sent) if isinstance(c, wire.Predict))


def state(runtime: Runtime) -> str:
    return str(model(runtime, "small")["state"])


def test_what_is_ordered_to_come_while_it_leaves_comes(smollm2: Path, gemma3: Path, device: Device) -> None:
    async def test(runtime: Runtime, device: Device) -> None:
        await runtime.load("small", 10)
        device.worker.moving = []
        leaving = asyncio.create_task(runtime.unload("small"))
        await until(lambda: state(runtime) == "leaving")
        loading = asyncio.create_task(runtime.load("small", None))
        other = asyncio.create_task(runtime.load("small", 20))
        await until(lambda: predicted(device) == 20)
        device.worker.arrive()
        await leaving
        assert (await loading)["state"] == "ready"
        assert (await other)["layers"] == 20

    serve(smollm2, gemma3, device, test)


@pytest.mark.parametrize("before", [None, 10])
def test_what_is_ordered_to_leave_while_it_comes_leaves(
    smollm2: Path, gemma3: Path, device: Device, before: int | None
) -> None:
    async def test(runtime: Runtime, device: Device) -> None:
        if before:
            await runtime.load("small", before)
        device.worker.moving = []
        coming = asyncio.create_task(runtime.load("small", 20))
        await until(lambda: state(runtime) in ("loading", "resizing"))
        leaving = asyncio.create_task(runtime.unload("small"))
        await asyncio.sleep(0)
        device.worker.arrive()
        assert (await leaving)["state"] == "absent"
        await coming
        assert orders(device)[-1] == ("Unload", None)

    serve(smollm2, gemma3, device, test)


def test_what_is_ordered_in_another_form_while_it_comes_takes_that(smollm2: Path, gemma3: Path, device: Device) -> None:
    async def test(runtime: Runtime, device: Device) -> None:
        whole, part = await asyncio.gather(runtime.load("small", None), runtime.load("small", 7))
        assert whole["state"] == "ready"
        assert part["layers"] == 7

    serve(smollm2, gemma3, device, test)


def test_as_many_layers_as_fit_are_loaded_of_a_model_that_stands_with_less(
    smollm2: Path, gemma3: Path, device: Device
) -> None:
    async def test(runtime: Runtime, device: Device) -> None:
        await runtime.load("small", 3)
        assert (await runtime.load("small", None))["layers"] == 31
        done = orders(device)
        assert (await runtime.load("small", None))["layers"] == 31
        assert orders(device) == done  # nothing more is to be had
        await runtime.load("small", 3)
        await runtime.load("large", None)
        assert 3 < (await runtime.load("small", None))["layers"] < 31  # beside the other

    serve(smollm2, gemma3, device, test, budget=700 * MB)


def test_a_form_that_was_ordered_holds_until_the_model_leaves(smollm2: Path, gemma3: Path, device: Device) -> None:
    async def test(runtime: Runtime, device: Device) -> None:
        await runtime.load("small", 10)
        await runtime.unload("small")
        assert (await runtime.load("small", None))["layers"] == 31

    serve(smollm2, gemma3, device, test)


def test_who_waits_for_a_model_does_not_get_the_form_in_which_it_was_ordered_before(
    smollm2: Path, gemma3: Path, device: Device
) -> None:
    async def test(runtime: Runtime, device: Device) -> None:
        await runtime.load("small", 10)
        runtime.submit(job("small", 5))
        await until(lambda: bool(device.worker.running.get("small")))
        await runtime.unload("small")
        await until(lambda: state(runtime) == "ready")
        assert orders(device) == [("Load", 10), ("Unload", None), ("Load", 31)]

    serve(smollm2, gemma3, device, test)


def test_a_form_that_was_ordered_is_lost_with_the_worker(smollm2: Path, gemma3: Path, device: Device) -> None:
    async def test(runtime: Runtime, device: Device) -> None:
        await runtime.load("small", 10)
        device.worker.die()
        await until(lambda: shown(runtime)["restarts"] == 1 and shown(runtime)["up"])
        runtime.submit(job("small", 5))
        await until(lambda: state(runtime) == "ready")
        assert orders(device) == [("Load", 31)]

    serve(smollm2, gemma3, device, test)


def test_what_has_no_room_beside_one_that_is_kept_resident_is_refused_and_nothing_moves(
    smollm2: Path, gemma3: Path, device: Device
) -> None:
    async def test(runtime: Runtime, device: Device) -> None:
        await until(lambda: model(runtime, "large")["state"] == "ready")
        error = await refusal(runtime.load("small", 20))
        assert isinstance(error, BadRequest)
        told = "20 layers take 220 MiB; the budget is 600 MiB, of which 485 MiB is for models kept resident"
        assert str(error) == told
        assert orders(device) == []

    models = {"small": {"path": smollm2}, "large": {"path": gemma3, "keep_resident": True}}
    serve(smollm2, gemma3, device, test, models=models, budget=600 * MB)


def test_one_that_is_kept_resident_is_not_unloaded_by_hand(smollm2: Path, gemma3: Path, device: Device) -> None:
    async def test(runtime: Runtime, device: Device) -> None:
        await until(lambda: state(runtime) == "ready")
        error = await refusal(runtime.unload("small"))
        assert isinstance(error, BadRequest)
        assert str(error) == "small is kept resident (keep_resident), so it would come back at once"
        assert state(runtime) == "ready"

    models = {"small": {"path": smollm2, "keep_resident": True}, "large": {"path": gemma3}}
    serve(smollm2, gemma3, device, test, models=models)


def test_another_form_that_finds_no_room_is_refused(smollm2: Path, gemma3: Path, device: Device) -> None:
    async def test(runtime: Runtime, device: Device) -> None:
        await runtime.load("large", None)
        generation = runtime.submit(job("large", 5))
        await until(lambda: bool(device.worker.running.get("large")))
        await runtime.load("small", 3)
        error = await refusal(runtime.load("small", 31))
        assert isinstance(error, BadRequest)
        assert "there is no room for small in that form now" in str(error)
        device.worker.finish()
        await finish(generation)

    serve(smollm2, gemma3, device, test, budget=700 * MB)


def test_a_load_for_which_there_is_no_room_is_refused(smollm2: Path, gemma3: Path, device: Device) -> None:
    async def test(runtime: Runtime, device: Device) -> None:
        device.foreign = TOTAL - BASE
        device.worker.tick(2)
        await until(lambda: bool(model(runtime, "small")["short"]))
        error = await refusal(runtime.load("small", None))
        assert isinstance(error, UnusableModel)
        assert "there is no room for small on the device" in str(error)

    serve(smollm2, gemma3, device, test)


@pytest.mark.parametrize(("layer", "found"), [(10 * MB, "26 layers"), (0, "there is no room for small on the device")])
def test_a_load_ordered_after_one_that_found_no_memory_gets_less_or_is_refused(
    smollm2: Path, gemma3: Path, device: Device, layer: int, found: str
) -> None:
    device.silent, device.base["small"], device.layer["small"] = True, 40 * MB, layer

    async def order(runtime: Runtime) -> str:
        try:
            return f"{(await runtime.load('small', None))['layers']} layers"
        except UnusableModel as error:
            return str(error)

    async def test(runtime: Runtime, device: Device) -> None:
        device.worker.tick(3)
        await until(lambda: runtime.state()["devices"][0]["foreign"] == 0)
        device.foreign = TOTAL - (300 * MB if layer else 10 * MB)
        assert await order(runtime) == "out of memory"
        waiting = asyncio.create_task(order(runtime))  # until a beat says what is free now
        while not waiting.done():
            device.worker.tick()
            await asyncio.sleep(0.01)
        assert found in waiting.result()

    serve(smollm2, gemma3, device, test)


def test_a_load_that_was_answered_by_a_loss_is_not_done_later(
    smollm2: Path, gemma3: Path, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "SLOWEST", 0.0)

    async def test(runtime: Runtime, device: Device) -> None:
        device.worker.moving = []
        loading = asyncio.create_task(refusal(runtime.load("small", None)))
        await until(lambda: state(runtime) == "loading")
        device.lives[0].die()
        assert "the worker was lost" in str(await loading)
        await until(lambda: len(device.lives) > 1 and shown(runtime)["up"])
        assert orders(device) == []

    serve(smollm2, gemma3, device, test)


def test_an_unload_withdraws_a_load_that_has_not_begun(smollm2: Path, gemma3: Path, device: Device) -> None:
    async def test(runtime: Runtime, device: Device) -> None:
        await runtime.load("large", None)
        generation = runtime.submit(job("large", 5))
        await until(lambda: bool(device.worker.running.get("large")))
        loading = asyncio.create_task(refusal(runtime.load("small", None)))  # when the other is done
        await asyncio.sleep(0)
        assert (await runtime.unload("small"))["state"] == "absent"
        assert "small was ordered off the device before it could be loaded" in str(await loading)
        device.worker.finish()
        await finish(generation)
        assert orders(device) == []

    serve(smollm2, gemma3, device, test, budget=500 * MB, policy="fifo")


@pytest.mark.parametrize("layers", [None, 5])
def test_a_load_of_a_model_that_is_given_up_while_it_is_priced_is_refused(
    smollm2: Path, gemma3: Path, device: Device, monkeypatch: pytest.MonkeyPatch, layers: int | None
) -> None:
    monkeypatch.setattr(moves, "STRIKES", 1)

    async def test(runtime: Runtime, device: Device) -> None:
        await runtime.load("large", None)  # beside it there is no room for all of the other
        await runtime.load("small", 3)
        device.worker.asked = asked = list[wire.Predict]()
        priced = asyncio.create_task(refusal(runtime.load("small", layers)))
        await until(lambda: bool(asked))
        device.broken.add("small")
        await runtime.unload("small")
        generation = runtime.submit(job("small", 5))
        assert "bad luck" in str(await refusal(finish(generation)))
        device.worker.answer()
        error = await priced
        assert isinstance(error, UnusableModel)
        assert "could not be loaded 1 times: bad luck" in str(error)

    serve(smollm2, gemma3, device, test, budget=700 * MB)


def test_what_was_ordered_and_takes_more_than_the_budget_is_not_loaded_again_and_again(
    smollm2: Path, gemma3: Path, device: Device
) -> None:
    device.surplus = 10 * MB

    async def test(runtime: Runtime, device: Device) -> None:
        await runtime.load("small", 28)  # foretold to take the whole budget
        await until(lambda: state(runtime) == "absent")
        before = len(orders(device))
        generation = runtime.submit(job("small", 5))
        await until(lambda: bool(device.worker.running.get("small")) or len(orders(device)) > before + 5)
        assert [kind for kind, _ in orders(device)[before:]] == ["Load"]
        error = await refusal(runtime.load("small", 28))
        assert str(error) == "28 layers take 310 MiB; the budget is 300 MiB"
        device.worker.finish()
        await finish(generation)

    serve(smollm2, gemma3, device, test, budget=300 * MB)
