"""The policy that prices: at once where there is room, else as late as the promise allows, and never later."""

from itertools import pairwise
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotbunk.costs.rates import Promise, Rates
from hotbunk.scheduler import Bound, Model, Priced, Scheduler, Sequence, actions, events
from hotbunk.scheduler.line import Line
from hotbunk.scheduler.urgency import begin, dues, laxity
from tests.scheduler.device import Device, placement

QUICK = Rates(step=0.01, each=0.001, token=0.001, load=0.5, unload=0.1, carry=0.0)


FOUR = Promise(4.0, 0.1)


def device(*models: str, size: int = 8, slots: int = 2, promise: Promise = FOUR) -> Device:
    """Models of which one fits."""
    made = Device(Scheduler(10, Priced(Bound(60.0))))
    for name in models:
        place = placement(size, slots)
        made.tell(events.Added(0.0, name, (place,), 0.5, 0.1, rates=(QUICK,), promise=promise))
    return made


def first(made: Device, kind: type[actions.Action], model: str) -> float:
    times: list[float] = [time for time, action in made.log if isinstance(action, kind) and action.model == model]
    return times[0]


def test_whoever_runs_goes_on_for_as_long_as_the_promise_allows() -> None:
    made = device("a", "b")
    made.arrive(0.0, "a", inf)
    made.arrive(10.0, "b", 1.0)
    made.run(until=30.0)
    # 4 s are promised: less a quarter in reserve, the load and the way out
    assert first(made, actions.Unload, "a") - 10.0 == pytest.approx(2.4, abs=0.3)
    assert made.requests[1].waited < 4.0


def test_so_does_one_whose_requests_keep_coming() -> None:
    made = device("a", "b")
    made.arrive(0.0, "a", inf)
    for n in range(230):  # one a second, each with an average answer's work: as much as it can do
        made.arrive(n, "a", 0.3)
    made.arrive(200.25, "b", 1.0)
    made.run(until=220.0)
    [request] = [r for r in made.requests.values() if r.model == "b"]
    assert 1.5 < first(made, actions.Unload, "a") - 200.25 < 2.6
    assert request.waited < 4.0


def test_one_that_is_idle_leaves_at_once() -> None:
    made = device("a", "b")
    made.arrive(0.0, "a", 1.0)
    made.arrive(10.0, "b", 1.0)
    made.run(until=30.0)
    assert first(made, actions.Unload, "a") == pytest.approx(10.0, abs=0.3)


@pytest.mark.parametrize(("size", "meanwhile"), [(2, True), (4, False)])
def test_a_place_that_cannot_be_had_yet_is_used_meanwhile(size: int, meanwhile: bool) -> None:
    made = device("a", "b", promise=Promise(8.0, 0.1))  # b needs a's place, and gets it when its promise demands it
    made.tell(events.Added(0.0, "c", (placement(size, 2),), 0.5, 0.1, rates=(QUICK,), promise=Promise(40.0, 0.1)))
    made.arrive(0.0, "a", inf)
    made.arrive(10.0, "b", 1.0)
    made.arrive(10.1, "c", 0.3)
    made.run(until=30.0)
    loads = [time for time, action in made.log if isinstance(action, actions.Load) and action.model == "c"]
    assert (loads[:1] == [10.1]) == meanwhile
    assert made.requests[1].waited < 8.0


def test_moves_are_no_more_than_their_share_of_a_turn() -> None:
    made = device("a", "b", slots=16, promise=Promise(1.0, 10.0))  # whoever comes wants the device at once
    made.arrive(0.0, "a", inf)
    made.arrive(0.0, "b", inf)
    for n in range(30):
        made.arrive(n, "ab"[n % 2], 0.1)
    made.run(until=30.0)
    loads = [time for time, action in made.log if isinstance(action, actions.Load)]
    gaps = [later - earlier for earlier, later in pairwise(loads)]
    assert len(gaps) > 10
    assert min(gaps) >= 2 * (0.5 + 0.1) - 0.2  # as long on the device as its moves take


