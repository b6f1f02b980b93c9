"""The main job: two real models on a device that holds only one of them."""

import asyncio
from pathlib import Path

import pytest

from hotbunk.config import ModelConfig
from hotbunk.errors import BadRequest, ConfigError, Overloaded, UnknownModel, UnusableModel
from hotbunk.runtime import Runtime
from hotbunk.sampling import Sampling
from tests.runtime.rig import GREEDY, PROMPT, finish, job, model, refusal, run, running, settings, some, until


@pytest.mark.parametrize("policy", ["timeslice", "priced"])
def test_a_preempted_answer_is_the_same_answer(policy: str, smollm2: Path, gemma3: Path) -> None:
    async def test() -> None:
        # long enough for `priced`, which waits as long as its promise allows
        async with running(settings(smollm2, gemma3, policy=policy)) as runtime:
            drawn = Sampling(seed=3, temperature=1.0)
            alone = [await finish(runtime.submit(job("small", 400, sampling=s))) for s in (GREEDY, drawn)]
            for sampling, expected in zip((GREEDY, drawn), alone, strict=True):
                long = runtime.submit(job("small", 400, sampling=sampling))
                tokens = aiter(long)
                taken = await some(tokens, 5)
                assert len(await finish(runtime.submit(job("large", 5)))) == 5
                taken += [t.token async for group in tokens for t in group]
                assert taken == expected
                assert long.timings.preemptions >= 1
                assert long.timings.preempted > 0

    run(test)


@pytest.mark.parametrize("policy", ["timeslice", "priced"])
def test_a_short_answer_overtakes_a_long_one_of_another_model(policy: str, smollm2: Path, gemma3: Path) -> None:
    async def test() -> None:
        async with running(settings(smollm2, gemma3, policy=policy)) as runtime:
            endless = [runtime.submit(job("small", 500)) for _ in range(4)]
            await some(aiter(endless[0]), 1)
            await finish(runtime.submit(job("large", 3)))
            assert all(e.finish_reason is None for e in endless)
            for each in endless:
                each.cancel()

    run(test)


def test_fifo_lets_answers_end_first(smollm2: Path, gemma3: Path) -> None:
    async def test() -> None:
        async with running(settings(smollm2, gemma3, policy="fifo")) as runtime:
            first = runtime.submit(job("small", 60))
            await some(aiter(first), 1)
            other, late = runtime.submit(job("large", 3)), runtime.submit(job("small", 3))
            await finish(other)
            assert first.finish_reason == "length"
            assert first.timings.preemptions == 0
            assert late.finish_reason is None  # it came after, and small had to make room
            await finish(late)

    run(test)


def test_both_are_resident_where_both_fit(smollm2: Path, gemma3: Path) -> None:
    async def test() -> None:
        async with running(settings(smollm2, gemma3, budget=1 << 30)) as runtime:
            jobs = [runtime.submit(job(name, 20)) for name in ("small", "large")]
            await asyncio.gather(*map(finish, jobs))
            assert {m["state"] for m in runtime.state()["models"]} == {"ready"}
            assert sum(j.timings.preemptions for j in jobs) == 0

    run(test)


def test_a_model_larger_than_the_budget_is_split(smollm2: Path, spare_device: str) -> None:
    async def test() -> None:
        config = settings(smollm2, smollm2, device=spare_device, budget=90 << 20, models={}, paths=[smollm2], slots=2)
        async with running(config) as runtime:
            [info] = runtime.models()
            assert len(await finish(runtime.submit(job(info.id, 8)))) == 8
            state = model(runtime, info.id)
            assert 0 < state["layers"] < state["layers_total"]

    run(test)


