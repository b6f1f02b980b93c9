"""Why a request fared as it did: the decisions on it and on its model, with their reasons."""

from __future__ import annotations

import typer

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

    def tell(self, run: Run) -> None:
        """What the run decided on the request while it was on its way."""
        if self._request is None:
            return
        row, out = self._request, run.outcomes
        asked = self._trace[row]
        arrived, ended = float(out.arrived[row]), float(out.ended[row])
        typer.echo(f"{run.name}: request {row} for {asked.model}, {asked.prompt} + {asked.output} tokens")
        typer.echo(f"  {arrived:10.3f} s  it arrives")
        for now, action in self._heard:
            if arrived <= now and not now > ended:
                typer.echo(f"  {now:10.3f} s  {_named(action)}: {action.reason}")
        if out.fate[row] == Fate.DONE:
            typer.echo(f"  {float(out.first[row]):10.3f} s  its first token")
        typer.echo(f"  {ended:10.3f} s  {Fate(out.fate[row]).name.lower()}")
        self._heard.clear()

    def _concerns(self, action: actions.Decision) -> bool:
        """Decisions on the request, and moves of any model, since one makes room for the other."""
        if isinstance(action, actions.Load | actions.Unload | actions.Resize):
            return True
        return action.sequence == self._request


def _named(action: actions.Decision) -> str:
    what = type(action).__name__.lower()
    return f"{what} {action.model}" if isinstance(action, actions.Move) else what
