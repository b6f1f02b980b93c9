"""Pure decisions: ``Scheduler.handle(event) -> actions`` over an immutable snapshot; no clock, no I/O."""

from hotbunk.scheduler.agenda import Bound
from hotbunk.scheduler.policies import POLICIES
from hotbunk.scheduler.scheduler import Scheduler
from hotbunk.scheduler.snapshot import Model, Phase, Sequence, Snapshot

__all__ = ["POLICIES", "Bound", "Model", "Phase", "Scheduler", "Sequence", "Snapshot"]