def test_one_that_can_wait_makes_way_in_its_slot() -> None:
    made = device("a", slots=1)
    made.arrive(0.0, "a", inf)
    made.arrive(5.0, "a", 0.5)
    made.run(until=12.0)
    assert made.requests[1].waited == pytest.approx(3.0, abs=0.2)  # a quarter of four seconds in reserve
    assert made.requests[1].ended is not None
    done = [type(action).__name__ for _, action in made.log if not isinstance(action, actions.Wake)]
    assert done[-3:] == ["Suspend", "Start", "Resume"]


def test_making_way_in_slots_does_not_put_off_others_turns() -> None:
    made = device("a", slots=4)
    for _ in range(4):
        made.arrive(0.0, "a", inf)
    for n in range(40):
        made.arrive(5.0 + 0.05 * n, "a", 0.1)
    most = 0.0
    for tick in range(50, 120):
        made.run(until=tick / 10)
        [model] = made.scheduler.snapshot.models.values()
        most = max(most, model.over - made.clock)
    assert sum(isinstance(action, actions.Suspend) for _, action in made.log) == 3
    assert most <= model.leave + made.scheduler.policy.least(model)


def test_who_is_missed_least_leaves_first() -> None:
    made = device("a", "b", "c", size=5)
    for n in range(20):
        made.arrive(n, "a", 0.1)
    made.arrive(19.5, "b", 0.1)  # used last, but asked for once
    made.arrive(25.0, "c", 0.1)
    made.run(until=30.0)
    assert [a.model for _, a in made.log if isinstance(a, actions.Unload)] == ["b"]


def test_an_order_without_a_request_is_carried_out() -> None:
    made = device("a", "b")
    made.arrive(0.0, "a", inf)
    made.at(5.0, lambda: made.tell(events.Wanted(5.0, "b")))
    made.run(until=10.0)
    assert first(made, actions.Load, "b") < 8.0


# ---------------------------------------------------------------- urgency


def model(*queue: Sequence, answers: float = 100.0) -> Model:
    known = Model("m", (placement(8),), rates=(QUICK,), promise=Promise(2.0, 0.1), answers=answers)
    return known.but(queue=Line(queue))


def _waiting(at: float, later: float, prompt: int, made: int) -> Sequence:
    """A newcomer, or one that was preempted behind ``made`` tokens."""
    return Sequence(0, at, at + later, made > 0, made > 0, prompt, 0, made, at)


def latest(sequence: Sequence, now: float) -> float:
    """The last moment for one that waits alone, worked out anew: two steps after it is due, without a reserve."""
    [(due, _)] = dues(model(sequence), now, 60.0, 0.0)
    return due + 2 * 0.011


def test_a_newcomer_can_wait_until_its_prompt_must_begin() -> None:
    new = Sequence(1, 10.0, 10.0, prompt=500)
    assert latest(new, 10.0) == pytest.approx(10.0 + 2.0 - 0.5)
    assert begin(model(new), 10.0, 60.0) == pytest.approx(10.0 + 2.0 - 0.5 - 0.5)


def test_who_is_late_is_urgent_again_later() -> None:
    new = Sequence(1, 0.0, 0.0, prompt=500)
    moments = [latest(new, now) for now in (0.0, 2.0, 10.0, 20.0)]
    assert moments == pytest.approx([1.5, 15.5, 15.5, 127.5])


def test_who_has_begun_is_not_kept_out_for_ever() -> None:
    held = Sequence(1, 0.0, 50.0, started=True, held=True, made=100, begun=0.0)  # its promise was broken long ago
    assert latest(held, 70.0) == 110.0


@given(
    st.lists(st.builds(_waiting, *[st.floats(0, 50)] * 2, st.integers(0, 4000), st.integers(0, 500)), max_size=20),
    st.lists(st.floats(0, 400), min_size=2, max_size=6).map(sorted),
)
def test_what_is_kept_of_last_moments_is_what_they_are(queue: list[Sequence], times: list[float]) -> None:
    kept = model(*queue)
    for now in (50.0 + time for time in times):
        exact = [latest(sequence, now) - 2 * 0.011 for sequence in queue]
        soonest = dues(kept, now, 60.0, 0.0)
        assert [moment for moment, _ in soonest] == pytest.approx(sorted(exact))
        assert [exact[at] for _, at in soonest] == pytest.approx(sorted(exact))
        assert begin(kept, now, 60.0) == pytest.approx(begin(model(*queue), now, 60.0))


