"""Baselines that mirror no single peer: draining, least recently used, static partition, round robin."""

from itertools import pairwise
from math import inf

import pytest

from hotbunk.scheduler.baselines import Drain, Lru, Partition, RoundRobin
from tests.scheduler.device import loads, unloads
from tests.scheduler.stories import ask, device, loaded, overlapping, sizes, started, there


def test_drain_closes_the_door_when_the_first_has_waited_for_long() -> None:
    made = device(Drain(wait=20.0), 20, slots=2, a=15, b=15)
    overlapping(made, "a", 100)
    made.arrive(1.25, "b", 1.0)
    made.run()
    [request] = [r for r in made.requests.values() if r.model == "b"]
    assert 20.0 < request.waited <= 20.0 + 1.5 + 0.5 + 1.0


def test_drain_lets_in_who_came_before() -> None:
    made = device(Drain(wait=5.0), 20, a=15, b=15)
    ask(made, (0.0, "a", 10.0), (1.5, "a", 3.0), (2.0, "b", 1.0), (2.5, "a", 1.0))
    made.run()
    assert started(made) == "aaba"


def test_drain_gives_each_load_at_least_those_who_waited_for_it() -> None:
    made = device(Drain(wait=0.0), 20, a=15, b=15)
    ask(made, *((float(place), name, 1.0) for place, name in enumerate("abababab")))
    made.run()
    assert loaded(made) == "abab"
    assert started(made) == "abbaaabb"


def test_lru_evicts_the_least_recently_used_for_the_best_placement() -> None:
    made = device(Lru(), 20, a=5, b=5, c=5, d=(25, 10, 5))
    ask(made, (0.0, "b", 1.0), (3.0, "a", 9.0), (6.0, "c", 1.0), (20.0, "d", 1.0))
    made.run()
    assert unloads(made) == ["b"]
    assert sizes(made) == {"a": 5, "c": 5, "d": 10}


def test_partition_gives_everyone_a_share_for_ever() -> None:
    made = device(Partition(), 30, a=(20, 10, 5), b=(20, 9), c=4)
    ask(made, *((float(place), name, 1.0) for place, name in enumerate("abcabc")))
    made.run()
    assert sizes(made) == {"a": 10, "b": 9, "c": 4}
    assert loaded(made) == "abc"


def test_partition_weighs_the_shares() -> None:
    ladder = (25, 20, 10)
    made = device(Partition(weights={"a": 2.0}), 40, a=ladder, b=ladder, c=ladder)
    ask(made, *((0.0, name, 1.0) for name in "abc"))
    made.run()
    assert sizes(made) == {"a": 20, "b": 10, "c": 10}


def test_partition_has_a_common_room_for_those_too_large_for_a_share() -> None:
    made = device(Partition(), 50, a=10, b=10, c=25, d=28)
    ask(made, *((3.0 * place, name, 1.0) for place, name in enumerate("abcdabcd")))
    made.run()
    assert loaded(made) == "abcdcd"
    assert unloads(made) == ["c", "d", "c"]
    assert there(made) == "abd"


def test_round_robin_gives_slices_in_a_fixed_order() -> None:
    made = device(RoundRobin(slice=10.0), 20, a=15, b=15, c=15)
    ask(made, (0.0, "b", inf), (0.1, "c", inf), (0.2, "a", inf))
    made.run(until=100.0)
    assert loaded(made) == "bcabcabca"
    begins = [time for time, _ in loads(made)][1:]
    assert [later - earlier for earlier, later in pairwise(begins)] == pytest.approx(7 * [12.0])


def test_round_robin_resumes_before_it_lets_newcomers_in() -> None:
    made = device(RoundRobin(slice=10.0), 20, a=15, b=15)
    ask(made, (0.0, "a", 15.0), (0.1, "b", 1.0), (5.0, "a", 1.0))
    made.run()
    assert made.requests[0].ended == pytest.approx((made.requests[2].ended or 0.0) - 1.0)


def test_round_robin_ends_the_slice_of_who_has_nothing_to_do() -> None:
    made = device(RoundRobin(slice=10.0), 20, a=15, b=15)
    ask(made, (0.0, "a", 1.0), (0.1, "b", 1.0))
    made.run()
    assert made.requests[1].started == pytest.approx(3.5)
