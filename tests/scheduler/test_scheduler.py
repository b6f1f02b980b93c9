"""What the scheduler makes of a policy, whatever that is."""

import pytest

from hotbunk.scheduler import Bound, Phase, Scheduler, actions, events, scheduler
from hotbunk.scheduler.ledger import IllegalAction
from hotbunk.scheduler.policies import Fifo, Verdict
from hotbunk.scheduler.snapshot import Snapshot
from tests.scheduler.device import placement


class Faulty(Fifo):
    """Asks for what cannot be, once it has asked for what can."""

    def decide(self, snapshot: Snapshot) -> Verdict:
        verdict = super().decide(snapshot)
        return Verdict((*verdict.actions, actions.Unload("b", "a bug"))) if verdict.actions else verdict


def _with_two(enduring: bool) -> Scheduler:
    made = Scheduler(10, Faulty(Bound(60.0)), enduring)
    for name in "ab":
        made.handle(events.Added(0.0, name, (placement(8),), 1.0, 0.1))
    return made


def test_what_was_decided_before_a_policy_failed_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[object] = []
    monkeypatch.setattr(scheduler.log, "exception", lambda *args: told.append(args))
    made = _with_two(enduring=True)
    done = made.handle(events.Submitted(1.0, "a", 1))
    assert [(type(action), getattr(action, "model", "")) for action in done] == [(actions.Load, "a")]
    assert made.snapshot.models["a"].phase is Phase.LOADING
    assert len(told) == 1


def test_what_a_policy_raises_ends_a_simulation() -> None:
    with pytest.raises(IllegalAction):
        _with_two(enduring=False).handle(events.Submitted(1.0, "a", 1))