def test_a_preempted_one_can_wait_for_what_it_is_ahead() -> None:
    held = Sequence(1, 0.0, 20.0, started=True, held=True, made=100, begun=10.0)
    # 200 tokens in all are promised 20 s; ten are gone, and the rest takes 100 steps of two
    assert laxity(model(held), held, 20.0) == pytest.approx(20.0 - 10.0 - 100 * 0.011)
    brief = Sequence(1, 0.0, 20.0, started=True, held=True, made=100, begun=10.0, limit=110)
    assert laxity(model(brief), brief, 20.0) == pytest.approx(11.0 - 10.0 - 10 * 0.011)


# ---------------------------------------------------------------- what has gone wrong


def test_who_is_in_time_is_served_behind_a_long_queue_of_those_who_are_late() -> None:
    made = device("a")
    for n in range(100):  # more than it can do: those at the front of the queue are late soon
        made.arrive(0.01 * n, "a", 1.0)
    made.arrive(10.0, "a", 0.1)
    made.run(until=70.0)
    assert sum(request.waited > 4.0 for request in made.requests.values()) > 10
    assert made.requests[100].waited < 4.0


def test_a_resident_that_gives_up_layers_keeps_nobody_waiting_beyond_the_bound() -> None:
    made = Device(Scheduler(15, Priced(Bound(25.0), quantum=2.0)))
    whole, less, other = (Rates(step, 0.001, 0.0002, load, 0.1) for step, load in [(0.01, 3), (0.011, 3), (0.01, 0.5)])
    places = placement(10, 1), placement(5, 1, layers=5)
    made.tell(events.Added(0.0, "a", places, 10.0, 0.1, rates=(whole, less)))
    made.tell(events.Added(0.0, "b", (placement(10, 1),), 0.5, 0.1, rates=(other,)))
    for name in "cde":
        rates = Rates(0.01, 0.001, 0.0002, 3.0, 1.0)
        made.tell(events.Added(0.0, name, (placement(15, 1),), 3.0, 1.0, rates=(rates,), promise=Promise(60.0, 0.1)))
    made.arrive(0.0, "a", inf)
    for name in "cde":
        made.arrive(100.0, name, inf)
    made.arrive(100.5, "b", inf)
    made.run(until=300.0)
    assert all(request.refused or request.waited <= 25.0 for request in made.requests.values())


def test_who_has_been_away_for_half_the_bound_gets_a_slot_though_nobody_has_time_to_spare() -> None:
    made = Device(Scheduler(10, Priced(Bound(120.0))))
    slow = Rates(step=0.15, each=0.01, token=0.001, load=1.0, unload=0.1)  # no step keeps the promised TPOT
    for name in "xy":
        made.tell(events.Added(0.0, name, (placement(10, 1),), 1.0, 0.5, rates=(slow,)))
    made.arrive(0.0, "x", 1000.0)
    made.arrive(30.0, "y", 5.0)
    made.arrive(33.0, "x", 900.0)
    made.run(until=400.0)
    away = [time for time, action in made.log if isinstance(action, actions.Suspend) and action.sequence == 0]
    back = [time for time, action in made.log if isinstance(action, actions.Resume) and action.sequence == 0]
    assert back[0] - away[0] <= 61.0


def test_who_waits_after_its_worker_was_lost_is_not_taken_to_make_tokens() -> None:
    lost = Sequence(1, 0.0, 0.0, started=True, prompt=100, made=0, begun=1.0)
    queued = model(lost)
    assert begin(queued, 30.0, 600.0) == pytest.approx(begin(queued.but(), 37.0, 600.0))


def test_costs_stay_beside_their_placements_when_an_administrator_names_another() -> None:
    scheduler = Scheduler(20, Priced())
    whole, less = placement(10, 1), placement(5, 1, layers=5)
    known = Rates(step=0.01), Rates(step=0.05)
    scheduler.handle(events.Added(0.0, "m", (whole, less), 0.5, 0.1, rates=known))
    other = placement(3, 1, layers=3)
    scheduler.handle(events.Wanted(1.0, "m", other))
    asked = scheduler.snapshot.models["m"]
    assert [asked.costs(each).step for each in (whole, less)] == [0.01, 0.05]
    assert asked.costs(other).step not in (0.01, 0.05)
