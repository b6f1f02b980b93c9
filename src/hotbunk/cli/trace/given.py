"""Traces that were given on the command line."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from hotbunk.cli.quantities import duration
from hotbunk.errors import ConfigError

if TYPE_CHECKING:  # NumPy, which --help can do without
    from hotbunk.traces import Trace

__all__ = ["given"]


def given(paths: Sequence[Path], skip_bad: bool = False, speed: float = 1.0, until: str | None = None) -> Trace:
    """Read files as one trace, ``speed`` times as fast, of which what arrives before ``until`` counts.

    Rows that are left out are told on the terminal.

    Raises:
        ConfigError: one cannot be read, a row is bad and not to be left out, the speed is none, or nothing arrives.
    """
    from hotbunk.traces.read import read_all

    if not (isfinite(speed) and speed > 0):
        raise ConfigError(f"--speed {speed:g}: not a speed; give a factor above 0, like 2 for twice as fast")
    found = read_all(paths, "skip" if skip_bad else "refuse")
    if found.skipped:
        typer.echo(f"hotbunk: {found.told}", err=True)
    trace = found.trace if speed == 1 else found.trace.sped(speed)
    if (stop := duration("--until", until)) is not None:
        trace = trace.until(stop)
        if not len(trace):
            raise ConfigError(f"--until {until}: nothing arrives before that; give more")
    return trace
