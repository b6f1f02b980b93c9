"""What llama-swap's way to decide is known for."""

import pytest

from hotbunk.scheduler import events
from hotbunk.scheduler.baselines import LlamaSwap
from tests.scheduler.device import placement, unloads
from tests.scheduler.stories import ask, device, loaded, sizes, started


def test_llamaswap_collates() -> None:
    made = device(LlamaSwap(), 100, a=10, b=10, c=10)
    ask(made, *((0.1 * place, name, 1.0) for place, name in enumerate("abcabc")))
    made.run()
    assert started(made) == "aabbcc"
    assert loaded(made) == "abc"


def test_llamaswap_refuses_the_eleventh_request_for_a_model() -> None:
    made = device(LlamaSwap(), 100, a=10, b=10)
    ask(made, *((0.0, "a", 9.0) for _ in range(12)), (0.0, "b", 1.0))
    made.run()
    assert [r.refused for r in made.requests.values()] == 10 * [False] + [True, True, False]


def test_llamaswap_leaves_those_of_a_set_together() -> None:
    made = device(LlamaSwap(sets=(frozenset("ac"), frozenset("bc"))), 20, a=10, b=10, c=10)
    ask(made, (0.0, "c", 1.0), (2.0, "a", 1.0), (4.0, "b", 1.0), (6.0, "c", 1.0))
    made.run()
    assert loaded(made) == "cab"
    assert unloads(made) == ["a"]


@pytest.mark.parametrize(("costs", "victim"), [({}, "b"), ({"b": 5.0}, "a"), ({"a": 5.0}, "b")])
def test_llamaswap_evicts_what_costs_the_least(costs: dict[str, float], victim: str) -> None:
    sets = tuple(map(frozenset, ("ab", "ax", "bx")))
    made = device(LlamaSwap(sets=sets, costs=costs), 20, a=10, b=10, x=10)
    ask(made, (0.0, "a", 1.0), (2.0, "b", 1.0), (5.0, "x", 1.0))
    made.run()
    assert unloads(made) == [victim]


def test_llamaswap_evicts_all_for_a_set_that_does_not_fit() -> None:
    made = device(LlamaSwap(sets=(frozenset("ab"),)), 20, a=(15, 12), b=(15, 12))
    ask(made, (0.0, "a", 1.0), (3.0, "b", 1.0))
    made.run()
    assert sizes(made) == {"b": 15}


@pytest.mark.parametrize(("work", "order"), [(5.0, "apb"), (1.0, "abp")])
def test_llamaswap_goes_by_priority_but_not_back_on_a_swap_that_has_begun(work: float, order: str) -> None:
    made = device(LlamaSwap(), 20, a=10, b=10)
    made.tell(events.Added(0.0, "p", (placement(10),), 1.0, 1.0, priority=1))
    ask(made, (0.0, "a", work), (3.0, "b", 1.0), (3.2, "p", 1.0))
    made.run()
    assert loaded(made) == order
