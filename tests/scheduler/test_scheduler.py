"""What the scheduler makes of a policy, whatever that is."""

import pytest

from hotbunk.costs.rates import Rates
from hotbunk.placement import Placement
from hotbunk.scheduler import Bound, Phase, Scheduler, actions, events, scheduler
from hotbunk.scheduler.ledger import IllegalAction
from hotbunk.scheduler.policies import Fifo, Verdict
from hotbunk.scheduler.snapshot import Model, Snapshot
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


WHOLE, LESS, ORDERED = placement(8), placement(5, layers=5), placement(3, layers=3)
OFFERS = WHOLE, LESS


def _with_an_order(*then: events.Event) -> Model:
    """A model of which somebody has ordered another form than it is offered, and what is told after that."""
    made = Scheduler(10, Fifo(Bound(60.0)))
    made.handle(events.Added(0.0, "m", OFFERS, 1.0, 0.1, rates=(Rates(step=0.01), Rates(step=0.02))))
    for event in (events.Wanted(1.0, "m", ORDERED), *then):
        made.handle(event)
    return made.snapshot.models["m"]


STANDS = events.Loaded(2.0, "m", ORDERED, ORDERED.device)
LEARNT = events.Added(3.0, "m", OFFERS, 1.0, 0.1, rates=(Rates(step=0.03), Rates(step=0.04)))


@pytest.mark.parametrize("then", [(), (STANDS,), (STANDS, LEARNT), (LEARNT,), (events.Wanted(2.0, "m"),)])
def test_what_an_administrator_ordered_comes_before_what_is_offered(then: tuple[events.Event, ...]) -> None:
    assert _with_an_order(*then).placements == (ORDERED, *OFFERS)


STOOD = events.Loaded(1.5, "m", WHOLE, WHOLE.device)


@pytest.mark.parametrize(
    ("free", "form", "then"),
    [(10, ORDERED, (ORDERED, *OFFERS)), (10, WHOLE, OFFERS), (8, placement(9, layers=11), OFFERS)],
    ids=["smaller", "as it is offered", "too large"],
)
def test_an_order_for_one_that_stands_holds_if_it_is_obeyed(
    free: int, form: Placement, then: tuple[Placement, ...]
) -> None:
    made = Scheduler(free, Fifo(Bound(60.0)))
    made.handle(events.Added(0.0, "m", OFFERS, 1.0, 0.1))
    made.handle(events.Submitted(1.0, "m", 1))
    made.handle(STOOD)
    moved = made.handle(events.Wanted(2.0, "m", form))
    assert made.snapshot.models["m"].placements == then
    assert [type(action) for action in moved] == [actions.Resize] * (form is ORDERED)


def test_what_only_fits_for_now_does_not_hold() -> None:
    passing = events.Wanted(3.0, "m", LESS, holds=False)
    assert _with_an_order(STANDS, passing).placements == OFFERS


def test_an_order_for_what_there_is_already_moves_nothing_and_holds() -> None:
    made = Scheduler(10, Fifo(Bound(60.0)))
    made.handle(events.Added(0.0, "m", (LESS,), 1.0, 0.1))
    made.handle(events.Submitted(1.0, "m", 1))
    made.handle(events.Loaded(1.5, "m", LESS, LESS.device))
    assert made.handle(events.Wanted(2.0, "m", LESS)) == []
    made.handle(events.Added(3.0, "m", OFFERS, 1.0, 0.1))  # there is more memory again
    assert made.snapshot.models["m"].placements == (LESS, WHOLE)


def test_an_order_counts_for_what_it_really_takes() -> None:
    more = placement(4, layers=3)
    model = _with_an_order(events.Loaded(2.0, "m", ORDERED, more.device))
    assert model.placements == (more, *OFFERS)
    assert model.whole == model.bytes == 4


def test_costs_that_are_learnt_stay_beside_their_placements() -> None:
    model = _with_an_order(STANDS, LEARNT)
    assert [model.costs(each).step for each in OFFERS] == [0.03, 0.04]


@pytest.mark.parametrize(
    "then",
    [
        (STANDS, events.Dismissed(3.0, "m"), events.Unloaded(4.0, "m")),
        (events.Failed(2.0, "m", 3.0),),
        (STANDS, events.Lost(3.0)),
        (STANDS, LEARNT, events.Lost(4.0)),
    ],
)
def test_what_was_ordered_holds_until_the_model_leaves(then: tuple[events.Event, ...]) -> None:
    assert _with_an_order(*then).placements == OFFERS


def test_an_order_that_is_taken_back_before_it_is_obeyed_leaves_nothing_behind() -> None:
    made = Scheduler(1, Fifo(Bound(60.0)))  # there is no room to obey it
    made.handle(events.Added(0.0, "m", OFFERS, 1.0, 0.1))
    for event, then in [
        (events.Wanted(1.0, "m", ORDERED), (ORDERED, *OFFERS)),
        (events.Dismissed(2.0, "m"), OFFERS),
    ]:
        made.handle(event)
        assert list(made.snapshot.models["m"].placements) == list(then)


def test_an_order_that_fits_no_more_does_not_outlast_what_is_offered_anew() -> None:
    less = events.Added(3.0, "m", (placement(2, layers=2),), 1.0, 0.1)
    assert _with_an_order(STANDS, events.Budget(3.0, 2), less).placements == less.placements
