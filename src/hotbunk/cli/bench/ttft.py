"""``hotbunk bench ttft``: what the layers above the worker add to the time to first token."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from hotbunk.cli.samples import smollm2
from hotbunk.config import Config
from hotbunk.errors import EngineError

AIM = 5.0
"""Milliseconds that the layers above the worker may add, at the median."""
_LENGTHS = (16, 128, 512)  # prompt tokens, roughly: a word is one


def ttft(
    model: Annotated[
        Path | None, typer.Argument(help="A GGUF file.", exists=True, dir_okay=False, show_default="the demo's SmolLM2")
    ] = None,
    requests: Annotated[int, typer.Option(min=5, help="Requests for each length of prompt.")] = 20,
    device: Annotated[str, typer.Option(help="The worker's device.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Ask a real server over HTTP; compare the client's time to first token with the worker's own prefill time.

    The difference holds everything else: HTTP, JSON, the tokeniser, the scheduler, both sockets, the first draw.
    """
    config = Config(paths=[model or smollm2()], device=device, port=0, context=2048, slots=1, measure=False)
    with Console(stderr=True).status("Asking over HTTP; takes a minute or two"):
        rows = asyncio.run(_measure(config, requests))
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    table = Table(
        "prompt tokens", "TTFT ms", "of it prefill ms", "added ms", "added p95 ms", "aim", title="TTFT, medians"
    )
    for column in table.columns:
        column.justify = "right"
    for row in rows:
        figures = (f"{row[key]:.2f}" for key in ("ttft_ms", "prefill_ms", "added_ms", "added_p95_ms"))
        table.add_row(str(row["prompt_tokens"]), *figures, f"< {AIM:g}")
    Console().print(table)


async def _measure(config: Config, requests: int) -> list[dict[str, Any]]:
    # here and not above: they bring libllama with them, which --help can do without
    import httpx

    from hotbunk.gateway.server import serve
    from hotbunk.runtime import Runtime

    async with Runtime(config) as runtime:
        address: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        server = asyncio.create_task(serve(runtime, config.host, 0, address.set_result))
        try:
            async with httpx.AsyncClient(base_url=await address, timeout=600) as http:
                return [await _row(http, runtime.models()[0].id, length, requests) for length in _LENGTHS]
        finally:
            signal.raise_signal(signal.SIGTERM)  # as a user would stop it
            await server


async def _row(http: Any, model: str, length: int, requests: int) -> dict[str, Any]:
    samples = [await _ask(http, model, length, turn) for turn in range(requests + 1)][1:]  # the first one loads
    added = [sample["ttft"] - sample["prefill"] for sample in samples]
    return {
        "prompt_tokens": samples[0]["tokens"],
        "ttft_ms": median(s["ttft"] for s in samples),
        "prefill_ms": median(s["prefill"] for s in samples),
        "added_ms": median(added),
        "added_p95_ms": quantiles(added, n=20)[-1],
    }


async def _ask(http: Any, model: str, length: int, turn: int) -> dict[str, float]:
    """One streamed request; times in milliseconds."""
    body = {"model": model, "prompt": " ".join(["word"] * (length - 1) + [str(turn % 10)]), "max_tokens": 2}
    body |= {"stream": True, "temperature": 0, "ignore_eos": True, "stream_options": {"include_usage": True}}
    began, first = perf_counter(), 0.0
    last: dict[str, Any] = {}
    async with http.stream("POST", "/v1/completions", json=body) as answer:
        async for line in answer.aiter_lines():
            if line.startswith("data: {"):
                first = first or (perf_counter() - began) * 1e3
                last = {**last, **{k: v for k, v in json.loads(line[6:]).items() if v}}
    if "timings" not in last:
        raise EngineError(f"the server did not answer as expected: {last}")
    return {"ttft": first, "prefill": last["timings"]["prefill_ms"], "tokens": last["usage"]["prompt_tokens"]}
