"""Point 3 and foreign use: what a client of the gateway sees."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from report import Run

from hotbunk.cli.bench.rival import PROMPT, compare, hotbunk, in_turn, links
from hotbunk.cli.bench.server import Server
from hotbunk.measure.wire import worker
from hotbunk.worker.protocol import Open, Opened

CONTEXT = 8192
ROUNDS = 5
GB = 1e9
BEAT = 1.5
"""Seconds after which what the driver says has reached hotbunk's state."""
PATIENCE = 15.0
"""Seconds that hotbunk gets to notice foreign use, and that it is over."""


def first_token(run: Run) -> None:
    """Point 3: the request for the other model until its first token, beside llama-server's router."""
    run.report.title("3. HTTP request for the other model until its first token")
    models = {name: run.files[name] for name in ("8b", "3b")}
    budget = _largest(run, models)
    if run.server is None:
        run.report.say("no llama-server given: hotbunk alone")
        with links(models) as folder, hotbunk(folder, run.device, budget, CONTEXT, 1, run.threads) as server:
            server.wait_stored(PATIENCE)
            for name, seconds in in_turn(server, list(models), ROUNDS).items():
                _judge(run, name, seconds)
        return
    for found in compare(models, run.server, run.device, budget, CONTEXT, 1, run.threads, ROUNDS):
        _judge(run, found.model, found.hotbunk)
        measured = f"{found.router:.2f} s, {found.ratio:.1f} x"
        run.speed(f"{found.model}, llama-server's router", measured, ">= 6 x", found.ratio >= 6)


def _judge(run: Run, model: str, seconds: float) -> None:
    run.speed(f"{model}, hotbunk", f"{seconds:.3f} s", "<= 0.5 s" if model == "8b" else "", seconds <= 0.5)


def _largest(run: Run, models: dict[str, Path]) -> int:
    """A budget that holds the larger model and nothing more."""
    with worker(run.device, run.threads) as wire:
        layers = {name: wire.ask(Open(name, str(path)), Opened).layers for name, path in models.items()}
        return max(wire.predict(name, CONTEXT, 1, count).device.total for name, count in layers.items())


def foreign(run: Run) -> None:
    """Another process takes device memory while hotbunk serves, and gives it back."""
    run.report.title("foreign use of the device while serving")
    with (
        links({name: run.files[name] for name in ("8b", "3b")}) as folder,
        hotbunk(folder, run.device, None, CONTEXT, 1, run.threads) as server,
    ):
        _answer(run, server, "alone")
        if _state(server)["free"] is None:
            run.report.say("the driver of this device does not tell what is free")
            return
        for share in (0.25, 0.88):  # the larger one leaves less than the 8b takes
            _squeeze(run, server, share)


def _squeeze(run: Run, server: Server, share: float) -> None:
    """Have so much of the device's free memory taken, and given back."""
    for name in ("8b", "3b"):
        server.post(f"/api/models/{name}/unload", {})
    sleep(BEAT)
    before = _state(server)
    taken = int(share * before["free"])
    with _occupied(run.device, taken):
        seconds = _until(lambda: _state(server)["budget"] < before["budget"])
        now = _state(server)
        measured = f"{before['budget'] / GB:.1f} -> {now['budget'] / GB:.1f} GB in {seconds:.1f} s"
        run.report.row(f"{taken / GB:.1f} GB taken: budget", measured, "falls", now["budget"] < before["budget"])
        _answer(run, server, "meanwhile")
        after = _state(server)
        used = f"{after['used'] / GB:.1f} of {after['budget'] / GB:.1f} GB"
        run.report.row("  used", used, "<= budget", after["used"] <= after["budget"])
    seconds = _until(lambda: _state(server)["budget"] >= 0.98 * before["budget"])
    now = _state(server)
    measured = f"{now['budget'] / GB:.1f} GB in {seconds:.1f} s"
    run.report.row("given back: budget", measured, "as before", now["budget"] >= 0.98 * before["budget"])
    _answer(run, server, "afterwards")


def _answer(run: Run, server: Server, when: str) -> None:
    """Both models still answer; each with how many layers."""
    for name in ("8b", "3b"):
        seconds = server.first_token(name, PROMPT)
        layers = next(m["layers"] for m in server.get("/api/state")["models"] if m["id"] == name)
        run.report.row(f"  {name} answers {when}, {layers} layers", f"{seconds:.2f} s", "answers", True)


def _state(server: Server) -> dict[str, Any]:
    device: dict[str, Any] = server.get("/api/state")["devices"][0]
    return device


def _until(true: Callable[[], bool]) -> float:
    """Seconds until it is true, or until patience ends."""
    began = monotonic()
    while not true() and monotonic() - began < PATIENCE:
        sleep(0.1)
    return monotonic() - began


@contextmanager
def _occupied(device: str, size: int) -> Iterator[None]:
    """A process that holds so many bytes of the device."""
    command = [sys.executable, str(Path(__file__).with_name("occupy.py")), "--device", device, "--size", str(size)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stdout
        process.stdout.readline()
        yield
        process.stdin.close()
