"""Plain least recently used: what a cache of models does, by bytes.

It mirrors no single peer, but what many would become if they counted bytes: a model is loaded on demand, at the best
placement that the budget allows; for that, idle models leave, the least recently used first. Models are loaded in the
order in which they were first asked for. Requests for resident models do not wait for any of this, and nobody is
preempted: as long as requests for a resident model overlap, it stays.
"""

from dataclasses import dataclass

from hotbunk.scheduler.actions import Decision
from hotbunk.scheduler.baselines.base import Baseline, entering, idle, swap
from hotbunk.scheduler.snapshot import Model, Snapshot

__all__ = ["Lru"]


@dataclass(frozen=True)
class Lru(Baseline):
    """Least recently used, by bytes."""

    def steps(self, snapshot: Snapshot, waiting: list[Model]) -> list[Decision]:
        """Start what can start; then make room for the first that waits, or load it."""
        if (actions := entering(snapshot)) or not waiting:
            return actions
        placement = waiting[0].best(snapshot.budget)
        return swap(snapshot, waiting[0], placement, idle(snapshot)) if placement else []
