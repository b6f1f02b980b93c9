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
        bounds.loads.extend([2.0, 1.0])
        bounds.leaves.append(0.1)
        assert (bounds.load, round(bounds.leave, 9)) == (3.05, 0.2)
