"""Figures of a trace: how much comes, how unevenly, for whom and how long.

With the gaps between arrivals that are known beforehand (of what follows nobody's answer), and their counts ``n_w`` in
windows of ``w`` seconds, side by side from the first arrival on:

    rate           = 1 / mean(gaps)
    CV             = std(gaps) / mean(gaps)        Poisson: 1
    dispersion(w)  = var(n_w) / mean(n_w)          Fano factor; Poisson: 1
    peak           = the most arrivals within any 60 s, per second

The exponent of Zipf's law is the most likely one: that at which the mean of ``log rank`` is the one that is seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from hotbunk.traces.trace import ROOT, Floats, Integers, Trace

__all__ = ["MINUTE", "WINDOWS", "Asked", "Figures", "Lengths", "describe", "exponent"]

WINDOWS = (1, 10, 60)
MINUTE = 60.0
_STEEPEST = 50.0  # an exponent at which only the first is asked for


@dataclass(frozen=True, slots=True)
class Lengths:
    """Tokens: what lengths are on average, at some quantiles, and at most."""

    mean: float
    p50: float
    p95: float
    p99: float
    most: int


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked of a model: requests, their share of all, how many come a second and how unevenly, and lengths."""

    model: str
    requests: int
    share: float
    rate: float
    cv: float | None
    prompt: Lengths
    output: Lengths


@dataclass(frozen=True, slots=True)
class Figures:
    """Of a whole trace. None: too few requests, or too short a time, to say.

    ``rate`` and ``peak`` in requests/s. ``dispersion`` has a factor for each of ``WINDOWS``. ``following`` is the share
    of requests that follow an answer. ``models`` begin with the most asked.
    """

    requests: int
    duration: float
    rate: float | None
    cv: float | None
    dispersion: dict[int, float | None]
    peak: float
    following: float
    zipf: float | None
    prompt: Lengths
    output: Lengths
    models: tuple[Asked, ...]


def describe(trace: Trace) -> Figures:
    """Find the figures of a trace, which has at least one request."""
    assert len(trace)
    times = trace.arrival[trace.roots]
    mean, cv = _gaps(times)
    counts = np.bincount(trace.model, minlength=len(trace.models))
    order = [int(place) for place in np.argsort(-counts, kind="stable") if counts[place]]
    return Figures(
        len(trace),
        trace.duration,
        1 / mean if mean else None,
        cv,
        {window: _dispersion(times, window) for window in WINDOWS},
        _peak(times),
        float(np.mean(trace.after != ROOT)),
        exponent([int(counts[place]) for place in order]),
        _lengths(trace.prompt),
        _lengths(trace.output),
        tuple(_asked(trace, place) for place in order),
    )


def exponent(counts: Sequence[int]) -> float | None:
    """The most likely exponent of Zipf's law for models that were asked so often; None if there is but one."""
    if len(counts) < 2:
        return None
    weights = np.array(sorted(counts, reverse=True), np.float64)
    logs = np.log(np.arange(1.0, len(counts) + 1))
    seen = weights @ logs / weights.sum()

    def excess(exponent: float) -> float:
        shares = np.exp(-exponent * logs)
        return float(shares @ logs / shares.sum() - seen)

    # the counts descend, so that equal shares (0) have the greatest mean that can be seen
    return float(brentq(excess, 0.0, _STEEPEST)) if excess(0.0) > 1e-12 else 0.0


def _asked(trace: Trace, place: int) -> Asked:
    rows: NDArray[np.intp] = np.flatnonzero(trace.model == place)
    share, rate = len(rows) / len(trace), len(rows) / trace.duration if trace.duration else 0.0
    prompt, output = _lengths(trace.prompt[rows]), _lengths(trace.output[rows])
    _, cv = _gaps(trace.arrival[rows[trace.after[rows] == ROOT]])
    return Asked(trace.models[place], len(rows), share, rate, cv, prompt, output)


def _gaps(times: Floats) -> tuple[float, float | None]:
    """The mean of the gaps, 0 if there are none, and their coefficient of variation."""
    gaps = np.diff(times)
    mean = float(gaps.mean()) if len(gaps) else 0.0
    return mean, float(gaps.std()) / mean if mean else None


def _lengths(tokens: Integers) -> Lengths:
    p50, p95, p99 = (float(each) for each in np.percentile(tokens, (50, 95, 99)))
    return Lengths(float(tokens.mean()), p50, p95, p99, int(tokens.max()))


def _dispersion(times: Floats, window: int) -> float | None:
    windows = int((times[-1] - times[0]) / window)
    if windows < 2:
        return None
    # only those in which something arrives: where a date is among small numbers, there are billions of others
    places, found = np.unique((times - times[0]) // window, return_counts=True)
    counts = found[places < windows]
    mean = counts.sum() / windows
    squares = np.sum((counts - mean) ** 2) + (windows - len(counts)) * mean**2
    return float(squares / windows / mean)


def _peak(times: Floats) -> float:
    within = np.searchsorted(times, times + MINUTE) - np.arange(len(times))
    return float(within.max()) / MINUTE
