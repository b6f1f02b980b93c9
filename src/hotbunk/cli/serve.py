"""``hotbunk serve``: the endpoint."""

import asyncio
import logging
import signal
from pathlib import Path
from typing import Annotated

import typer

from hotbunk.config import Config, dump, load

__all__ = ["run", "serve"]


def serve(
    paths: Annotated[
        list[Path] | None, typer.Argument(help="GGUF files, or folders to search.", show_default=False)
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="A TOML file; what the command line says goes before.", show_default=False)
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen at.", show_default="127.0.0.1")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen at.", show_default="8080")] = None,
    cors_origins: Annotated[
        list[str] | None,
        typer.Option(help="Origin whose pages may ask, or *; may be repeated.", show_default="none but the server's"),
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="Device: auto, cpu, CUDA0, rpc:HOST:PORT.", show_default="auto")
    ] = None,
    budget: Annotated[
        str | None, typer.Option(help="Device memory to use, like 6GiB.", show_default="most of what is free")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(help="CPU threads of each worker.", show_default="physical cores less one")
    ] = None,
    policy: Annotated[str | None, typer.Option(help="Scheduling policy.", show_default="priced")] = None,
    quantum: Annotated[
        str | None,
        typer.Option(help="A turn of timeslice while others wait; others': the least one.", show_default="2s"),
    ] = None,
    max_wait: Annotated[str | None, typer.Option(help="Bound on a request's waiting.", show_default="120s")] = None,
    max_queue: Annotated[int | None, typer.Option(help="Requests that may wait.", show_default="512")] = None,
    context: Annotated[
        int | None, typer.Option(help="Tokens of context for each slot.", show_default="trained, at most 8192")
    ] = None,
    slots: Annotated[int | None, typer.Option(help="Sequences at a time for each model.", show_default="4")] = None,
    host_memory: Annotated[
        str | None, typer.Option(help="Pinned host memory for weights; 0: none.", show_default="auto: half of the free")
    ] = None,
    arena: Annotated[
        str | None, typer.Option(help="Pinned host memory for suspended sequences.", show_default="auto")
    ] = None,
    held_memory: Annotated[
        str | None, typer.Option(help="Ordinary host memory for those that do not fit there.", show_default="4GiB")
    ] = None,
    spill_dir: Annotated[
        Path | None, typer.Option(help="Folder for those that fit in neither.", show_default="temporary")
    ] = None,
    store: Annotated[
        Path | None,
        typer.Option(help="File of what was measured.", show_default="~/.local/share/hotbunk/costs.sqlite"),
    ] = None,
    measure: Annotated[
        bool | None,
        typer.Option("--measure/--no-measure", help="Measure a machine not known yet.", show_default="measure"),
    ] = None,
    print_config: Annotated[bool, typer.Option("--print-config", help="Print the settings as TOML and exit.")] = False,
) -> None:
    """Serve models from one OpenAI-compatible endpoint."""
    options = {
        "paths": paths or None,
        "host": host,
        "port": port,
        "cors_origins": cors_origins or None,
        "device": device,
        "budget": budget,
        "threads": threads,
        "policy": policy,
        "quantum": quantum,
        "max_wait": max_wait,
        "max_queue": max_queue,
        "context": context,
        "slots": slots,
        "host_memory": host_memory,
        "arena": arena,
        "held_memory": held_memory,
        "spill_dir": spill_dir,
        "store": store,
        "measure": measure,
    }
    settings = load(config, {key: value for key, value in options.items() if value is not None})
    if print_config:
        typer.echo(dump(settings), nl=False)
    else:
        run(settings)


def run(config: Config) -> None:
    """Serve until interrupted.

    Raises:
        HotbunkError: the configuration asks for something impossible, or the port is in use.
    """
    # here and not above: they bring libllama and every device with them, which --help can do without
    from hotbunk.gateway.server import bind
    from hotbunk.gateway.server import serve as answer
    from hotbunk.runtime import Runtime

    async def until_stopped() -> None:
        # as Ctrl-C does; once requests are answered, the server takes care of both
        starting = asyncio.current_task()
        assert starting
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, starting.cancel)
        async with Runtime(config) as runtime:
            await answer(runtime, config.host, config.port, _announce, config.cors_origins)

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    with bind(config.host, config.port):
        pass  # a port in use is told before models are loaded, maybe beside those of the server that has it
    try:
        asyncio.run(until_stopped())
    except asyncio.CancelledError:
        typer.echo("stopped before anything was served", err=True)


def _announce(url: str) -> None:
    typer.echo(f"hotbunk serves at {url}/v1")
