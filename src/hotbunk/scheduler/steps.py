"""Steps that policies of every kind take: who enters, who leaves and why."""

from collections.abc import Callable
from itertools import islice
from math import inf

from hotbunk.scheduler.actions import Decision, Resume, Start, Suspend, Unload
from hotbunk.scheduler.room import shed
from hotbunk.scheduler.snapshot import Model, Sequence, Snapshot

__all__ = ["claim", "enter", "eviction", "relief", "starts"]


def starts(model: Model, barrier: float = inf) -> list[Decision]:
    """Let those who wait into the free slots, but for those who came after ``barrier``."""
    return [enter(model, s) for s in islice(model.entry, max(0, model.free_slots)) if s.since <= barrier]


def enter(model: Model, sequence: Sequence) -> Decision:
    """Into a free slot, whether for the first time or again."""
    if sequence.held:
        return Resume(model.id, "its model is resident again", sequence.id)
    return Start(model.id, "a slot is free", sequence.id)


def eviction(model: Model, why: str) -> list[Decision]:
    """Preempt whoever runs, and unload."""
    suspends: list[Decision] = [Suspend(model.id, why, s.id) for s in model.running]
    return [*suspends, Unload(model.id, f"idle; {why}" if model.idle else why)]


def relief(snapshot: Snapshot, ends: Callable[[Model], float]) -> list[Decision]:
    """Evict what is too much for a budget that has fallen; ``ends`` says when a busy model's turn ends."""
    surplus = shed(snapshot, ends) if snapshot.excess > 0 else ()
    return [a for m in surplus for a in eviction(m, "the device has less memory for us than before")]


def claim(model: Model, now: float) -> str:
    """What the model claims the device for, in words."""
    if not model.queue:
        return f"{model.id} is {'wanted resident' if model.sought else 'expected'}"
    age = now - (now if model.demand is None else model.demand)
    return f"{len(model.queue)} waiting for {model.id}, the first for {age:.1f} s"
