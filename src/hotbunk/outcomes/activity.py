"""What went on at a time of a run: who was on the device, how many requests waited, and how many ran."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hotbunk.outcomes.outcome import Fate, Run, Stay
from hotbunk.traces.trace import Floats

__all__ = ["Steps", "busiest", "queues", "stays"]


@dataclass(frozen=True, eq=False)
class Steps:
    """Numbers of requests that ``waited`` and that ran at ``times``, in seconds; all of the same shape."""

    times: Floats
    waiting: Floats
    running: Floats


def busiest(run: Run, seconds: float) -> tuple[float, float]:
    """The part of a run that long in which the most requests came; all of it if it is not much longer."""
    if run.duration <= 1.5 * seconds:
        return 0.0, run.duration
    arrived = _known(run.outcomes.arrived)
    come = np.searchsorted(arrived, arrived + seconds) - np.arange(len(arrived))
    begin = float(arrived[come.argmax()]) if len(arrived) else 0.0
    return begin, begin + seconds


def queues(run: Run, window: tuple[float, float], points: int) -> Steps:
    """How many waited for a slot, and how many had been given one, suspended or not, at all changes within the window.

    If these are more than ``points``, at as many evenly spaced times. Where it is not known when a request was given
    its slot, it waits until its first token.
    """
    outcomes, size = run.outcomes, run.outcomes.arrived
    still = np.where(outcomes.fate == Fate.OPEN, run.duration, np.nan)
    begun = _first(outcomes.started, outcomes.first)
    # of who was refused or failed nothing later may be known: it was gone at once
    waits = (size, _first(begun, outcomes.ended, still, size))
    runs = (begun, _first(outcomes.ended, still, begun))
    waits, runs = ((_known(begin), np.sort(end[~np.isnan(begin)])) for begin, end in (waits, runs))
    changes = np.unique(np.concatenate([window[:1], *(part for pair in (waits, runs) for part in pair)]))
    times = changes[(changes >= window[0]) & (changes <= window[1])]
    times = np.linspace(*window, points) if len(times) > points else np.append(times, window[1])
    return Steps(times, *(_within(*pair, times) for pair in (waits, runs)))


def stays(run: Run, window: tuple[float, float]) -> dict[str, list[Stay]]:
    """Who was on the device within the window, by model, in the trace's order."""
    found: dict[str, list[Stay]] = {model: [] for model in run.outcomes.trace.models}
    for stay in run.stays:
        if stay.begin < window[1] and stay.end > window[0]:
            found.setdefault(stay.model, []).append(stay)
    return {model: each for model, each in found.items() if each}


def _first(*columns: Floats) -> Floats:
    """For each request the first of the columns in which something is known of it."""
    found = columns[0]
    for column in columns[1:]:
        found = np.where(np.isnan(found), column, found)
    return found


def _known(column: Floats) -> Floats:
    """In ascending order."""
    return np.sort(column[~np.isnan(column)])


def _within(begins: Floats, ends: Floats, times: Floats) -> Floats:
    """How many have begun and not ended, at each time."""
    begun, ended = (np.searchsorted(part, times, side="right") for part in (begins, ends))
    return (begun - ended).astype(np.float64)
