"""llama-server's router beside hotbunk's own server: from the request for the other model until its first token."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from hotbunk.cli.bench.server import Server, free_port, running
from hotbunk.errors import ConfigError

__all__ = ["Rival", "compare", "find", "hotbunk", "in_turn", "links", "llama_server", "router"]

PROMPT = "Why do sailors share bunks?"
SETTLED = 120.0
"""Seconds that the host store gets to fill."""


@dataclass(frozen=True, slots=True)
class Rival:
    """Medians of the seconds from a request for a model that is not loaded to its first token."""

    model: str
    hotbunk: float
    router: float

    @property
    def ratio(self) -> float:
        """How many times faster hotbunk is."""
        return self.router / self.hotbunk


def find(versus: str) -> Path:
    """The program that ``--versus llama-server[=PATH]`` names.

    Raises:
        ConfigError: there is none.
    """
    name, _, given = versus.partition("=")
    if name != "llama-server":
        raise ConfigError(f"--versus {versus}: the only peer is llama-server; write llama-server or llama-server=PATH")
    found = shutil.which(given or name)
    if found is None:
        raise ConfigError(f"--versus {versus}: there is no such program; write llama-server=PATH")
    return Path(found).absolute()


def compare(
    models: dict[str, Path],
    peer: Path,
    device: str,
    budget: int,
    context: int,
    slots: int,
    threads: int | None,
    rounds: int,
) -> list[Rival]:
    """Serve ``models`` by one and then by the other, with room for one model, and ask for them in turn.

    Raises:
        EngineError: one of them failed.
    """
    with links(models) as folder:
        with hotbunk(folder, device, budget, context, slots, threads) as server:
            server.wait_stored(SETTLED)
            ours = in_turn(server, list(models), rounds)
        with router(peer, folder, context, slots, threads) as server:
            theirs = in_turn(server, list(models), rounds)
    return [Rival(name, ours[name], theirs[name]) for name in models]


@contextmanager
def hotbunk(
    folder: Path, device: str, budget: int | None, context: int, slots: int, threads: int | None, *more: str
) -> Iterator[Server]:
    """``hotbunk serve`` on the models of a folder, in a process of its own."""
    port = free_port()
    command = [sys.executable, "-m", "hotbunk", "serve", str(folder), "--port", str(port), "--device", device]
    command += ["--context", str(context), "--slots", str(slots), *more]
    command += ["--budget", str(budget)] if budget else []
    command += ["--threads", str(threads)] if threads else []
    with running("hotbunk serve", command, port, "/healthz") as server:
        yield server


@contextmanager
def router(program: Path, folder: Path, context: int, slots: int, threads: int | None, *more: str) -> Iterator[Server]:
    """llama-server as a router for a folder's models, of which it keeps one loaded."""
    options = ["--models-dir", str(folder), "--models-max", "1", *more]
    with llama_server(program, context, slots, threads, *options) as server:
        yield server


@contextmanager
def llama_server(program: Path, context: int, slots: int, threads: int | None, *more: str) -> Iterator[Server]:
    """llama-server, everything on the device and nothing left to its own measuring unless told so."""
    port = free_port()
    command = [str(program), "--port", str(port), "-c", str(context * slots), "-np", str(slots), "-fit", "off", *more]
    command += ["-t", str(threads)] if threads else []
    # its libraries lie beside it, as it is built and handed on
    paths = [str(program.parent), *filter(None, [os.environ.get("LD_LIBRARY_PATH")])]
    environment = {**os.environ, "LD_LIBRARY_PATH": ":".join(paths)}
    with running("llama-server", command, port, "/health", environment) as server:
        yield server


def in_turn(server: Server, models: list[str], rounds: int) -> dict[str, float]:
    """Median seconds by model; every request is for the model that was not asked last."""
    seconds: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(rounds + 1):
        for name in models:
            seconds[name].append(server.first_token(name, PROMPT))
    return {name: median(times[1:]) for name, times in seconds.items()}


@contextmanager
def links(models: dict[str, Path]) -> Iterator[Path]:
    """A folder that has the files under their names."""
    with tempfile.TemporaryDirectory(prefix="hotbunk-models-") as name:
        folder = Path(name)
        for model, path in models.items():
            (folder / f"{model}.gguf").symlink_to(path.absolute())
        yield folder
