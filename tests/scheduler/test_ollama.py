"""What Ollama's way to decide is known for."""

from math import inf

import pytest

from hotbunk.scheduler import events
from hotbunk.scheduler.baselines import Ollama
from tests.scheduler.device import placement, unloads
from tests.scheduler.stories import ask, device, loaded, sizes, started, there


def test_ollama_works_on_the_first_in_the_queue_and_lets_all_others_wait_behind_it() -> None:
    made = device(Ollama(), 20, a=10, b=9, c=2)
    ask(made, (0.0, "a", 20.0), (2.0, "b", 1.0), (3.0, "c", 1.0), (4.0, "a", 1.0))
    made.run(until=200.0)
    assert started(made) == "aabc"  # c would have fitted beside a


def test_ollama_keeps_a_request_that_came_before_its_model_was_loaded_in_its_place() -> None:
    made = device(Ollama(), 20, a=15, b=15)
    ask(made, (0.0, "a", 3.0), (0.1, "b", 1.0), (0.2, "a", 1.0), (2.0, "a", 1.0))
    made.run(until=200.0)
    assert loaded(made) == "aba"
    assert [r.started for r in made.requests.values()] == pytest.approx([1.0, 6.5, 9.0, 4.0])


@pytest.mark.parametrize(("size", "together"), [(8, "ab"), (9, "b")])
def test_ollama_loads_beside_others_into_four_fifths_of_what_is_free(size: int, together: str) -> None:
    made = device(Ollama(), 20, a=10, b=size)
    ask(made, (0.0, "a", 1.0), (5.0, "b", 1.0))
    made.run(until=50.0)
    assert there(made) == together


def test_ollama_splits_only_a_model_that_is_alone() -> None:
    made = device(Ollama(), 20, a=4, b=(25, 15, 8))
    ask(made, (0.0, "a", 1.0), (5.0, "b", 1.0), (10.0, "a", 1.0))
    made.run(until=50.0)
    assert unloads(made) == ["a"]
    assert sizes(made) == {"a": 4, "b": 15}


def test_ollama_evicts_by_name_not_by_use() -> None:
    made = device(Ollama(), 30, a=10, b=10, c=12)
    ask(made, (0.0, "b", 1.0), (5.0, "a", 1.0), (10.0, "c", 1.0))
    made.run(until=50.0)
    assert unloads(made) == ["a"]


@pytest.mark.parametrize(("work", "victim"), [(1.0, "b"), (10.0, "a")])
def test_ollama_waits_for_the_victim_it_chose_even_if_another_becomes_idle(work: float, victim: str) -> None:
    made = device(Ollama(), 24, a=8, b=8, c=8)
    ask(made, (0.0, "a", 30.0), (1.0, "b", work), (5.0, "c", 1.0))
    made.run(until=50.0)
    assert unloads(made) == [victim]
    assert made.requests[2].started == pytest.approx(6.5 if victim == "b" else 32.5)


def test_ollama_unloads_who_is_idle_for_five_minutes() -> None:
    made = device(Ollama(), 20, a=10)
    made.tell(events.Added(0.0, "k", (placement(2),), 1.0, 1.0, keep=True))
    ask(made, (0.0, "a", 1.0), (0.0, "k", 1.0))
    made.run(until=301.0)
    assert there(made) == "ak"
    made.run(until=400.0)
    assert there(made) == "k"


def test_ollama_loads_three_models_at_most() -> None:
    made = device(Ollama(), 100, a=1, b=1, c=1, d=1)
    ask(made, *((5.0 * place, name, 1.0) for place, name in enumerate("abcd")))
    made.run(until=50.0)
    assert there(made) == "bcd"


@pytest.mark.parametrize("parallel", [1, 2])
def test_ollama_runs_as_many_in_a_model_as_it_is_told(parallel: int) -> None:
    made = device(Ollama(parallel=parallel), 20, slots=4, a=10)
    ask(made, *((2.0, "a", 1.0) for _ in range(4)))
    made.run(until=50.0)
    assert max(r.ended or inf for r in made.requests.values()) == pytest.approx(3.0 + 4 / parallel)


def test_ollama_refuses_who_asks_for_a_load_when_its_queue_is_full() -> None:
    made = device(Ollama(queue=2), 20, a=15, b=15)
    ask(made, (0.0, "a", 20.0), *((2.0, "b", 1.0) for _ in range(4)), *((3.0, "a", 1.0) for _ in range(4)))
    made.run(until=100.0)
    assert [r.model for r in made.requests.values() if r.refused] == ["b"]
