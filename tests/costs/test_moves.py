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


def test_what_was_measured_counts_from_then_on() -> None:
    for costs in (None, Costs.prior(LARGE, MACHINE)):
        bounds = MoveCosts(WHOLE, costs)
        for seconds in (2.0, 1.0):
            bounds.came(seconds)
        bounds.left(0.1)
        assert (bounds.load, round(bounds.leave, 9)) == (3.05, 0.2)


def test_a_slow_load_from_pageable_memory_is_forgotten_once_weights_are_pinned() -> None:
    bounds = MoveCosts(WHOLE)
    for seconds, pinned in ((11.0, False), (9.0, False)):
        bounds.came(seconds, pinned)
    assert bounds.load == 1.5 * 11.0 + 0.05
    bounds.came(0.4, True)
    assert round(bounds.load, 9) == 0.65
    bounds.came(10.0, False)  # it has lost its place in the host store
    assert bounds.load == 1.5 * 10.0 + 0.05
