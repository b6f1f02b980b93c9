"""Traces as values: what is cut, sped up or brought together keeps who follows whom."""

import numpy as np
import pytest

from hotbunk.traces import Request, Trace

ROWS = [
    Request(0.0, "a", 10, 5),
    Request(1.5, "b", 20, 6, after=0),
    Request(2.0, "a", 30, 7),
    Request(0.5, "a", 40, 8, after=1),
    Request(4.0, "b", 50, 9),
]


@pytest.fixture
def trace() -> Trace:
    return Trace.of("small", ROWS)


def test_rows_come_out_as_they_went_in(trace: Trace) -> None:
    assert list(trace) == ROWS
    assert trace.models == ("a", "b")
    assert trace.duration == 4.0
    assert list(trace.roots) == [0, 2, 4]
    assert trace.followers == {0: (1,), 1: (3,)}


def test_twice_as_fast(trace: Trace) -> None:
    fast = trace.sped(2)
    assert [row.arrival for row in fast] == [0.0, 0.75, 1.0, 0.25, 2.0]
    assert fast.duration == 2.0


def test_what_follows_stays_with_what_it_follows(trace: Trace) -> None:
    assert list(trace.until(1.0)) == [ROWS[0], ROWS[1], Request(0.5, "a", 40, 8, after=1)]
    assert list(trace.until(3.0)) == ROWS[:4]
    assert list(trace.only(["a"])) == [ROWS[0], ROWS[2]]  # the follower of b's answer goes with it


def test_traces_together_are_in_order(trace: Trace) -> None:
    other = Trace.of("other", [Request(1.0, "c", 1, 1), Request(0.1, "a", 2, 2, after=0), Request(9.0, "c", 3, 3)])
    both = Trace.together("both", [trace, other])
    assert both.models == ("a", "b", "c")
    assert len(both) == 8
    assert np.all(np.diff(both.arrival[both.roots]) >= 0)
    follower = next(row for row in both if row.prompt == 2)
    assert follower.after is not None
    assert both[follower.after].prompt == 1
    assert sorted(row.prompt for row in both) == [1, 2, 3, 10, 20, 30, 40, 50]


def test_other_names(trace: Trace) -> None:
    assert trace.renamed({"b": "z"}).models == ("a", "z")


@pytest.mark.parametrize(
    "rows",
    [
        [Request(1.0, "a", 1, 1), Request(0.0, "a", 1, 1)],
        [Request(0.0, "a", 0, 1)],
        [Request(0.0, "a", 1, 1, after=0)],
        [Request(-1.0, "a", 1, 1)],
    ],
)
def test_rows_that_cannot_be(rows: list[Request]) -> None:
    with pytest.raises(AssertionError):
        Trace.of("wrong", rows)
