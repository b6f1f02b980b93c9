"""A job on its way: what counts as a preemption."""

from hotbunk.runtime.generation import LiveGeneration
from hotbunk.worker.protocol import Ended
from tests.runtime.rig import job


def test_only_who_left_the_slot_was_preempted() -> None:
    """A suspension that comes too late is none: the worker has ended the sequence and counts none either."""
    ended, suspended = (LiveGeneration(number, job("small", 3), lambda _: None) for number in (1, 2))
    ended.paused()
    ended.end(Ended(1, "length"))
    suspended.paused()
    suspended.suspended()
    suspended.resumed()
    assert (ended.timings.preemptions, suspended.timings.preemptions) == (0, 1)
    suspended.suspended()  # unasked, as with a context that has no slot for it any more
    assert suspended.timings.preemptions == 2
