"""What must hold for any arrivals, under each policy: the budget, the bound on waiting, nothing lost."""

from math import inf

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from hotbunk.scheduler import POLICIES, Bound, Scheduler, events
from hotbunk.scheduler.policies import Turns
from tests.scheduler.arrivals import devices, run_out
from tests.scheduler.device import Device, loads, placement


@st.composite
def turns(draw: st.DrawFn) -> Turns:
    """One of hotbunk's own policies."""
    bound = Bound(wait=draw(st.floats(20.0, 60.0)), queue=draw(st.integers(3, 50)))
    return POLICIES[draw(st.sampled_from(sorted(POLICIES)))](bound, quantum=draw(st.floats(0.5, 5.0)))


@settings(max_examples=200, deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate))
@given(devices(turns(), endless=True))
def test_every_admitted_request_starts_within_the_bound(device: Device) -> None:
    device.run(until=1000.0)
    policy = device.scheduler.policy
    assert isinstance(policy, Turns)
    wait = policy.bound.wait
    for request in device.requests.values():
        assert request.refused or request.started is not None
        assert request.waited <= wait + 1e-6


@settings(max_examples=200, deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate))
@given(devices(turns(), endless=False))
def test_every_admitted_request_ends_exactly_once(device: Device) -> None:
    run_out(device)


@settings(max_examples=200, deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate))
@given(devices(turns(), endless=False, steady=False))
def test_nothing_is_lost_where_the_budget_changes(device: Device) -> None:
    run_out(device)


def test_a_turn_is_over_soon_where_loading_was_faster_than_its_bound() -> None:
    device = Device(Scheduler(10, POLICIES["timeslice"](Bound(wait=300.0), quantum=2.0)), pace=lambda: 0.01)
    for name in "ab":
        device.tell(events.Added(0.0, name, (placement(8),), load=60.0, leave=1.0))
    device.arrive(0.0, "a", inf)
    device.arrive(1.0, "b", 1.0)
    device.run(until=100.0)
    assert device.requests[1].waited < 5.0


def test_a_load_that_takes_longer_than_its_bound_has_not_come_for_nothing() -> None:
    paces = iter([1.0, 1.0, 1.0, 15.0])  # the first one in, its sequence out, itself out, the urgent one in
    policy = POLICIES["timeslice"](Bound(wait=20.0), quantum=2.0)
    device = Device(Scheduler(10, policy), pace=lambda: next(paces, 1.0))
    for name, priority in (("first", 0), ("due", 0), ("urgent", 1)):
        device.tell(events.Added(0.0, name, (placement(8),), load=1.0, leave=0.5, priority=priority))
    device.arrive(0.0, "first", inf)
    device.arrive(1.0, "due", 1.0)
    device.arrive(1.1, "urgent", 1.0)  # when it is there, the other one is due
    device.run(until=100.0)
    assert [model for _, model in loads(device)][:3] == ["first", "urgent", "due"]
    assert device.requests[2].ended == loads(device)[1][0] + 15.0 + 1.0


def test_a_load_beside_it_does_not_come_between_a_due_model_and_its_start() -> None:
    device = Device(Scheduler(13, POLICIES["fifo"](Bound(wait=20.0), quantum=2.0)))
    for name, size, load in (("large", 13, 1.0), ("due", 11, 0.5), ("other", 2, 3.0)):
        device.tell(events.Added(0.0, name, (placement(size, slots=1),), load, leave=0.4))
    device.arrive(0.0, "other", inf)  # is preempted for the large one, and waits for its room ever after
    device.arrive(1.0, "large", inf)
    device.arrive(5.0, "due", inf)
    device.run(until=100.0)
    assert device.requests[0].resumed is not None
    assert all(request.waited <= 20.0 for request in device.requests.values())


@pytest.mark.parametrize("policy", sorted(POLICIES))
def test_a_model_kept_busy_for_ever_cannot_starve_another(policy: str) -> None:
    bound = Bound(wait=30.0)
    device = Device(Scheduler(10, POLICIES[policy](bound, quantum=2.0)))
    for name in "ab":
        device.tell(events.Added(0.0, name, (placement(8),), 1.0, 1.0))
    for second in range(200):
        device.arrive(float(second), "a", inf if second < 2 else 1.0)
    device.arrive(10.0, "b", 5.0)
    device.run(until=400.0)
    [request] = [r for r in device.requests.values() if r.model == "b"]
    assert request.waited <= (2.0 + 4.0 if policy == "timeslice" else 30.0)
    assert request.ended is not None