def test_loading_resizing_and_unloading_by_order(smollm2: Path, gemma3: Path, spare_device: str) -> None:
    async def test() -> None:
        async with running(settings(smollm2, gemma3, device=spare_device)) as runtime:
            whole = await runtime.load("small", None)
            assert (whole["state"], whole["layers"]) == ("ready", whole["layers_total"])
            answer = runtime.submit(job("small", 30))
            tokens = aiter(answer)
            taken = await some(tokens, 3)
            part = await runtime.load("small", 7)
            assert (part["state"], part["layers"]) == ("ready", 7)
            assert part["device_bytes"] < whole["device_bytes"]
            assert (await runtime.unload("small"))["state"] in ("absent", "loading")
            taken += [t.token async for group in tokens for t in group]
            assert len(taken) == 30
            assert isinstance(await refusal(runtime.load("small", 99)), BadRequest)

    run(test)


def test_a_model_kept_resident_stays(smollm2: Path, gemma3: Path) -> None:
    async def test() -> None:
        models = {"small": ModelConfig(path=smollm2, keep_resident=True), "large": ModelConfig(path=gemma3)}
        async with running(settings(smollm2, gemma3, models=models, budget=450 << 20)) as runtime:
            await until(lambda: model(runtime, "small")["state"] == "ready")
            await finish(runtime.submit(job("large", 3)))
            assert model(runtime, "small")["state"] == "ready"

    run(test)


def test_a_cancelled_sequence_frees_its_slot_at_once(smollm2: Path, gemma3: Path) -> None:
    async def test() -> None:
        async with running(settings(smollm2, gemma3, slots=1)) as runtime:
            first, second = runtime.submit(job("small", 500)), runtime.submit(job("small", 3))
            await some(aiter(first), 1)
            first.cancel()
            assert len(await finish(second)) == 3
            assert len(await finish(first)) < 500

    run(test)


def test_a_full_queue_is_refused(smollm2: Path, gemma3: Path) -> None:
    async def test() -> None:
        async with running(settings(smollm2, gemma3, slots=1, max_queue=2)) as runtime:
            kept = [runtime.submit(job("small", 500)) for _ in range(2)]
            with pytest.raises(Overloaded, match="requests wait") as refused:
                for _ in range(3):
                    kept.append(runtime.submit(job("small", 5)))
            assert refused.value.retry_after >= 1
            assert refused.value.present == len(kept)
            for each in kept:
                each.cancel()

    run(test)


def test_what_cannot_be_served_is_said(smollm2: Path, gemma3: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(smollm2.read_bytes()[:5_000_000])

    async def test() -> None:
        models = {"small": ModelConfig(path=smollm2), "broken": ModelConfig(path=broken)}
        async with running(settings(smollm2, gemma3, models=models)) as runtime:
            with pytest.raises(UnusableModel, match=r"truncated|shorter|bytes"):
                runtime.resolve("broken")
            with pytest.raises(UnknownModel, match="small"):
                runtime.resolve("nothing")
            assert len(await finish(runtime.submit(job("small", 3)))) == 3

    run(test)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"budget": 1 << 20}, "needs .* bytes on the device even with no layer"),
        ({"device": "CUDA9"}, "no device 'CUDA9'"),
        ({"device": "rpc:127.0.0.1:1"}, "nobody answers"),
        ({"policy": "magic"}, "fifo, priced, timeslice"),
    ],
)
def test_an_impossible_configuration_is_refused_at_start(
    smollm2: Path, gemma3: Path, changes: dict[str, object], words: str
) -> None:
    async def test() -> None:
        async with Runtime(settings(smollm2, gemma3, **changes)):
            raise AssertionError("it started")

    with pytest.raises(ConfigError, match=words):
        run(test)


def test_prompts_are_told_apart(smollm2: Path, gemma3: Path) -> None:
    async def test() -> None:
        async with running(settings(smollm2, gemma3)) as runtime:
            prompts = [[*PROMPT, extra] for extra in range(1000, 1012)]  # more than there are slots
            alone = [await finish(runtime.submit(job("small", 10, prompt))) for prompt in prompts]
            together = [runtime.submit(job("small", 10, prompt)) for prompt in prompts]
            assert await asyncio.gather(*map(finish, together)) == alone

    run(test)
