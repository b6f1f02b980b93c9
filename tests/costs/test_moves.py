"""Bounds on moves: never below what is to be expected, and what was measured counts more than what was foretold."""

from hotbunk.costs import MoveCosts
from hotbunk.costs.model import Costs
from tests.costs.test_model import LARGE, MACHINE, place

WHOLE = place(LARGE, 37)


def test_before_the_first_measurement_costs_are_taken_at_their_worst() -> None:
    costs = Costs.prior(LARGE, MACHINE)
    bounds = MoveCosts(WHOLE, costs)
    step = costs.decode(WHOLE, [WHOLE.context] * WHOLE.slots).high
    assert bounds.load > 1.5 * (step + costs.load(WHOLE, pinned=False).high)
    assert bounds.leave > 1.5 * (step + WHOLE.slots * costs.kv_out(WHOLE, WHOLE.context, pinned=False).high)
    assert bounds.load < MoveCosts(WHOLE).load  # which knows the bytes alone


def load(bounds: MoveCosts, seconds: float, whole: bool = True, pinned: bool = True) -> None:
    bounds.comes(100.0)
    bounds.came(100.0 + seconds, whole, pinned)


def leave(bounds: MoveCosts, seconds: float, suspended: int = 1) -> None:
    bounds.goes(200.0)
    for _ in range(suspended):
        bounds.suspended()
    bounds.left(200.0 + seconds)


def test_what_was_measured_counts_from_then_on() -> None:
    for costs in (None, Costs.prior(LARGE, MACHINE)):
        bounds = MoveCosts(WHOLE, costs)
        for seconds in (2.0, 1.0):
            load(bounds, seconds)
        leave(bounds, 0.1)
        assert (round(bounds.load, 9), round(bounds.leave, 9)) == (3.05, 0.2)


def test_a_slow_load_from_pageable_memory_is_forgotten_once_weights_are_pinned() -> None:
    bounds = MoveCosts(WHOLE)
    for seconds in (11.0, 9.0):
        load(bounds, seconds, pinned=False)
    assert bounds.load == 1.5 * 11.0 + 0.05
    load(bounds, 0.5)
    assert round(bounds.load, 9) == 0.8
    load(bounds, 10.0, pinned=False)  # it has lost its place in the host store
    assert bounds.load == 1.5 * 10.0 + 0.05


def test_a_resize_a_part_and_an_idle_models_leave_say_nothing_of_the_bounds() -> None:
    bounds = MoveCosts(WHOLE)
    before = bounds.load, bounds.leave
    bounds.came(1000.0)  # it began before anybody looked
    bounds.left(1000.0)
    load(bounds, 0.1, whole=False)
    bounds.comes(1.0, resized=True)
    bounds.suspended()  # for another sequence of the same model
    bounds.came(1.1)
    bounds.goes(2.0)
    bounds.left(2.01)
    assert (bounds.load, bounds.leave) == before
