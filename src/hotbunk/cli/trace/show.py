"""``hotbunk trace show``: figures of traces, and a page with plots."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hotbunk.cli.figures import writable
from hotbunk.cli.trace.given import given
from hotbunk.errors import ConfigError
from hotbunk.extras import needs

if TYPE_CHECKING:  # NumPy, which --help can do without
    from hotbunk.traces import Trace

__all__ = ["show"]


def show(
    traces: Annotated[list[Path], typer.Argument(help="Files, taken together as one trace.", show_default=False)],
    plot: Annotated[Path | None, typer.Option(help="Write a page with plots to this file (HTML).")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave out rows that are no request.")] = False,
    speed: Annotated[float, typer.Option(help="So many times as fast.")] = 1.0,
) -> None:
    """Tell what is in traces: rates, burstiness, the popularity of models, lengths.

    Traces are read in hotbunk's own form, Azure's, BurstGPT's and Mooncake's, as published, gzipped or not.
    """
    # here and not above: they bring NumPy and SciPy with them, which --help can do without
    from hotbunk.report.render import text
    from hotbunk.traces.describe import describe
    from hotbunk.traces.page import page

    if plot:
        needs("matplotlib")
        writable("--plot", plot)
    trace = given(traces, skip_bad, speed)
    if as_json:
        typer.echo(json.dumps({"name": trace.name, **asdict(describe(trace))}, indent=2))
    else:
        typer.echo(text(page(trace, plots=False)).strip())
    if plot:
        _plot(trace, plot)


def _plot(trace: Trace, path: Path) -> None:
    from hotbunk.report.render import html
    from hotbunk.traces.page import page

    try:
        path.write_text(html(page(trace)), encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"--plot {path}: cannot be written: {error.strerror}") from error
