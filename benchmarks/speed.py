"""Points 5 and 6: decode beside llama-bench, prefill at partial residency beside llama-server."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from report import Run

from hotbunk.cli.bench.rival import hotbunk, links, llama_server
from hotbunk.cli.bench.server import Server
from hotbunk.errors import EngineError
from hotbunk.measure.wire import PROMPT, Wire, prompt, worker
from hotbunk.worker.protocol import Load, Open, Opened, Unload

REPEATS = 3
CONTEXT = 1024  # for decoding; llama-bench has just what its tokens need
LONG = 8192


def decode(run: Run) -> None:
    """Point 5: a greedy stream through the worker, timed at its socket, against llama-bench's loop.

    The best of a few runs counts on either side: what comes in between says nothing of either.
    """
    run.report.title("5. decode, tokens/s, one stream: through the worker against llama-bench")
    for name in ("8b", "8b-q4"):
        plan = {run.split(of): (128 if of == 37 else 32) for of in (37, 30, 20, 10)}
        ours, mapped = _decoded(run, name, plan), _decoded(run, name, plan, "--host-memory", "0")
        theirs = _benched(run, run.files[name], plan) if run.bench else {}
        for layers in plan:
            label = f"{name}, {layers} of {run.layers} layers, {run.threads} threads"
            if layers in theirs:
                ratio = ours[layers] / theirs[layers]
                run.speed(
                    label, f"{ours[layers]:.1f} against {theirs[layers]:.1f}: {ratio:.1%}", ">= 97 %", ratio >= 0.97
                )
            else:
                run.report.row(label, f"{ours[layers]:.1f}", "no llama-bench")
            run.report.row("  out of the mapped file", f"{mapped[layers]:.1f}", "(no host store)")


def _decoded(run: Run, name: str, plan: dict[int, int], *options: str) -> dict[int, float]:
    with worker(run.device, run.threads, *options) as wire:
        wire.ask(Open(name, str(run.files[name])), Opened)
        if run.judged and not options:
            _settle(wire, name)
        return {layers: _speed(wire, name, layers, count) for layers, count in plan.items()}


def _speed(wire: Wire, name: str, layers: int, count: int) -> float:
    wire.move(Load(name, wire.predict(name, CONTEXT, 1, layers)))
    speeds = []
    for _ in range(REPEATS):
        sequence = wire.start(name, PROMPT, CONTEXT)
        wire.tokens(sequence, 8)  # the first evaluations of a shape build its graph
        began = perf_counter()
        wire.tokens(sequence, count)
        speeds.append(count / (perf_counter() - began))
        wire.cancel(sequence)
    wire.move(Unload(name))
    return max(speeds)


def _benched(run: Run, path: Path, plan: dict[int, int]) -> dict[int, float]:
    """llama-bench's speed by layers; one call for each number of tokens."""
    assert run.bench
    found: dict[int, float] = {}
    for count in set(plan.values()):
        layers = ",".join(str(each) for each, wanted in plan.items() if wanted == count)
        command = [str(run.bench), "-m", str(path), "-t", str(run.threads), "-p", "0", "-n", str(count)]
        command += ["-r", str(REPEATS), "-ngl", layers, "-o", "json"]
        paths = [str(run.bench.parent), *filter(None, [os.environ.get("LD_LIBRARY_PATH")])]
        done = subprocess.run(
            command, capture_output=True, text=True, env={**os.environ, "LD_LIBRARY_PATH": ":".join(paths)}
        )
        if done.returncode:
            run.report.say(f"llama-bench ended with {done.returncode}: {done.stderr.strip()[-300:]}")
            continue
        found |= {test["n_gpu_layers"]: max(test["samples_ts"]) for test in json.loads(done.stdout)}
    return found


def prefill(run: Run) -> None:
    """Point 6: 6,000 tokens with most layers on the host, whose weights stream to the device as they are needed."""
    run.report.title(
        f"6. prefill of {run.tokens} tokens, tokens/s: worker, gateway; llama-server by default and without mmap"
    )
    splits = [run.split(20), run.split(30)]
    tokens = prompt(run.tokens)
    wire = _prefilled(run, splits, tokens)
    http = _over_http(run, splits, tokens)
    for layers in splits:
        label = f"{layers} of {run.layers} layers"
        run.report.row(f"{label}: worker", f"{wire[layers]:.0f}")
        run.report.row(f"{label}: gateway", f"{http[layers]:.0f}")
        if run.server:
            mapped, plain = (_peer(run, layers, tokens, mode) for mode in ("auto", "none"))
            ratio, other = http[layers] / mapped, http[layers] / plain
            run.speed(f"{label}: against llama-server's {mapped:.0f}", f"{ratio:.2f} x", ">= 3 x", ratio >= 3)
            run.speed(f"{label}: without mmap {plain:.0f}", f"{other:.2f} x", ">= 1 x", other >= 0.99)


def _prefilled(run: Run, splits: list[int], tokens: list[int]) -> dict[int, float]:
    speeds = {}
    with worker(run.device, run.threads) as wire:
        wire.ask(Open("8b", str(run.files["8b"])), Opened)
        if run.judged:
            _settle(wire, "8b")
        for layers in splits:
            wire.move(Load("8b", wire.predict("8b", LONG, 1, layers)))
            times = []
            for _ in range(REPEATS):
                times.append(wire.finish(wire.start("8b", tokens, 1)).prefill)
            wire.move(Unload("8b"))
            speeds[layers] = len(tokens) / median(times)
    return speeds


def _over_http(run: Run, splits: list[int], tokens: list[int]) -> dict[int, float]:
    speeds = {}
    with (
        links({"8b": run.files["8b"]}) as folder,
        hotbunk(folder, run.device, None, LONG, 1, run.threads) as server,
    ):
        if run.judged:
            server.wait_stored(60)
        for layers in splits:
            server.post("/api/models/8b/load", {"layers": layers})
            answers = [_asked(server, {"model": "8b", "prompt": tokens, "max_tokens": 1}) for _ in range(REPEATS)]
            speeds[layers] = median(answers)
    return speeds


def _peer(run: Run, layers: int, tokens: list[int], mode: str) -> float:
    assert run.server
    options = ["-m", str(run.files["8b"]), "-ngl", str(layers), "--load-mode", mode]
    with llama_server(run.server, LONG, 1, run.threads, *options) as server:
        body = {"prompt": tokens, "max_tokens": 1, "cache_prompt": False}
        return max(_asked(server, body) for _ in range(2))  # the first reads what was not read yet


def _asked(server: Server, body: dict[str, Any]) -> float:
    timings = server.post("/v1/completions", body).get("timings") or {}
    if not timings.get("prompt_per_second"):
        raise EngineError(f"{server.name} does not tell its prefill speed: {timings}")
    return float(timings["prompt_per_second"])


def _settle(wire: Wire, name: str) -> None:
    """Wait for the model to be in the host store; for a minute at most."""
    for _ in range(60):
        there, size = wire.fresh().stored.get(name, (0, 1))
        if there >= size:
            return
