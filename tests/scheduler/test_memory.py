"""A budget that falls and grows, loads that fail, and models that are loaded before they are asked for."""

from math import inf

import pytest

from hotbunk.scheduler import POLICIES, Bound, Phase, Scheduler, actions, events
from tests.scheduler.device import Device, loads, placement, unloads


def device(policy: str = "timeslice", budget: int = 20, **sizes: int) -> Device:
    """Models of these sizes, moved in a second and out in half a second; with a name like ``k_a`` they are kept."""
    made = Device(Scheduler(budget, POLICIES[policy](Bound(wait=30.0), quantum=2.0)))
    for name, size in sizes.items():
        made.tell(events.Added(0.0, name, (placement(size),), 1.0, 0.5, keep=name.startswith("k_")))
    return made


def phases(device: Device) -> dict[str, Phase]:
    return {m.id: m.phase for m in device.scheduler.snapshot.models.values()}


def test_a_model_is_not_called_idle_when_somebody_waits_for_it() -> None:
    made = device(a=15)
    made.arrive(0.0, "a", 1.0)
    made.change(0.5, 10)  # while it is being loaded
    made.run(until=10.0)
    assert [a.reason for _, a in made.log if isinstance(a, actions.Unload)] == [
        "the device has less memory for us than before"
    ]


def test_the_least_recently_used_idle_model_leaves_first() -> None:
    made = device(k_k=5, a=5, b=5, c=5)
    for at, name, work in ((0.0, "a", 0.1), (2.0, "b", 0.1), (4.0, "c", inf)):
        made.arrive(at, name, work)
    made.change(10.0, 14)
    made.run(until=10.0)
    assert unloads(made) == ["a", "b"]
    made.change(11.0, 9)
    made.run(until=12.0)
    assert unloads(made) == ["a", "b", "c"]
    assert phases(made)["k_k"] is Phase.READY
    made.change(12.0, 4)
    made.run(until=13.0)
    assert phases(made)["k_k"] is Phase.ABSENT


def test_who_is_preempted_goes_on_when_the_budget_is_back() -> None:
    made = device(a=10)
    made.arrive(0.0, "a", 5.0)
    made.change(2.0, 9)
    made.change(500.0, 10)
    made.run(until=499.0)
    assert phases(made)["a"] is Phase.ABSENT
    made.run()
    assert made.requests[0].ended == pytest.approx(500.0 + 1.0 + 4.0, abs=0.5)


def test_a_model_on_its_way_leaves_when_it_has_come() -> None:
    made = device(a=10)
    made.arrive(0.0, "a", 5.0)
    made.change(0.5, 9)
    made.run(until=0.9)
    assert phases(made)["a"] is Phase.LOADING
    made.run(until=5.0)
    assert phases(made)["a"] is Phase.ABSENT
    assert len(loads(made)) == 1


def test_a_smaller_placement_serves_meanwhile_and_the_best_returns() -> None:
    made = device(a=10)
    made.arrive(0.0, "a", 5.0)
    made.change(2.0, 9)
    made.at(3.0, lambda: made.tell(events.Added(3.0, "a", (placement(8),), 1.0, 0.5)))
    made.run(until=3.5)
    assert made.resident == {"a": 8}
    made.change(4.0, 20)
    made.at(4.0, lambda: made.tell(events.Added(4.0, "a", (placement(10),), 1.0, 0.5)))
    made.at(20.0, lambda: made.tell(events.Wanted(20.0, "a", placement(10))))
    made.run(until=20.0)
    assert made.requests[0].ended is not None
    assert made.log[-1][1] == actions.Resize("a", "an administrator's order", placement(10))


@pytest.mark.parametrize("hindered", ["budget", "failed"])
def test_a_model_that_cannot_be_loaded_holds_up_nobody(hindered: str) -> None:
    made = device(a=15, b=8, c=8)
    if hindered == "budget":
        made.change(0.0, 12)
    else:
        made.at(0.0, lambda: made.tell(events.Failed(0.0, "a", retry=inf)))
    made.arrive(1.0, "a", 1.0)
    for second in range(0, 100, 6):
        made.arrive(2.0 + second, "b", 1.0)
        made.arrive(2.0 + second, "c", 1.0)
    made.run(until=200.0)
    others = [r for r in made.requests.values() if r.model != "a"]
    assert all(r.waited <= 30.0 for r in others)
    assert not any(r.refused for r in others)
    made.change(200.0, 20)
    made.at(200.0, lambda: made.tell(events.Failed(200.0, "a", retry=200.0)))
    made.run(until=210.0)
    assert made.requests[0].ended is not None


def test_a_model_to_be_kept_that_cannot_be_there_takes_nothing_from_the_others() -> None:
    made = device(k_k=15, a=8)
    made.change(0.0, 12)
    made.arrive(1.0, "a", 1.0)
    made.run(until=5.0)
    assert made.requests[0].ended is not None


def test_an_expected_model_is_there_when_the_request_comes() -> None:
    made = device(a=15, b=15)
    made.arrive(0.0, "a", 0.1)
    made.expect(3.0, "b")
    made.arrive(4.0, "b", 1.0)
    made.run()
    assert loads(made) == [(0.0, "a"), (pytest.approx(3.25, abs=0.01), "b")]
    assert made.requests[1].waited == pytest.approx(0.25, abs=0.01)


def test_to_be_expected_preempts_nobody() -> None:
    made = device(a=15, b=15)
    made.arrive(0.0, "a", 60.0)
    made.expect(30.0, "b")
    made.run(until=50.0)
    assert [name for _, name in loads(made)] == ["a"]


def test_an_expectation_lapses() -> None:
    made = device(a=15, b=15)
    made.arrive(0.0, "a", 10.0)
    made.expect(5.0, "b", lapse=3.0)
    made.run(until=50.0)
    assert [name for _, name in loads(made)] == ["a"]


def test_an_expected_model_is_not_sent_away_before_its_request_comes() -> None:
    made = device(a=15, b=15)
    made.expect(0.0, "a")
    made.expect(1.1, "b")
    made.arrive(1.2, "a", 0.3)
    made.arrive(1.3, "b", 0.3)
    made.run(until=20.0)
    assert [name for _, name in loads(made)] == ["a", "b"]
    assert made.requests[0].waited == 0.0


def test_an_expected_model_yields_to_those_who_wait() -> None:
    made = device(a=15, b=15)
    made.expect(0.0, "a", lapse=25.0)
    made.arrive(1.1, "b", 0.3)
    made.run(until=20.0)
    assert made.requests[0].waited <= 4.0
