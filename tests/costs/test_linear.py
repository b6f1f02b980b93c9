"""Sums of terms: what was measured is learnt, what was not keeps its prior, and a few wild points change little."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hotbunk.costs.linear import Array, Fit, Term, fit

TERMS = (Term("fixed", "", "s", 1.0), Term("bytes", "", "B"), Term("more", "", "B", 0.2, like="bytes"))
NOTHING = np.zeros((0, 3)), np.zeros(0)


def points(factors: Array, count: int, noise: float, seed: int) -> tuple[Array, Array]:
    random = np.random.default_rng(seed)
    rows = random.uniform(0.05, 1.0, (count, 3)) * [0.1, 1.0, 1.0]
    return rows, rows @ factors * np.exp(noise * random.standard_normal(count))


def test_with_nothing_measured_it_is_the_prior() -> None:
    prior = fit(TERMS, *NOTHING)
    assert prior.factors == pytest.approx((1, 1, 1))
    estimate = prior.predict(np.array([0.0, 2.0, 0.0]))
    assert estimate.seconds == pytest.approx(2.0)
    assert estimate.low < 2.0 / 1.3 and estimate.high > 2.0 * 1.3


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0.2, 8.0), min_size=3, max_size=3), st.integers(0, 1000))
def test_what_was_measured_is_foretold(factors: list[float], seed: int) -> None:
    truth = np.array(factors)
    fitted = fit(TERMS, *points(truth, 24, 0.02, seed))
    rows, seconds = points(truth, 50, 0.0, seed + 1)
    errors = [abs(fitted.predict(row).seconds / time - 1) for row, time in zip(rows, seconds, strict=True)]
    assert np.mean(errors) < 0.03


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(*[st.floats(0.0, 1e3)] * 3), max_size=12),
    st.lists(st.floats(1e-6, 1e4), min_size=12, max_size=12),
)
def test_nothing_takes_no_time_whatever_was_measured(rows: list[tuple[float, ...]], times: list[float]) -> None:
    fitted = fit(TERMS, np.array(rows).reshape(-1, 3), np.array(times[: len(rows)]))
    estimate = fitted.predict(np.array([1e-3, 1e-2, 0.0]))
    assert 0 < estimate.low <= estimate.seconds <= estimate.high


def test_a_prior_that_is_far_off_is_given_up_for_two_points() -> None:
    fitted = fit(TERMS, np.array([[0.0, 1.0, 0.0], [0.0, 2.0, 0.0]]), np.array([6.0, 12.0]))
    assert fitted.predict(np.array([0.0, 1.0, 0.0])).seconds == pytest.approx(6.0, rel=0.05)


def test_wild_points_change_little() -> None:
    rows, seconds = points(np.array([1.0, 2.0, 2.0]), 20, 0.01, 3)
    calm = fit(TERMS, rows, seconds)
    seconds[4] *= 10
    wild = fit(TERMS, rows, seconds)
    assert wild.factors[1:] == pytest.approx(calm.factors[1:], rel=0.05)
    assert wild.spread < 0.05


def test_a_direction_without_points_follows_what_it_is_like() -> None:
    fitted = fit(TERMS, np.array([[0.0, 1.0, 0.0]] * 4), np.array([2.0, 2.01, 1.99, 2.0]))
    assert fitted.factors[2] == pytest.approx(2.0, rel=0.05)
    measured, unmeasured = np.array([0.0, 1.0, 0.0]), np.array([0.0, 0.0, 1.0])
    assert fitted.deviation(unmeasured) > 3 * fitted.deviation(measured)


def test_intervals_hold_nine_in_ten() -> None:
    truth = np.array([1.0, 1.5, 0.8])
    fitted = fit(TERMS, *points(truth, 40, 0.04, 1))
    rows, seconds = points(truth, 2000, 0.04, 2)
    assert 0.85 < np.mean([_holds(fitted, row, time) for row, time in zip(rows, seconds, strict=True)]) < 0.95


def _holds(fitted: Fit, row: Array, seconds: float) -> bool:
    estimate = fitted.predict(row)
    return estimate.low <= seconds <= estimate.high


def test_estimates_add_up() -> None:
    fitted = fit(TERMS, *NOTHING)
    one = fitted.predict(np.array([0.0, 1.0, 0.0]))
    both = one + one
    assert both.seconds == pytest.approx(2.0)
    assert one.times(2).high > both.high > 2.0


def test_a_fit_over_more_terms_foretells_the_same() -> None:
    fitted = fit(TERMS, *points(np.array([2.0, 3.0, 4.0]), 24, 0.05, 1))
    wider = fitted.over(["more", "new", "fixed", "bytes"])
    assert wider.predict(np.array([3.0, 9.0, 1.0, 2.0])) == fitted.predict(np.array([1.0, 2.0, 3.0]))
    assert fitted.over(fitted.names) == fitted
    with pytest.raises(ValueError, match="no such term: fixed"):
        fitted.over(["bytes", "more"])


def test_what_takes_no_time_is_certain() -> None:
    """A term that a profile is older than has the factor 0, and may be all that there is of a point."""
    older = Fit(("a",), (2.0,), ((0.1,),), 0.1).over(["a", "b"])
    estimate = older.predict(np.array([0.0, 3.0]))
    assert (estimate.seconds, estimate.low, estimate.high) == (0.0, 0.0, 0.0)
