"""What the way to decide of llama-server's router is known for."""

from hotbunk.scheduler import actions
from hotbunk.scheduler.baselines import Lru, Router, RouterBytes
from tests.scheduler.device import loads, unloads
from tests.scheduler.stories import ask, device, loaded, sizes


def test_router_stops_who_was_asked_for_the_longest_ago() -> None:
    made = device(Router(limit=2), 30, a=10, b=10, c=10)
    ask(made, (0.0, "a", 10.0), (3.0, "b", 1.0), (15.0, "c", 1.0))
    made.run()
    assert unloads(made) == ["a"]  # though it was in use for longer than b


def test_router_loads_one_model_after_the_other() -> None:
    made = device(Router(), 100, a=10, b=10)
    ask(made, (0.0, "a", 1.0), (0.1, "b", 1.0))
    made.run()
    assert loads(made) == [(0.0, "a"), (1.0, "b")]
    side_by_side = device(Lru(), 100, a=10, b=10)
    ask(side_by_side, (0.0, "a", 1.0), (0.1, "b", 1.0))
    side_by_side.run()
    assert loads(side_by_side) == [(0.0, "a"), (0.1, "b")]


def test_router_stops_as_many_as_the_queue_needs_at_once() -> None:
    made = device(Router(limit=2), 100, a=10, b=10, c=10, d=10)
    ask(made, (0.0, "a", 1.0), (0.0, "b", 1.0), (5.0, "c", 1.0), (5.1, "d", 1.0))
    made.run(until=5.4)
    assert unloads(made) == ["a", "b"]
    made.run()
    assert loaded(made) == "abcd"


def test_router_takes_what_is_free_and_never_looks_at_it_again() -> None:
    made = device(Router(), 20, a=15, b=(12, 8, 4))
    ask(made, (0.0, "a", 1.0), (3.0, "b", 1.0))
    made.run()
    assert sizes(made) == {"a": 15, "b": 4}
    assert not any(isinstance(action, actions.Resize) for _, action in made.log)


def test_router_by_bytes_stops_idle_models_until_the_best_placement_fits() -> None:
    made = device(RouterBytes(), 20, a=5, b=5, c=5, d=(30, 14, 4))
    ask(made, *((3.0 * place, name, 1.0) for place, name in enumerate("abcd")))
    made.run()
    assert unloads(made) == ["a", "b"]
    assert sizes(made) == {"c": 5, "d": 14}
