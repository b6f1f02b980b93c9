"""``hotbunk profile``: measure what models cost on this machine, and show what is known."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hotbunk.cli.quantities import duration, size
from hotbunk.errors import INTERRUPTED, ConfigError
from hotbunk.placement import MOST_SLOTS

if TYPE_CHECKING:  # it brings libllama and SciPy with it, which --help can do without
    from hotbunk.cli.profile.session import Session

__all__ = ["profile"]

QUICK, FULL = 60.0, 900.0
"""Seconds for each model, unless ``--time-budget`` says otherwise."""
_SHORT, _LONG = 8192, 32768  # tokens of the longest context, quick and full


def profile(
    models: Annotated[
        list[Path] | None, typer.Argument(help="GGUF files, or folders to search; with --show names will do.")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A minute for each model (the default).")] = False,
    full: Annotated[bool, typer.Option("--full", help="Up to a quarter of an hour for each, contexts to 32k.")] = False,
    time_budget: Annotated[str | None, typer.Option(help="Time for each model, like 60s or 5m.")] = None,
    device: Annotated[str, typer.Option(help="Device: auto, cpu, CUDA0, rpc:HOST:PORT.")] = "auto",
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads; default: physical cores less one.")] = None,
    context: Annotated[int | None, typer.Option(min=256, help="Longest context to measure; default 8192.")] = None,
    slots: Annotated[int, typer.Option(min=1, max=MOST_SLOTS, help="Most sequences at once.")] = 8,
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
    from hotbunk.cli.profile.chosen import chosen
    from hotbunk.cli.profile.session import Session
    from hotbunk.cli.profile.tables import tell
    from hotbunk.costs.store import Store
    from hotbunk.profile import export as tables

    given, limit = duration("--time-budget", time_budget), size("--budget", budget)
    seconds = (FULL if full else QUICK) if given is None else given
    measuring = not (show or (export and not models))
    if export and measuring:
        tables.check(export)
    with Store(store, make=measuring) as kept:
        failed: list[str] = []
        if measuring:
            length = context or (_LONG if full else _SHORT)
            session = Session(kept, device, threads, length, slots, limit, seconds, resident)
            failed = _measured(session, models or [])
        if export:
            tables.write(kept, kept.known(), export)
        machines, known = (kept.machines(), kept.known()) if measuring else chosen(kept, models or [], device)
        tell(kept, machines, known, as_json)
    for sentence in failed:
        typer.echo(f"hotbunk: error: {sentence}", err=True)
    if failed:
        raise typer.Exit(1)


def _measured(session: Session, models: list[Path]) -> list[str]:
    try:
        return session.measure(models)
    except KeyboardInterrupt:
        typer.echo("stopped: all that was measured is kept; the same command goes on", err=True)
        raise typer.Exit(INTERRUPTED) from None
