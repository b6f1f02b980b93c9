"""Runs made for tests."""

from __future__ import annotations

from collections.abc import Sequence
from math import nan

from hotbunk.outcomes import Fate, Outcomes, Run, Stay, Usage
from hotbunk.traces import Request, Trace

Row = tuple[str, float, float, float, float, int, Fate]
"""Model; arrived, started, first, ended; tokens; fate."""

SMALL: Sequence[Row] = (
    ("a", 0.0, 0.5, 1.0, 2.0, 11, Fate.DONE),  # TTFT 1, TPOT 0.1
    ("b", 1.0, 3.0, 4.0, 4.0, 1, Fate.DONE),  # TTFT 3, one token
    ("a", 2.0, 2.0, 3.0, 7.0, 21, Fate.DONE),  # TTFT 1, TPOT 0.2
    ("b", 3.0, nan, nan, nan, 0, Fate.REFUSED),
    ("b", 4.0, 5.0, 5.5, nan, 6, Fate.OPEN),
    ("c", nan, nan, nan, nan, 0, Fate.OPEN),  # never came
)
STAYS = (
    Stay("a", 0.0, 0.5, 3.0, 30, 30, 900),
    Stay("b", 2.5, 3.0, 10.0, 15, 30, 500),
    Stay("a", 3.0, nan, 4.0, 3, 30, 9),
)


def run(rows: Sequence[Row] = SMALL, name: str = "test", duration: float = 10.0, usage: Usage | None = None) -> Run:
    """A run in which each request asked for 100 tokens of prompt and as many of output as it got."""
    trace = Trace.of("made", [Request(float(n), row[0], 100, max(row[5], 1)) for n, row in enumerate(rows)])
    outcomes = Outcomes.empty(trace)
    for n, (_, *times, tokens, fate) in enumerate(rows):
        outcomes.arrived[n], outcomes.started[n], outcomes.first[n], outcomes.ended[n] = times
        outcomes.tokens[n], outcomes.fate[n] = tokens, fate
    outcomes.preemptions[0] = 2
    usage = usage or Usage(loads=3, unloads=2, suspends=2, moved=1409, computing=6.0, moving=1.0, busy=6.5)
    return Run(name, outcomes, usage, duration, STAYS)
