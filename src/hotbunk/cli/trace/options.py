"""The options of ``hotbunk trace make`` as what is to be drawn; whatever makes no sense is told plainly."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from hotbunk.errors import ConfigError
from hotbunk.units import parse_duration

if TYPE_CHECKING:  # NumPy, which --help can do without
    from hotbunk.traces import Trace
    from hotbunk.traces.arrivals import Arrivals, Burst, Swing
    from hotbunk.traces.draw import Chains, LogNormal, Popularity

__all__ = ["arrivals", "chains", "extent", "lengths", "popularity", "seed"]

REQUESTS = 1000
"""How many, if neither that nor for how long is said."""
PROMPT, OUTPUT = (500.0, 1.0, 8192), (150.0, 0.8, 2048)
"""Median, sigma and the most, unless something else is said."""
_MANY, _MODELS = 10_000_000, 100_000  # more than that is a slip
_PERIODS = 50_000  # of bursts, or of a swing
_LONGEST = 2**30  # tokens; a chain's prompt is still a number then


def arrivals(rate: float, cv: float, burst: str | None, swing: str | None) -> Arrivals:
    """From ``--rate``, ``--cv``, ``--burst`` and ``--swing``."""
    from hotbunk.traces.arrivals import Arrivals

    _check("--rate", rate, 1e-6, 1e6, "requests a second")
    _check("--cv", cv, 0, 100, "a coefficient of variation")
    return Arrivals(rate, cv, None if burst is None else _burst(burst), None if swing is None else _swing(swing))


def popularity(models: str, exponent: float) -> Popularity:
    """From ``--models`` and ``--zipf``."""
    from hotbunk.traces.draw import Popularity, named

    _check("--zipf", exponent, 0, 20, "an exponent")
    if models.strip().lstrip("+-").isdecimal():
        _check("--models", int(models), 1, _MODELS, "a number of models")
        return Popularity(named(int(models)), exponent)
    names = [name.strip() for name in models.split(",")]
    if not all(names) or len(set(names)) < len(names):
        raise ConfigError(f"--models {models}: give a number, or names with commas, each once, like small,large")
    return Popularity(tuple(names), exponent)


def lengths(prompt: str | None, output: str | None, file: Path | None) -> tuple[LogNormal, LogNormal] | Trace:
    """From ``--prompt`` and ``--output``, or from ``--lengths``."""
    from hotbunk.traces.draw import LogNormal
    from hotbunk.traces.read import read

    if file is None:
        asked, told = _spread("--prompt", prompt, PROMPT), _spread("--output", output, OUTPUT)
        return LogNormal(*asked), LogNormal(*told)
    if prompt is not None or output is not None:
        raise ConfigError("--lengths takes the lengths from a trace; leave out --prompt and --output, or --lengths")
    return read(file).trace


def chains(chance: float, think: str) -> Chains:
    """From ``--chains`` and ``--think``."""
    from hotbunk.traces.draw import Chains

    _check("--chains", chance, 0, 0.999, "a chance")
    return Chains(chance, _duration("--think", think, think))


def extent(
    requests: int | None, duration: str | None, arrivals: Arrivals, chance: float
) -> tuple[int | None, float | None]:
    """From ``--requests`` and ``--duration``: how many at most, and for how long."""
    if requests is not None:
        _check("--requests", requests, 1, _MANY, "a number of requests")
    seconds = None if duration is None else _positive("--duration", duration, duration)
    if requests is None and seconds is None:
        requests = REQUESTS
    lasts = min(math.inf if seconds is None else seconds, (requests or math.inf) / arrivals.rate)
    if requests is None and (many := lasts * arrivals.rate / (1 - chance)) > _MANY:
        raise ConfigError(f"--duration {duration}: that gives {many:,.0f} requests; the most is {_MANY:,}")
    burst, swing = arrivals.burst, arrivals.swing
    for option, period in (("--burst", burst and burst.on + burst.off), ("--swing", swing and swing.period)):
        if period and lasts / period > _PERIODS:
            raise ConfigError(
                f"{option}: {lasts:,.0f} s have {lasts / period:,.0f} periods of {period:g} s; the most is {_PERIODS:,}"
            )
    return requests, seconds


def seed(number: int) -> int:
    """From ``--seed``."""
    return int(_check("--seed", number, 0, 2**63, "a seed"))


def _burst(text: str) -> Burst:
    from hotbunk.traces.arrivals import Burst

    on, off, factor = _parts("--burst", text, 3, "ON:OFF:FACTOR, like 10s:50s:8")
    times = _positive("--burst", text, on), _positive("--burst", text, off)
    return Burst(*times, _number("--burst", text, factor, 0, 1e6, "the ratio of the rates"))


def _swing(text: str) -> Swing:
    from hotbunk.traces.arrivals import Swing

    period, share = _parts("--swing", text, 2, "PERIOD:SHARE, like 24h:0.8")
    return Swing(_positive("--swing", text, period), _number("--swing", text, share, 0, 1, "the share"))


def _spread(option: str, text: str | None, usual: tuple[float, float, int]) -> tuple[float, float, int]:
    """Median, sigma and the most, of which the last two may be missing."""
    if text is None:
        return usual
    parts = text.split(":")
    if len(parts) > 3:
        raise ConfigError(f"{option} {text}: write it as MEDIAN, MEDIAN:SIGMA or MEDIAN:SIGMA:MOST, like 500:1.0:8192")
    median = _number(option, text, parts[0], 1, _LONGEST, "the median")
    sigma = _number(option, text, parts[1], 0, 10, "sigma") if len(parts) > 1 else usual[1]
    most = _number(option, text, parts[2], median, _LONGEST, "the most") if len(parts) > 2 else max(usual[2], median)
    return median, sigma, int(most)


def _parts(option: str, text: str, count: int, form: str) -> list[str]:
    parts = text.split(":")
    if len(parts) != count:
        raise ConfigError(f"{option} {text}: write it as {form}")
    return parts


def _number(option: str, text: str, part: str, least: float, most: float, what: str) -> float:
    try:
        found = float(part)
    except ValueError:
        found = float("nan")
    if not least <= found <= most:
        raise ConfigError(f"{option} {text}: {part!r} is wrong; {what} is a number from {least:,.6g} to {most:,.10g}")
    return found


def _check(option: str, value: float, least: float, most: float, what: str) -> float:
    if not (math.isfinite(value) and least <= value <= most):
        raise ConfigError(f"{option} {value:.10g}: not {what}; give a number from {least:,.6g} to {most:,.10g}")
    return value


def _duration(option: str, text: str, part: str) -> float:
    try:
        return parse_duration(part)
    except ValueError as error:
        raise ConfigError(f"{option} {text}: {error}") from error


def _positive(option: str, text: str, part: str) -> float:
    seconds = _duration(option, text, part)
    if not 0.001 <= seconds <= 1e9:
        raise ConfigError(f"{option} {text}: {part!r} is wrong; it must be at least 1ms, and at most 30 years")
    return seconds
