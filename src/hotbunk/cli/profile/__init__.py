"""``hotbunk profile``: measure what models cost on this machine, and show what is known."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hotbunk.errors import ConfigError
from hotbunk.units import parse_duration, parse_size

if TYPE_CHECKING:  # it brings libllama and SciPy with it, which --help can do without
    from hotbunk.cli.profile.session import Session

__all__ = ["profile"]

QUICK, FULL = 60.0, 900.0
"""Seconds for each model, unless ``--time-budget`` says otherwise."""
_SHORT, _LONG = 8192, 32768  # tokens of the longest context, quick and full
_INTERRUPTED = 130


def profile(
    models: Annotated[list[Path] | None, typer.Argument(help="GGUF files, or folders to search.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A minute for each model (the default).")] = False,
    full: Annotated[bool, typer.Option("--full", help="Up to a quarter of an hour for each, contexts to 32k.")] = False,
    time_budget: Annotated[str | None, typer.Option(help="Time for each model, like 60s or 5m.")] = None,
    device: Annotated[str, typer.Option(help="Device: auto, cpu, CUDA0, rpc:HOST:PORT.")] = "auto",
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads; default: physical cores less one.")] = None,
    context: Annotated[int | None, typer.Option(min=256, help="Longest context to measure; default 8192.")] = None,
    slots: Annotated[int, typer.Option(min=1, help="Most sequences at once.")] = 8,
    budget: Annotated[str | None, typer.Option(help="Device memory to use, like 24GiB; default: 90 % of it.")] = None,
    resident: Annotated[
        bool, typer.Option("--resident", help="Only with as many layers on the device as fit, but all of it.")
    ] = False,
    store: Annotated[
        Path | None, typer.Option(help="File to keep figures in.", show_default="~/.local/share/hotbunk/costs.sqlite")
    ] = None,
    show: Annotated[bool, typer.Option("--show", help="Measure nothing; show what is known.")] = False,
    export: Annotated[Path | None, typer.Option(help="Write all that is known to this folder.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure what models cost on this machine: decoding, prefill, moves and KV caches, at all residencies.

    The next point is where the fitted model is least certain; every fourth is drawn at random and held out, to judge
    the fit by. Ends when the held-out error is small enough (5 % for decoding, 10 % for the rest) or the time is up.
    Whatever was measured is kept at once: break off and go on later as you like.
    """
    if quick and full:
        raise ConfigError("--quick and --full are two things; choose one")
    from hotbunk.cli.profile.session import Session
    from hotbunk.cli.profile.tables import tell
    from hotbunk.costs.store import Store

    with Store(store) as kept:
        failed: list[str] = []
        if not (show or (export and not models)):
            seconds = _seconds(time_budget) if time_budget else FULL if full else QUICK
            length = context or (_LONG if full else _SHORT)
            session = Session(kept, device, threads, length, slots, _bytes(budget), seconds, resident)
            failed = _measured(session, models or [])
        known = kept.known()
        if export:
            from hotbunk.profile.export import write

            write(kept, known, export)
        tell(kept, known, as_json)
    for sentence in failed:
        typer.echo(f"hotbunk: error: {sentence}", err=True)
    if failed:
        raise typer.Exit(1)


def _measured(session: Session, models: list[Path]) -> list[str]:
    try:
        return session.measure(models)
    except KeyboardInterrupt:
        typer.echo("stopped: all that was measured is kept; the same command goes on", err=True)
        raise typer.Exit(_INTERRUPTED) from None


def _bytes(budget: str | None) -> int | None:
    try:
        return parse_size(budget) if budget else None
    except ValueError as error:
        raise ConfigError(f"--budget {budget}: {error}") from error


def _seconds(text: str) -> float:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise ConfigError(f"--time-budget {text}: {error}") from error
