"""A case: all that a run depends on but for who decides, so that whoever serves it compares to the microsecond."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from types import SimpleNamespace
from typing import cast

from hotbunk.outcomes.outcome import Run
from hotbunk.scheduler import Scheduler, actions
from hotbunk.scheduler.policies import Policy
from hotbunk.simulator.moving import Moving
from hotbunk.simulator.pace import Delays, Priced
from hotbunk.simulator.simulation import Simulation, Subject
from hotbunk.traces.trace import Trace

__all__ = ["Case"]

_ASKED = ("decode", "chunk", "promote", "calls", "context", "unload", "kv_out", "kv_in", "state")


@dataclass(frozen=True)
class Case:
    """A trace, the models that it asks for, and the device: ``budget`` bytes, and a fresh ``moving`` for each run.

    ``announced``: requests say how long their answers will be, as those of a replay do (``max_tokens``).
    """

    trace: Trace
    subjects: tuple[Subject, ...]
    budget: int
    moving: Callable[[], Moving]
    delays: Delays = field(default_factory=Delays)
    announced: bool = False

    def simulation(
        self, name: str, policy: Policy, hear: Callable[[float, actions.Decision], None] = lambda now, action: None
    ) -> Simulation:
        """A run that has not begun yet."""
        scheduler = Scheduler(self.budget, policy)
        return Simulation(name, self.trace, self.subjects, scheduler, self.moving(), self.delays, hear, self.announced)

    def run(self, name: str, policy: Policy) -> Run:
        """Serve it."""
        return self.simulation(name, policy).run()

    def remembering(self) -> Case:
        """The same case, to be served many times: what something costs is worked out but once."""
        return replace(self, subjects=tuple(replace(each, costs=_remembering(each.costs)) for each in self.subjects))


def _remembering(costs: Priced) -> Priced:
    asked = {name: cache(getattr(costs, name)) for name in _ASKED}
    return cast(Priced, SimpleNamespace(weights=costs.weights, **asked))
