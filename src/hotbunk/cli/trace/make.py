"""``hotbunk trace make``: a synthetic trace."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hotbunk.cli.trace import options
from hotbunk.errors import ConfigError

__all__ = ["make"]


def make(
    out: Annotated[Path, typer.Argument(help="The file to write; .gz zips it.", show_default=False)],
    requests: Annotated[
        int | None, typer.Option(help="How many requests.", show_default="1000, with --duration all")
    ] = None,
    duration: Annotated[
        str | None, typer.Option(help="Only what arrives within it, like 1h.", show_default="any")
    ] = None,
    rate: Annotated[float, typer.Option(help="Requests a second on average.")] = 1.0,
    cv: Annotated[
        float, typer.Option(help="Coefficient of variation of the intervals: 1 is Poisson, 0 has equal ones.")
    ] = 1.0,
    burst: Annotated[
        str | None, typer.Option(metavar="ON:OFF:FACTOR", help="Bursts, like 10s:50s:8: mean times, and rates' ratio.")
    ] = None,
    swing: Annotated[
        str | None, typer.Option(metavar="PERIOD:SHARE", help="A rate like day and night, like 24h:0.8.")
    ] = None,
    models: Annotated[str, typer.Option(help="How many models, or names with commas; the most asked first.")] = "4",
    zipf: Annotated[float, typer.Option(help="Exponent of the models' popularity; 0: all alike.")] = 1.0,
    prompt: Annotated[
        str | None,
        typer.Option(metavar="MEDIAN[:SIGMA[:MOST]]", help="Prompts' tokens, log-normal.", show_default="500:1.0:8192"),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(metavar="MEDIAN[:SIGMA[:MOST]]", help="Outputs' tokens, log-normal.", show_default="150:0.8:2048"),
    ] = None,
    lengths: Annotated[
        Path | None, typer.Option(help="A trace to take lengths from instead, of models of the same names if it can.")
    ] = None,
    chains: Annotated[
        float, typer.Option(help="Chance that an answer is followed by a request for another model.")
    ] = 0.0,
    think: Annotated[str, typer.Option(help="Mean time before it.")] = "5s",
    seed: Annotated[int, typer.Option(help="The same seed gives the same trace.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it is there.")] = False,
) -> None:
    """Write a synthetic trace: Poisson or bursty arrivals, popular and rare models, short and long requests, agents.

    ``--rate`` counts the requests that follow no answer; what follows them comes on top.
    """
    # here and not above: they bring NumPy with them, which --help can do without
    from hotbunk.traces.draw import Recipe, draw
    from hotbunk.traces.write import write

    when = options.arrivals(rate, cv, burst, swing)
    recipe = Recipe(
        when,
        options.popularity(models, zipf),
        options.lengths(prompt, output, lengths),
        options.chains(chains, think),
        *options.extent(requests, duration, when, chains),
    )
    trace = draw(recipe, options.seed(seed), out.name)
    if not len(trace):
        raise ConfigError(f"--duration {duration}: no request arrives within it; make it longer, or --rate higher")
    write(trace, out, force)
    names = f"{len(recipe.popularity.models)} models" if len(recipe.popularity.models) > 1 else trace.models[0]
    typer.echo(f"{out}: {len(trace):,} requests for {names} in {trace.duration:,.1f} s")
