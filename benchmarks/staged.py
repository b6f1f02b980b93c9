"""What replays of one trace at several servers share: models of real shapes, and a server that starts empty."""

from __future__ import annotations

import argparse
import asyncio
from dataclasses import replace
from pathlib import Path

from shaped import write_all

from hotbunk.cli.bench.server import Server
from hotbunk.outcomes import Run
from hotbunk.replay.client import Endpoint
from hotbunk.replay.prompts import Prompts
from hotbunk.replay.replay import Replay
from hotbunk.study.shapes import Shape, named
from hotbunk.traces import Trace
from hotbunk.units import parse_size

__all__ = ["PROMPTS", "parser", "replayed", "written"]

MODELS = "qwen3-8b:F16,qwen2.5-3b:F16,llama3-8b:Q4_0"
"""27 GB of weights, of which 24 GiB hold the first alone, or the others together."""
PROMPTS = Prompts(low=100, high=2000)
"""Ids that models of any scale have."""
REST = 1.0
"""Seconds after a model was told to leave, before anything is measured."""


def parser(about: str, seconds: float) -> argparse.ArgumentParser:
    """The options that all of them have: what is served, and the workloads, of so many ``seconds`` each by default."""
    made = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--device", default="auto")
    made.add_argument("--models", default=MODELS, help="SHAPE:TYPE, the most asked first")
    made.add_argument("--scale", type=float, default=1.0, help="of the models' widths")
    made.add_argument("--blocks", type=int, help="of each model; default: all")
    made.add_argument("--budget", type=parse_size, default=24 << 30, help="device memory of hotbunk")
    made.add_argument("--context", type=int, default=8192, help="tokens of a slot")
    made.add_argument("--slots", type=int, default=4)
    made.add_argument("--threads", type=int)
    made.add_argument("--seconds", type=float, default=seconds, help="of each workload")
    made.add_argument("--rate", type=float, default=1.0, help="times the workloads' rates")
    made.add_argument("--tokens", type=float, default=1.0, help="times the workloads' lengths")
    made.add_argument("--work", type=Path, help="folder of models and stores, to be kept")
    made.add_argument("--out", type=Path, required=True, help="folder of the results")
    return made


def written(folder: Path, models: str, scale: float, blocks: int | None) -> dict[str, Path]:
    """The files of ``models`` (SHAPE:TYPE, with commas between) by the names that servers give them.

    Those that are not there yet are written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files, missing = dict[str, Path](), dict[Path, Shape]()
    for each in models.split(","):
        shape, _, kind = each.partition(":")
        name = f"{shape}-{kind.lower()}".removesuffix("-")
        files[name] = path = folder / f"{name}.gguf"
        if not path.exists():
            made = named(shape).scaled(scale).cut(blocks)
            missing[path] = replace(made, type=kind or made.type)
    write_all(missing)
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
