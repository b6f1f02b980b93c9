"""Pure decisions: ``Scheduler.handle(event) -> actions`` over an immutable snapshot; no clock, no I/O."""

from hotbunk.scheduler.agenda import Bound
from hotbunk.scheduler.policies import Fifo, Timeslice, Turns
from hotbunk.scheduler.priced import Priced
from hotbunk.scheduler.scheduler import Scheduler
from hotbunk.scheduler.snapshot import Model, Phase, Sequence, Snapshot

POLICIES: dict[str, type[Turns]] = {"fifo": Fifo, "priced": Priced, "timeslice": Timeslice}
"""Hotbunk's own, by name."""

__all__ = ["POLICIES", "Bound", "Model", "Phase", "Priced", "Scheduler", "Sequence", "Snapshot"]
