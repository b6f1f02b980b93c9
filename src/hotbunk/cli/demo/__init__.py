"""``hotbunk demo``: two real models where only one fits, an answer interrupted and resumed, and what it cost."""

import asyncio
import importlib.util
import json
import logging
import os
import signal
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from hotbunk.cli.demo.page import Page
from hotbunk.cli.demo.story import GEMMA, SMOL, Story
from hotbunk.cli.samples import gemma3, missing, smollm2
from hotbunk.config import Config, ModelConfig
from hotbunk.errors import INTERRUPTED, HotbunkError

__all__ = ["demo"]


def demo(
    once: Annotated[bool, typer.Option("--once", help="Exit when all is shown, instead of serving on.")] = False,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port to listen at.", show_default="8080; any, if --once")
    ] = None,
) -> None:
    """Serve two small models where only one fits: interrupt an answer, resume it, and see what each switch cost."""
    if importlib.util.find_spec("httpx") is None:
        raise missing("httpx")
    logging.getLogger("hotbunk").setLevel(logging.ERROR)  # what happens is told below, in words
    console = Console(highlight=False)
    with console.status("getting the models"):
        # Gemma is urgent, so that it keeps its turn until it has answered
        models = {SMOL: ModelConfig(path=smollm2()), GEMMA: ModelConfig(path=gemma3(), priority=1)}
    with tempfile.TemporaryDirectory(prefix="hotbunk-demo-") as folder:
        config = Config(
            port=(0 if once else 8080) if port is None else port,
            # libllama's threads crawl when one of them has to wait for a core, and small models want few
            threads=max(1, min(4, (os.cpu_count() or 1) - 1)),
            budget=384 << 20,  # bytes; with this context SmolLM2 takes 198 MiB and Gemma 298 MiB
            context=2048,
            slots=2,
            quantum=0.25,  # seconds; on a fast machine the long answer does not take longer
            # nothing here takes long enough to be foretold; by what is known of this machine both might stand at once
            measure=False,
            store=Path(folder) / "costs.sqlite",
            models=models,
        )
        asyncio.run(_run(config, console, once))


async def _run(config: Config, console: Console, once: bool) -> None:
    """Serve, and tell the story as a client; whichever ends first ends the other."""
    from hotbunk.gateway.server import serve
    from hotbunk.runtime import Runtime

    with console.status("starting the worker") as status:
        async with Runtime(config) as runtime:
            status.stop()
            url: asyncio.Future[str] = asyncio.get_running_loop().create_future()
            serving = asyncio.create_task(serve(runtime, config.host, config.port, url.set_result))
            telling = asyncio.create_task(_tell(url, console, once))
            await asyncio.wait({serving, telling}, return_when=asyncio.FIRST_COMPLETED)
            if not serving.done():
                signal.raise_signal(signal.SIGTERM)
            telling.cancel()
            await serving
    try:
        await telling
    except asyncio.CancelledError:
        raise typer.Exit(INTERRUPTED if once else 0) from None


async def _tell(address: asyncio.Future[str], console: Console, once: bool) -> None:
    import httpx

    url = await address
    # Ctrl-C ends the story at once; the server would first let it go on for some seconds
    this = asyncio.current_task()
    assert this
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, this.cancel)
    page = Page(console, {SMOL: "cyan", GEMMA: "magenta"})
    try:
        async with httpx.AsyncClient(base_url=url, timeout=None) as http:
            await Story(http, page).tell()
    except httpx.HTTPError as error:
        raise HotbunkError(f"the demo lost its server at {url}: {error!r}") from error
    finally:
        page.end()
    if not once:
        body = json.dumps({"model": SMOL, "messages": [{"role": "user", "content": "Why is the sea salty?"}]})
        console.print(f"\n[bold]Serving at {url}/v1 until Ctrl-C.[/bold] From another terminal:")
        console.print(f"curl {url}/v1/chat/completions -d '{body}'", markup=False, soft_wrap=True)
        await asyncio.Event().wait()
