"""Splitting by price: fewer layers beside the others where switching is dear, never where it is cheap."""

from math import inf

import pytest

from hotbunk.costs.rates import Rates
from hotbunk.scheduler import Bound, Priced, Scheduler, actions, events
from tests.scheduler.device import Device, placement

WHOLE = Rates(step=0.010, each=0.001, token=0.0002, unload=0.1, carry=0.0)
SPLIT = Rates(step=0.014, each=0.001, token=0.0003, unload=0.1, carry=0.0)


def device(load: float, split: Rates = SPLIT, budget: int = 15) -> Device:
    """Two models, one of which fits whole; either has a place beside the other, with half of its layers."""
    made = Device(Scheduler(budget, Priced(Bound(60.0))))
    places = placement(10, 2), placement(5, 2, layers=5)
    for name in "ab":
        known = tuple(Rates(r.step, r.each, r.token, load, r.unload, r.carry) for r in (WHOLE, split))
        made.tell(events.Added(0.0, name, places, load, 0.1, rates=known))
    return made


def moved(made: Device) -> list[tuple[str, str, int]]:
    """What came and went, and with how many layers."""
    moves = [action for _, action in made.log if isinstance(action, actions.Load | actions.Resize | actions.Unload)]
    return [
        (type(move).__name__, move.model, getattr(move, "placement", placement(0, layers=0)).layers) for move in moves
    ]


def test_where_switching_is_dear_a_newcomer_gets_fewer_layers_beside_the_busy() -> None:
    made = device(load=5.0)
    made.arrive(0.0, "a", inf)
    made.arrive(10.0, "b", 3.0)
    made.run(until=30.0)
    assert moved(made) == [("Load", "a", 10), ("Load", "b", 5)]
    assert made.requests[1].ended is not None


def test_where_switching_is_cheap_nothing_is_split() -> None:
    made = device(load=0.1)
    made.arrive(0.0, "a", inf)
    made.arrive(10.0, "b", 3.0)
    made.run(until=12.0)
    assert moved(made)[:3] == [("Load", "a", 10), ("Unload", "a", 0), ("Load", "b", 10)]
    assert all(layers != 5 for _, _, layers in moved(made))


@pytest.mark.parametrize("slow", [Rates(step=0.2, unload=0.1), Rates(step=0.095, each=0.0, unload=0.1)])
def test_a_split_that_breaks_a_promise_is_none(slow: Rates) -> None:
    made = device(load=50.0, split=slow)  # with a's step it takes longer than the promised 100 ms
    made.arrive(0.0, "a", inf)
    made.arrive(60.0, "b", 3.0)
    made.run(until=300.0)
    assert ("Load", "b", 5) not in moved(made)


def test_fewer_layers_that_an_administrator_ordered_are_not_given_back() -> None:
    made = device(load=0.1)
    made.arrive(0.0, "a", 1.0)
    made.at(5.0, lambda: made.tell(events.Wanted(5.0, "a", placement(5, 2, layers=5))))
    made.arrive(10.0, "a", 30.0)
    made.run(until=60.0)
    assert moved(made) == [("Load", "a", 10), ("Resize", "a", 5)]
    made.at(70.0, lambda: made.tell(events.Wanted(70.0, "a", placement(10, 2))))
    made.run(until=80.0)
    assert moved(made)[2:] == [("Resize", "a", 10)]


def test_what_is_not_known_is_not_split() -> None:
    made = Device(Scheduler(15, Priced(Bound(60.0))))
    for name in "ab":
        made.tell(events.Added(0.0, name, (placement(10), placement(5, layers=5)), 1.0, 0.1))
    made.arrive(0.0, "a", inf)
    made.arrive(10.0, "b", 3.0)
    made.run(until=40.0)
    assert ("Load", "b", 5) not in moved(made)


