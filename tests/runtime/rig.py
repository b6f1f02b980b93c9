"""A real runtime on real models, and what tests do with one."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from hotbunk.config import Config, ModelConfig
from hotbunk.errors import HotbunkError
from hotbunk.runtime import Generation, Job, Runtime
from hotbunk.sampling import Sampling

GREEDY = Sampling(temperature=0)
PROMPT = [504, 1234, 777, 910]
ONLY_ONE = 300 << 20
"""Device bytes that hold either of ``small`` and ``large``, but not both, with contexts of 512 tokens and 8 slots."""


def settings(smollm2: Path, gemma3: Path, **changes: Any) -> Config:
    models = {"small": ModelConfig(path=smollm2), "large": ModelConfig(path=gemma3)}
    values = {"device": "cpu", "threads": 1, "budget": ONLY_ONE, "context": 512, "slots": 8, "quantum": 0.3}
    values["measure"] = False
    return Config.model_validate({**values, "models": models, **changes})


def job(model: str, tokens: int, prompt: list[int] = PROMPT, sampling: Sampling = GREEDY) -> Job:
    return Job(model, prompt, sampling, tokens, stop_tokens=[])


async def finish(generation: Generation) -> list[int]:
    return [token.token async for group in generation for token in group]


async def some(tokens: AsyncIterator[Any], count: int) -> list[int]:
    """The next ``count`` tokens or a few more, leaving the others to be had."""
    taken: list[int] = []
    while len(taken) < count:
        taken += [token.token for token in await anext(tokens)]
    return taken


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 300))


@asynccontextmanager
async def running(config: Config) -> AsyncIterator[Runtime]:
    """A runtime whose budget is watched: at the end, what was reported never exceeded it."""
    async with Runtime(config) as runtime:
        most = 0
        stop = asyncio.Event()

        async def watch() -> None:
            nonlocal most
            while not stop.is_set():
                most = max(most, *(d["reported"] - d["budget"] for d in runtime.state()["devices"]))
                await asyncio.sleep(0.01)

        watcher = asyncio.create_task(watch())
        try:
            yield runtime
        finally:
            stop.set()
            await watcher
        assert most <= 0


def model(runtime: Runtime, name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(m for m in runtime.state()["models"] if m["id"] == name)
    return found


async def until(true: Callable[[], bool]) -> None:
    """Wait for a state of the runtime that nothing else announces."""
    while not true():
        await asyncio.sleep(0.01)


async def refusal(action: Coroutine[Any, Any, Any]) -> HotbunkError:
    try:
        await action
    except HotbunkError as error:
        return error
    raise AssertionError("nothing was refused")
