"""The command line: one module a command. Nothing here knows how anything is done."""

import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import hotbunk
from hotbunk.cli import bench, demo, models, plan, profile, serve, simulate, study, trace
from hotbunk.errors import INTERRUPTED, HotbunkError

__all__ = ["app", "main"]


class _Commands(TyperGroup):
    """Commands which say that they were broken off, where they have nothing better to say of it."""

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:  # typer would end without a word
            typer.echo("stopped", err=True)
            raise typer.Exit(INTERRUPTED) from None


app = typer.Typer(
    name="hotbunk",
    cls=_Commands,
    help="Serve more language models than fit in device memory, from one OpenAI-compatible endpoint.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(models.models)
app.command()(serve.serve)
app.command()(demo.demo)
app.command()(profile.profile)
app.command()(plan.plan)
app.command()(simulate.simulate)
app.add_typer(bench.app, name="bench")
app.add_typer(study.app, name="study")
app.add_typer(trace.app, name="trace")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"hotbunk {hotbunk.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Take the options that come before the command."""


def main() -> None:
    """Run the command line.

    What hotbunk refuses is told in one line and exits with 1, wrong usage with 2, what is broken off with 130.
    """
    try:
        app()
    except HotbunkError as error:
        print(f"hotbunk: error: {error}", file=sys.stderr)
        sys.exit(1)
