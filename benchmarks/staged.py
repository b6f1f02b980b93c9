"""What replays of one trace at several servers share: models of real shapes, and a server that starts empty."""

from __future__ import annotations

import asyncio
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from hotbunk.cli.bench.server import Server
from hotbunk.outcomes import Run
from hotbunk.replay.client import Endpoint
from hotbunk.replay.prompts import Prompts
from hotbunk.replay.replay import Replay
from hotbunk.study.shapes import named
from hotbunk.study.write import write
from hotbunk.traces import Trace
from hotbunk.worker.machine import cores

__all__ = ["MODELS", "PROMPTS", "replayed", "written"]

MODELS = "qwen3-8b:F16,qwen2.5-3b:F16,llama3-8b:Q4_0"
"""27 GB of weights, of which 24 GiB hold the first alone, or the others together."""
PROMPTS = Prompts(low=100, high=2000)
"""Ids that models of any scale have."""
REST = 1.0
"""Seconds after a model was told to leave, before anything is measured."""


def written(folder: Path, models: str, scale: float, blocks: int | None) -> dict[str, Path]:
    """The files of ``models`` (SHAPE:TYPE, with commas between) by the names that servers give them.

    Those that are not there yet are written, all at once, each by a process of its own.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files, missing = {}, {}
    for each in models.split(","):
        shape, _, kind = each.partition(":")
        name = f"{shape}-{kind.lower()}".removesuffix("-")
        files[name] = path = folder / f"{name}.gguf"
        if not path.exists():
            missing[path] = named(shape).scaled(scale).cut(blocks), kind or None
    if not missing:
        return files
    with ProcessPoolExecutor(min(cores(), len(missing)), get_context("spawn")) as pool:
        list(pool.map(write, missing, *zip(*missing.values(), strict=True)))
    return files


def replayed(trace: Trace, server: Server, name: str) -> Run:
    """Send a trace, once hotbunk has nothing on the device; other servers stay as they are."""
    if server.name.startswith("hotbunk"):
        for model in trace.models:
            server.post(f"/api/models/{model}/unload", {})

    async def replay() -> Run:
        async with Endpoint(server.url) as endpoint:
            await asyncio.sleep(REST)
            return (await Replay(trace, endpoint, PROMPTS, name).run(asyncio.Event())).run

    return asyncio.run(replay())
