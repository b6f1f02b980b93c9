"""Why a request fared as it did: the decisions on it and on its model, with their reasons."""

from __future__ import annotations

from collections.abc import Iterator
from math import isnan

from hotbunk.errors import ConfigError
from hotbunk.outcomes import Fate, Run
from hotbunk.scheduler import actions
from hotbunk.traces import Trace

__all__ = ["Listener"]


class Listener:
    """Hears the decisions of a run, and tells those that concern one ``request`` (None: nothing)."""

    def __init__(self, trace: Trace, request: int | None) -> None:
        if request is not None and request >= len(trace):
            raise ConfigError(f"--explain {request}: the trace has {len(trace)} requests; give a row from 0")
        self._trace, self._request = trace, request
        self._heard: list[tuple[float, actions.Decision]] = []

    def hear(self, now: float, action: actions.Decision) -> None:
        """A decision has fallen."""
        if self._request is not None and self._concerns(action):
            self._heard.append((now, action))

    def told(self, run: Run) -> list[str]:
        """What the run decided on the request while it was on its way, in lines; another run may be heard then."""
        lines = [] if self._request is None else list(self._lines(run, self._request))
        self._heard.clear()
        return lines

    def _lines(self, run: Run, row: int) -> Iterator[str]:
        out = run.outcomes
        asked = self._trace[row]
        arrived, ended = float(out.arrived[row]), float(out.ended[row])
        yield f"{run.name}: request {row} for {asked.model}, {asked.prompt} + {asked.output} tokens"
        if isnan(arrived):
            yield "  it never arrives: the request that it follows is not answered"
        else:
            yield f"  {arrived:10.3f} s  it arrives"
            fate = Fate(out.fate[row])
            for now, action in self._meanwhile(arrived, ended, fate):
                yield f"  {now:10.3f} s  {_named(action)}: {action.reason}"
            if fate == Fate.DONE:
                yield f"  {float(out.first[row]):10.3f} s  its first token"
                yield f"  {ended:10.3f} s  done"
            elif fate == Fate.REFUSED and not self._refusals():
                yield f"  {arrived:10.3f} s  its prompt fits no slot: it is refused at once"
            elif fate != Fate.REFUSED:
                yield f"  it is {fate.name.lower()} when the run ends"

    def _meanwhile(self, arrived: float, ended: float, fate: Fate) -> Iterator[tuple[float, actions.Decision]]:
        """What was decided until it was over; what fits no slot is refused when it comes, without a decision."""
        last = min(self._refusals(), default=arrived) if fate == Fate.REFUSED else ended
        return ((now, action) for now, action in self._heard if arrived <= now and not now > last)

    def _refusals(self) -> list[float]:
        return [now for now, action in self._heard if isinstance(action, actions.Refuse)]

    def _concerns(self, action: actions.Decision) -> bool:
        """Decisions on the request, and moves of any model, since one makes room for the other."""
        if isinstance(action, actions.Load | actions.Unload | actions.Resize):
            return True
        return action.sequence == self._request


def _named(action: actions.Decision) -> str:
    what = type(action).__name__.lower()
    return f"{what} {action.model}" if isinstance(action, actions.Move) else what
