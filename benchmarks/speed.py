"""Points 5 and 6: decode beside llama-bench, prefill at partial residency beside llama-server."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter, sleep
from typing import Any

from report import Run

from hotbunk.cli.bench.rival import hotbunk, links, llama_server
from hotbunk.cli.bench.server import Server
from hotbunk.errors import EngineError
from hotbunk.measure.wire import PROMPT, Wire, prompt, worker
from hotbunk.worker.protocol import Load, Open, Opened, Unload

REPEATS = 3
TURNS, RUNS = 5, 2  # of decoding, on either side; the best run of a turn counts
REST = 3.0  # seconds before a turn of ours, as long as llama-bench takes to load: cores that have rested are faster
TOKENS = {37: 128, 30: 32, 20: 24, 10: 16}  # decoded in a run, by layers on the device
CONTEXT = 1024  # for decoding; llama-bench has just what its tokens need
LONG = 8192


def decode(run: Run) -> None:
    """Point 5: a greedy stream through the worker, timed at its socket, against llama-bench's loop.

    The two take turns, each as often before the other as after it, and the median of the turns' ratios counts: the
    cores of a shared host are faster in one minute than in the next, by up to a fifth.
    """
    run.report.title("5. decode, tokens/s, one stream: through the worker against llama-bench, in turns")
    for name in ("8b", "8b-q4"):
        with worker(run.device, run.threads) as wire:
            wire.ask(Open(name, str(run.files[name])), Opened)
            if run.judged:
                _settle(wire, name)
            for of, count in TOKENS.items():
                layers = run.split(of)
                wire.move(Load(name, wire.predict(name, CONTEXT, 1, layers)))
                _take_turns(run, wire, name, layers, count)
                wire.move(Unload(name))


def _take_turns(run: Run, wire: Wire, name: str, layers: int, count: int) -> None:
    label = f"{name}, {layers} of {run.layers} layers, {run.threads} threads"
    if not run.bench:
        run.report.row(label, f"{_speed(wire, name, count):.1f}", "no llama-bench")
        return
    sides: dict[str, Callable[[], float]] = {
        "ours": lambda: _rested(wire, name, count),
        "theirs": lambda: _benched(run, run.files[name], layers, count),
    }
    speeds: dict[str, list[float]] = {side: [] for side in sides}
    for turn in range(TURNS):
        for side in sorted(sides, reverse=turn % 2 == 1):
            speeds[side].append(sides[side]())
    ratios = [ours / theirs for ours, theirs in zip(*speeds.values(), strict=True)]
    medians = [f"{median(each):.1f}" for each in speeds.values()]
    ratio = median(ratios)
    run.speed(label, f"{' against '.join(medians)}: {ratio:.1%}", ">= 97 %", ratio >= 0.97)
    run.report.row("  turn by turn", " ".join(f"{each:.0%}" for each in ratios))


def _rested(wire: Wire, name: str, count: int) -> float:
    sleep(REST)
    return _speed(wire, name, count)


def _speed(wire: Wire, name: str, count: int) -> float:
    """The best of a few runs: what comes in between says nothing of the worker."""
    speeds = []
    for _ in range(RUNS):
        sequence = wire.start(name, PROMPT, CONTEXT)
        wire.tokens(sequence, 8)  # the first evaluations of a shape build its graph
        began = perf_counter()
        wire.tokens(sequence, count)
        speeds.append(count / (perf_counter() - began))
        wire.cancel(sequence)
    return max(speeds)


def _benched(run: Run, path: Path, layers: int, count: int) -> float:
    """The best of as many runs of llama-bench."""
    assert run.bench
    command = [str(run.bench), "-m", str(path), "-t", str(run.threads), "-p", "0", "-n", str(count)]
    command += ["-r", str(RUNS), "-ngl", str(layers), "-o", "json"]
    paths = [str(run.bench.parent), *filter(None, [os.environ.get("LD_LIBRARY_PATH")])]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "LD_LIBRARY_PATH": ":".join(paths)}
    )
    if done.returncode:
        raise EngineError(f"llama-bench ended with {done.returncode}: {done.stderr.strip()[-300:]}")
    [test] = json.loads(done.stdout)
    return float(max(test["samples_ts"]))


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
