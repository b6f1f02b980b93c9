"""llama-server's router mode: as many models as ``--models-max`` says, however large.

It mirrors llama.cpp b11434, ``tools/server/server-models.cpp``: ``server_lru_sched`` (``join``, ``try_claim``,
``pick_victim``, ``tick``) and ``server_models::ensure_model_ready``:

- a request for a loaded model is served at once, before all who wait; the others wait with one place in the queue for
  each model, in the order of its first waiter;
- for each model in the queue that has no place among ``--models-max`` (4; 0: no limit), an idle one is stopped, the
  one that was last asked for the longest ago first; a busy one never is, so overlapping requests starve the queue;
- only the first in the queue is started, so loads follow one another;
- the child's ``--fit`` (``common/fit.cpp``) takes the best placement for the memory that is free at that moment, and
  keeps it however much becomes free later.

``RouterBytes`` is the router with the change proposed in llama.cpp's PR #21231 (``--models-memory-margin``): idle
models are stopped, in the same order, until the new one fits as well as it ever could.

Left out: sleeping children (off by default), the grace before a child is killed (a model's ``leave`` covers it), that
a context nobody has set is shrunk before layers are left out, and the margin of 1 GiB (the budget is meant to be net of
it). A child that does not fit at all would fail; here idle models are stopped for its smallest placement, and it waits.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from hotbunk.scheduler.actions import Decision, Load
from hotbunk.scheduler.baselines.base import Baseline, entering, swap
from hotbunk.scheduler.snapshot import Model, Phase, Snapshot
from hotbunk.scheduler.steps import claim, eviction

__all__ = ["Router", "RouterBytes"]


@dataclass(frozen=True)
class Router(Baseline):
    """At most ``limit`` models are loaded (0: as many as fit)."""

    limit: int = 4

    def steps(self, snapshot: Snapshot, waiting: list[Model]) -> list[Decision]:
        """Start what can start, stop idle models for those in the queue, and load the first in it."""
        if (actions := entering(snapshot)) or not waiting:
            return actions
        models = snapshot.models.values()
        back = [m for m in models if m.phase is Phase.LEAVING and m.queue]
        residents = snapshot.residents
        there = sum(m.phase is not Phase.LEAVING for m in residents)
        excess = there + len(waiting) + len(back) - (self.limit or inf)
        if excess > 0 and (victims := _idle(snapshot)[: int(min(excess, there))]):
            why = f"no more than {self.limit} models; {claim(waiting[0], snapshot.now)}"
            return [a for m in victims for a in eviction(m, why)]
        late = any(m.queue[0].since < (waiting[0].demand or 0.0) for m in back)
        if late or any(m.phase is Phase.LOADING for m in models) or len(residents) >= (self.limit or inf):
            return []
        return self.load(snapshot, waiting[0])

    def load(self, snapshot: Snapshot, model: Model) -> list[Decision]:
        """What ``--fit`` makes of the memory that is free."""
        if placement := model.best(snapshot.free):
            return [Load(model.id, claim(model, snapshot.now), placement)]
        return swap(snapshot, model, model.smallest, _idle(snapshot))


@dataclass(frozen=True)
class RouterBytes(Router):
    """The router, with memory as a second limit."""

    def load(self, snapshot: Snapshot, model: Model) -> list[Decision]:
        """Stop idle models until the best placement that the budget allows fits."""
        placement = model.best(snapshot.budget)
        return swap(snapshot, model, placement, _idle(snapshot)) if placement else []


def _idle(snapshot: Snapshot) -> list[Model]:
    """The idle models, by when a request was last passed on to them."""
    return sorted((m for m in snapshot.models.values() if m.idle), key=lambda m: max(m.asked, m.since))
