"""The whole house: the official client, a real server, the real runtime, two real models where one fits."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import openai

from hotbunk.gateway.server import serve
from hotbunk.runtime import Runtime
from tests.runtime.rig import ONLY_ONE, run, settings, until

Test = Callable[[openai.AsyncOpenAI, Runtime], Awaitable[None]]
LONG: Any = {"max_tokens": 60, "temperature": 0, "extra_body": {"ignore_eos": True}}


@asynccontextmanager
async def serving(runtime: Runtime) -> AsyncIterator[openai.AsyncOpenAI]:
    address: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    server = asyncio.create_task(serve(runtime, "127.0.0.1", 0, address.set_result))
    async with openai.AsyncOpenAI(base_url=f"{await address}/v1", api_key="none", max_retries=0) as client:
        yield client
    os.kill(os.getpid(), signal.SIGTERM)  # as a user would stop it
    await server


def live(smollm2: Path, gemma3: Path, test: Test, **changes: Any) -> None:
    async def body() -> None:
        async with Runtime(settings(smollm2, gemma3, **changes)) as runtime, serving(runtime) as client:
            await test(client, runtime)

    run(body)


async def text(client: openai.AsyncOpenAI, model: str, prompt: str, **more: Any) -> str:
    stream = await client.completions.create(model=model, prompt=prompt, stream=True, **{**LONG, **more})
    return "".join([chunk.choices[0].text async for chunk in stream])


def test_two_models_answer_where_one_fits(smollm2: Path, gemma3: Path) -> None:
    async def test(client: openai.AsyncOpenAI, runtime: Runtime) -> None:
        assert {model.id async for model in client.models.list()} == {"small", "large"}
        alone = [await text(client, name, "Once upon a time") for name in ("small", "large")]
        assert await asyncio.gather(*(text(client, name, "Once upon a time") for name in ("small", "large"))) == alone
        answer = await client.chat.completions.create(
            model="small", messages=[{"role": "user", "content": "Name a colour."}], max_tokens=5
        )
        assert answer.choices[0].message.content
        used = [device["reported"] for device in runtime.state()["devices"]]
        assert max(used) <= ONLY_ONE

    live(smollm2, gemma3, test)


def test_eight_streams_survive_the_death_of_the_worker(smollm2: Path, gemma3: Path) -> None:
    async def test(client: openai.AsyncOpenAI, runtime: Runtime) -> None:
        streams = [asyncio.create_task(text(client, "small", f"A story of {n} sailors:")) for n in range(8)]
        await until(lambda: sum(s["generated_tokens"] > 5 for s in runtime.state()["sequences"]) == 8)
        os.kill(runtime.state()["devices"][0]["pid"], signal.SIGKILL)
        assert all(len(answer) > 60 for answer in await asyncio.gather(*streams))
        assert runtime.state()["devices"][0]["restarts"] == 1

    live(smollm2, gemma3, test)


def test_a_client_that_leaves_frees_its_sequence(smollm2: Path, gemma3: Path) -> None:
    async def test(client: openai.AsyncOpenAI, runtime: Runtime) -> None:
        body = {"model": "small", "prompt": "Count:", "max_tokens": 450, "stream": True, "ignore_eos": True}
        async with (
            httpx.AsyncClient(base_url=str(client.base_url)) as http,
            http.stream("POST", "completions", json=body) as answer,
        ):
            await anext(answer.aiter_lines())
        await until(lambda: not runtime.state()["sequences"])
        assert await text(client, "small", "And now?", max_tokens=3)

    live(smollm2, gemma3, test, slots=1)


def test_structured_answers_are_preempted_too(smollm2: Path, gemma3: Path) -> None:
    async def test(client: openai.AsyncOpenAI, runtime: Runtime) -> None:
        form: Any = {
            "type": "json_schema",
            "json_schema": {
                "name": "ship",
                "schema": {
                    "type": "object",
                    "properties": {"name": {"type": "string", "maxLength": 20}, "crew": {"type": "integer"}},
                    "required": ["name", "crew"],
                    "additionalProperties": False,
                },
            },
        }

        async def ship() -> str:
            answer = await client.chat.completions.create(
                model="small",
                messages=[{"role": "user", "content": "Describe a ship as JSON."}],
                response_format=form,
                seed=4,
                max_tokens=60,
            )
            return answer.choices[0].message.content or ""

        alone = await ship()
        again, _ = await asyncio.gather(ship(), text(client, "large", "Once upon", max_tokens=5))
        assert again == alone
        assert alone.startswith("{")

    live(smollm2, gemma3, test)
