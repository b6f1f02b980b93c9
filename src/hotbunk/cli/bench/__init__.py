"""``hotbunk bench``: what hotbunk costs and what it saves, against libllama alone, the bus and llama-server."""

import typer

from hotbunk.cli.bench.decode import decode
from hotbunk.cli.bench.replay import replay
from hotbunk.cli.bench.swap import swap
from hotbunk.cli.bench.ttft import ttft

__all__ = ["app"]

app = typer.Typer(help="Measure what hotbunk costs and what it saves.", no_args_is_help=True)
app.command()(decode)
app.command()(ttft)
app.command()(swap)
app.command()(replay)
