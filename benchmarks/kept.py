"""Live replays as files: how the server stood and what came of each request, to be simulated again without a GPU."""

from __future__ import annotations

from dataclasses import astuple
from math import isnan, nan
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from hotbunk.outcomes import Outcomes, Run, Stay, Usage
from hotbunk.simulator.contest import Standing
from hotbunk.traces import Request, Trace

__all__ = ["Kept", "Replayed", "read", "write"]

_TIMES, _COUNTS = ("arrived", "started", "first", "ended"), ("tokens", "preemptions", "fate")
_DIGITS = 4  # of a second: what a client sees is no truer


class Kept(msgspec.Struct, frozen=True):
    """A ``Run`` without its trace: columns by name, and rows of stays and of usage; null where it is not known."""

    name: str
    duration: float
    columns: dict[str, list[float | None]]
    usage: list[float | None]
    stays: list[list[str | float | None]]

    @classmethod
    def of(cls, run: Run) -> Kept:
        """A run, its times rounded."""
        outcomes = run.outcomes
        columns = {name: [_bare(each) for each in getattr(outcomes, name).tolist()] for name in _TIMES + _COUNTS}
        stays = [[_bare(each) for each in astuple(stay)] for stay in run.stays]
        return cls(run.name, round(run.duration, _DIGITS), columns, [_bare(each) for each in astuple(run.usage)], stays)

    def run(self, trace: Trace) -> Run:
        """As it was, with its trace again."""
        outcomes = Outcomes.empty(trace)
        for name, column in self.columns.items():
            getattr(outcomes, name)[:] = np.array(column, np.float64)
        usage = Usage(*(nan if each is None else each for each in self.usage))
        stays = [Stay(*(nan if each is None else each for each in row)) for row in self.stays]  # type: ignore[arg-type]
        return Run(self.name, outcomes, usage, self.duration, stays)


class Replayed(msgspec.Struct, frozen=True):
    """A workload that a live server was sent once or more, with what a simulation has to know of that server.

    ``requests`` are its trace as it was sent, since what is drawn may change. ``budget`` and ``host`` are
    bytes of device memory and of the host store, ``context`` tokens of a slot.
    """

    workload: str
    models: tuple[str, ...]
    requests: list[tuple[float, str, int, int, int | None]]
    policy: str
    budget: int
    context: int
    slots: int
    host: float
    standing: dict[str, Standing]
    runs: list[Kept] = []

    @property
    def trace(self) -> Trace:
        """The workload."""
        return Trace.of(self.workload, [Request(*row) for row in self.requests], self.models)


def write(replayed: Replayed, path: Path) -> None:
    """Write one as JSON."""
    path.write_bytes(msgspec.json.encode(replayed) + b"\n")


def read(path: Path) -> Replayed:
    """Read one."""
    return msgspec.json.decode(path.read_bytes(), type=Replayed)


def _bare(value: Any) -> Any:
    if isinstance(value, float):
        return None if isnan(value) else round(value, _DIGITS)
    return value
