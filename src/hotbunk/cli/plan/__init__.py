"""``hotbunk plan``: what models would do within a budget, and when to switch, to split or to wait."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from hotbunk.cli.quantities import size
from hotbunk.errors import INTERRUPTED
from hotbunk.placement import MOST_SLOTS

__all__ = ["plan"]


def plan(
    models: Annotated[list[Path], typer.Argument(help="GGUF files, or folders to search.", show_default=False)],
    budget: Annotated[
        str | None,
        typer.Option(help="Device memory to plan for, like 24GiB.", show_default="what serve would use"),
    ] = None,
    device: Annotated[str, typer.Option(help="Device: auto, cpu, CUDA0, rpc:HOST:PORT.")] = "auto",
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads.", show_default="physical cores less one")
    ] = None,
    context: Annotated[
        int | None, typer.Option(min=2, help="Context of a slot, in tokens.", show_default="trained, at most 8192")
    ] = None,
    slots: Annotated[int, typer.Option(min=1, max=MOST_SLOTS, help="Sequences at a time for each model.")] = 4,
    prompt: Annotated[
        int | None, typer.Option(min=1, help="Tokens of a request's prompt.", show_default="1000, at most half a slot")
    ] = None,
    store: Annotated[
        Path | None, typer.Option(help="Where profiles are kept.", show_default="~/.local/share/hotbunk/costs.sqlite")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Tell what models would do within a budget, and what it costs to switch between them.

    For each model speed, time to the first token and bytes at every sensible placement; which of them fit together;
    what a switch costs each way; and, when a request comes for one model while another runs, whether it is better to
    switch, to split the device, or to wait.
    """
    # here and not above: they bring libllama and SciPy with them, which --help can do without
    from hotbunk.cli.plan.outlook import Outlook, rows
    from hotbunk.cli.plan.survey import survey
    from hotbunk.cli.plan.tables import show

    try:
        with Console(stderr=True).status("looking at models and machine"):
            outlook = Outlook(survey(models, device, threads, size("--budget", budget), context, slots, prompt, store))
            printed = rows(outlook)
    except KeyboardInterrupt:
        typer.echo("stopped: there is no plan yet; nothing was changed", err=True)
        raise typer.Exit(INTERRUPTED) from None
    if as_json:
        typer.echo(json.dumps(printed, indent=2))
    else:
        show(outlook, Console())
    for sentence in outlook.survey.failed:
        typer.echo(f"hotbunk: error: {sentence}", err=True)
    if outlook.survey.failed:
        raise typer.Exit(1)
