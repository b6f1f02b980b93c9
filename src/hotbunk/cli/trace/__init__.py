"""``hotbunk trace``: make traces, and show what is in them."""

import typer

from hotbunk.cli.trace.make import make
from hotbunk.cli.trace.show import show

__all__ = ["app"]

app = typer.Typer(help="Make traces of requests, and show what is in them.", no_args_is_help=True)
app.command()(make)
app.command()(show)
