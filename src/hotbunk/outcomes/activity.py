"""What went on at a time of a run: who was on the device, whom requests waited for, and how many waited and ran."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hotbunk.outcomes.outcome import Fate, Run, Stay
from hotbunk.traces.trace import Floats

__all__ = ["Steps", "busiest", "queues", "stays", "waits"]


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
    outcomes, begun, still = run.outcomes, _begun(run), _still(run)
    ran = (begun, _first(outcomes.ended, still, begun))
    parts = [(_known(begin), np.sort(end[~np.isnan(begin)])) for begin, end in ((outcomes.arrived, _waited(run)), ran)]
    changes = np.unique(np.concatenate([window[:1], *(part for pair in parts for part in pair)]))
    times = changes[(changes >= window[0]) & (changes <= window[1])]
    times = np.linspace(*window, points) if len(times) > points else np.append(times, window[1])
    return Steps(times, *(_within(*pair, times) for pair in parts))


def waits(run: Run, window: tuple[float, float], gap: float) -> dict[str, list[tuple[float, float]]]:
    """When somebody waited for a slot within the window, by model; what is not ``gap`` seconds apart is one."""
    trace, arrived, begun = run.outcomes.trace, run.outcomes.arrived, _waited(run)
    found = {}
    for number, model in enumerate(trace.models):
        rows = (trace.model == number) & (begun > arrived) & (begun > window[0]) & (arrived < window[1])
        order = arrived[rows].argsort()
        begin, end = arrived[rows][order], np.maximum.accumulate(begun[rows][order])
        new = np.append(True, begin[1:] > end[:-1] + gap) if len(begin) else np.zeros(0, bool)
        last = np.append(new[1:], True) if len(begin) else new
        pairs = zip(np.maximum(begin[new], window[0]), np.minimum(end[last], window[1]), strict=True)
        if together := [(float(since), float(until)) for since, until in pairs]:
            found[model] = together
    return found


def stays(run: Run, window: tuple[float, float]) -> dict[str, list[Stay]]:
    """Who was on the device within the window, by model, in the trace's order."""
    found: dict[str, list[Stay]] = {model: [] for model in run.outcomes.trace.models}
    for stay in run.stays:
        if stay.begin < window[1] and stay.end > window[0]:
            found.setdefault(stay.model, []).append(stay)
    return {model: each for model, each in found.items() if each}


def _still(run: Run) -> Floats:
    """For each request that is open yet the end of the run."""
    return np.where(run.outcomes.fate == Fate.OPEN, run.duration, np.nan)


def _begun(run: Run) -> Floats:
    """When each was given a slot."""
    return _first(run.outcomes.started, run.outcomes.first)


def _waited(run: Run) -> Floats:
    """Until when each waited; of who was refused or failed nothing may be known but its coming: it was gone at once."""
    return _first(_begun(run), run.outcomes.ended, _still(run), run.outcomes.arrived)


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