def test_a_split_model_grows_when_there_is_room_and_it_pays() -> None:
    made = device(load=1.0)
    made.arrive(0.0, "a", 20.0)
    made.arrive(10.0, "b", inf)
    made.run(until=14.0)
    assert moved(made)[-1] == ("Load", "b", 5)
    made.change(15.0, 20)  # room for both, whole
    for n in range(3):
        made.arrive(15.5 + n / 10, "b", inf)
    made.run(until=16.0)
    assert moved(made)[-1] == ("Resize", "b", 10)


def test_a_split_model_leaves_when_more_wait_for_it_than_a_switch_costs() -> None:
    made = device(load=3.0)
    made.arrive(0.0, "a", inf)
    made.arrive(10.0, "b", inf)
    for n in range(20):
        made.arrive(15.0 + n / 10, "b", inf)
    made.run(until=40.0)
    where = moved(made)
    assert where.index(("Load", "b", 5)) < where.index(("Unload", "b", 0)) < where.index(("Load", "b", 10))


def test_a_split_model_comes_back_whole_for_a_request_that_loses_more_than_a_switch() -> None:
    made = device(load=3.0)
    made.arrive(0.0, "a", 20.0)
    made.arrive(10.0, "b", 3.0)
    made.run(until=300.0)  # for long nobody asks for either
    assert moved(made)[-1] == ("Load", "b", 5)
    made.arrive(301.0, "b", 3.0, prompt=40_000)  # 4 s more of prefill
    made.run(until=320.0)
    assert moved(made)[-2:] == [("Unload", "a", 0), ("Load", "b", 10)]
    assert made.requests[2].ended is not None


def test_a_resident_gives_up_layers_where_that_costs_less_than_a_newcomer_that_has_fewer() -> None:
    made = Device(Scheduler(15, Priced(Bound(60.0))))
    slow = Rates(step=0.04, each=0.001, token=0.003, load=5.0, unload=0.1, carry=0.0)
    for name, half in (("a", SPLIT), ("b", slow)):
        known = tuple(Rates(r.step, r.each, r.token, 5.0, r.unload, r.carry) for r in (WHOLE, half))
        made.tell(events.Added(0.0, name, (placement(10, 2), placement(5, 2, layers=5)), 5.0, 0.1, rates=known))
    made.arrive(0.0, "a", inf)
    for n in range(4):
        made.arrive(20.0 + n / 100, "b", 3.0)
    made.run(until=40.0)
    assert moved(made) == [("Load", "a", 10), ("Resize", "a", 5), ("Load", "b", 10)]
    assert all(made.requests[n].ended is not None for n in range(1, 5))
    made.run(until=300.0)  # b is not asked for any more, but has its place
    assert made.requests[0].ended is None


@pytest.mark.parametrize(("less", "gives"), [(95, False), (90, True)])
def test_a_resident_gives_up_no_less_than_what_is_above_a_budget_that_fell(less: int, gives: bool) -> None:
    made = Device(Scheduler(200, Priced(Bound(600.0))))
    whole = Rates(step=0.010, each=0.001, token=0.0002, load=5.0, unload=0.1, carry=0.0)
    part = Rates(step=0.0101, each=0.001, token=0.0002, load=5.0, unload=0.1, carry=0.0)
    places = placement(100), placement(less, layers=9)
    made.tell(events.Added(0.0, "resident", places, 5.0, 0.1, rates=(whole, part)))
    made.tell(events.Added(0.0, "leaver", (placement(100),), 5.0, 0.1, rates=(whole,)))
    made.tell(events.Added(0.0, "newcomer", (placement(95),), 5.0, 0.1, rates=(whole,)))
    made.arrive(0.0, "leaver", inf)
    made.arrive(0.1, "resident", inf)
    made.arrive(30.0, "newcomer", 1.0)
    made.change(30.1, 190)  # with both there still, 10 are missing; once one has left, the newcomer lacks 5
    made.run(until=30.11)
    assert (("Resize", "resident", 9) in moved(made)) == gives
    made.run(until=60.0)
    assert made.requests[2].ended is not None
