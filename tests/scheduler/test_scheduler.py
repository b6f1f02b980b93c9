"""What the scheduler makes of a policy, whatever that is."""

import pytest

from hotbunk.scheduler import Bound, Phase, Scheduler, actions, events, scheduler
from hotbunk.scheduler.policies import Fifo, Verdict
from hotbunk.scheduler.snapshot import Snapshot
from tests.scheduler.device import placement


class Faulty(Fifo):
    """Asks for what cannot be, once it has asked for what can."""

    def decide(self, snapshot: Snapshot) -> Verdict:
        verdict = super().decide(snapshot)
        return Verdict((*verdict.actions, actions.Unload("b", "a bug"))) if verdict.actions else verdict


def test_what_was_decided_before_a_policy_failed_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[object] = []
    monkeypatch.setattr(scheduler.log, "exception", lambda *args: told.append(args))
    made = Scheduler(10, Faulty(Bound(60.0)))
    for name in "ab":
        made.handle(events.Added(0.0, name, (placement(8),), 1.0, 0.1))
    done = made.handle(events.Submitted(1.0, "a", 1))
    assert [(type(action), getattr(action, "model", "")) for action in done] == [(actions.Load, "a")]
    assert made.snapshot.models["a"].phase is Phase.LOADING
    assert len(told) == 1
