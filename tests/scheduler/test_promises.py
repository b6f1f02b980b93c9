"""What ``priced`` promises besides the bound: who is kept stays, priorities count, moves do not take over, and one
model alone is served as if nobody scheduled."""

from math import inf

from hypothesis import given, settings
from hypothesis import strategies as st

from hotbunk.costs.rates import Rates
from hotbunk.scheduler import Bound, Priced, Scheduler, actions, events
from tests.scheduler.device import Device, loads, placement, unloads

ARRIVALS = st.lists(st.tuples(st.floats(0.0, 3.0), st.sampled_from("abc"), st.floats(0.01, 20.0)), max_size=40)
MOVES = st.floats(0.1, 2.0)


def device(wait: float, budget: int = 10) -> Device:
    return Device(Scheduler(budget, Priced(Bound(wait))))


def add(made: Device, name: str, size: int, move: float, **more: object) -> None:
    known = (Rates(load=move, unload=move / 2),)
    made.tell(events.Added(0.0, name, (placement(size),), move, move / 2, rates=known, **more))  # type: ignore[arg-type]


def arrive(made: Device, arrivals: list[tuple[float, str, float]]) -> None:
    clock = 0.0
    for gap, name, work in arrivals:
        clock += gap
        made.arrive(clock, name, work)


@settings(max_examples=100, deadline=None)
@given(ARRIVALS, MOVES, st.integers(1, 9))
def test_who_is_kept_stays(arrivals: list[tuple[float, str, float]], move: float, size: int) -> None:
    made = device(40.0)
    add(made, "a", size, move, keep=True)
    for name in "bc":
        add(made, name, 10 - size, move)
    arrive(made, arrivals)
    made.run(until=1000.0)
    assert "a" not in unloads(made)


@settings(max_examples=50, deadline=None)
@given(MOVES, st.integers(2, 4))
def test_moves_between_the_busy_take_no_more_than_their_share_of_a_minute(move: float, models: int) -> None:
    made = device(1000.0)
    for name in "abcd"[:models]:
        add(made, name, 8, move)
        for _ in range(3):
            made.arrive(0.0, name, inf)
    made.run(until=300.0)
    policy, whole = made.scheduler.policy, 1.5 * move
    assert isinstance(policy, Priced)
    for begin, _ in loads(made):
        within = sum(whole for at, _ in loads(made) if begin <= at < begin + 60.0)
        assert within <= 60.0 * policy.share + whole


@settings(max_examples=50, deadline=None)
@given(MOVES, st.floats(20.0, 40.0), st.integers(1, 3))
def test_the_lower_waits_to_the_bound_and_the_higher_does_not(move: float, wait: float, higher: int) -> None:
    made = device(wait)
    add(made, "high", 8, move, priority=higher)
    add(made, "low", 8, move)
    made.arrive(0.0, "high", inf)
    made.arrive(10.0, "low", 1.0)
    made.run(until=10.0 + wait)
    assert made.requests[1].started is not None
    assert made.requests[1].waited > wait - 12.0 * move  # the last moment, less what moves may take
    back = device(wait)
    add(back, "high", 8, move, priority=higher)
    add(back, "low", 8, move)
    back.arrive(0.0, "low", inf)
    back.arrive(10.0, "high", 1.0)
    back.run(until=10.0 + wait)
    assert back.requests[1].waited < 2.0 + 4 * move


@settings(max_examples=100, deadline=None)
@given(ARRIVALS, MOVES)
def test_one_model_alone_is_loaded_once_and_no_slot_is_free_while_somebody_waits(
    arrivals: list[tuple[float, str, float]], move: float
) -> None:
    made = device(1000.0)
    add(made, "a", 8, move)
    arrive(made, [(gap, "a", work) for gap, _, work in arrivals])
    for tick in range(300):
        made.run(until=tick / 2)
        [model] = made.scheduler.snapshot.models.values()
        assert not (model.queue and model.free_slots)
    assert len(loads(made)) == bool(arrivals)
    assert not any(isinstance(action, actions.Refuse | actions.Unload) for _, action in made.log)
