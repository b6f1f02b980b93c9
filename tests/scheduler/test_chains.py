"""Who is mostly asked after whom is expected, and comes meanwhile; who is asked often anyway is not."""

from math import inf

import pytest

from hotbunk.scheduler import POLICIES, Bound, Scheduler, events
from tests.scheduler.device import Device, loads, placement

ROUND = 100.0


def chained(policy: str, rounds: int, every: int = 1) -> Device:
    """Of two models one fits: in each round an answer of a, and after ``every`` so many of them one of b."""
    made = Device(Scheduler(10, POLICIES[policy](Bound(60.0))))
    for name in "ab":
        made.tell(events.Added(0.0, name, (placement(8),), 0.5, 0.1))
    for n in range(rounds):
        made.arrive(ROUND * n, "a", 1.0)
        if n % every == 0:
            made.arrive(ROUND * n + 6.0, "b", 1.0)
    made.run(until=ROUND * rounds)
    return made


def early(made: Device, rounds: int) -> list[bool]:
    """Of each round, whether b came before it was asked for."""
    return [any(name == "b" and 0.0 < at - ROUND * n < 6.0 for at, name in loads(made)) for n in range(rounds)]


@pytest.mark.parametrize("policy", sorted(POLICIES))
def test_who_is_mostly_asked_after_an_answer_comes_when_one_ends(policy: str) -> None:
    found = early(chained(policy, 12), 12)
    assert not any(found[:3])  # that has to be learnt
    assert all(found[-4:])


def test_who_is_seldom_asked_after_an_answer_does_not() -> None:
    assert not any(early(chained("priced", 12, every=3), 12))


def test_nobody_who_is_busy_leaves_for_one_that_is_only_expected() -> None:
    made = chained("priced", 12)
    made.arrive(ROUND * 12, "a", 1.0)
    made.arrive(ROUND * 12, "a", inf)
    made.run(until=ROUND * 12 + 6.0)
    assert loads(made)[-1][1] == "a"


def test_who_is_asked_often_anyway_is_not_expected_after_an_answer() -> None:
    scheduler = Scheduler(10, POLICIES["priced"](Bound(60.0)))
    for name in "ab":
        scheduler.handle(events.Added(0.0, name, (placement(8),), 0.5, 0.1))
    for n in range(60):
        now = 2.0 * n
        scheduler.handle(events.Submitted(now, "b", 2 * n))
        scheduler.handle(events.Submitted(now + 0.5, "a", 2 * n + 1))
        scheduler.handle(events.Finished(now + 1.0, "a", 2 * n + 1))
        if n > 20:  # by then it is known how often it is asked
            assert scheduler.snapshot.models["b"].expected < now
        scheduler.handle(events.Finished(now + 1.5, "b", 2 * n))
