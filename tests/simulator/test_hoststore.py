"""The simulated host store: it keeps what the worker's keeps."""

from hotbunk.simulator.hoststore import HostStore
from hotbunk.simulator.moving import Live
from tests.simulator.invented import Invented, subject


def test_who_is_on_the_device_stays_in_the_store() -> None:
    store = HostStore({"a": 10, "b": 10}, 10, lambda _: 1.0)  # room for one, and a was first
    assert store.has("a", 0.0)
    store.loaded("a", 0.0)
    for now in (100.0, 200.0, 300.0):  # of more worth soon
        store.loaded("b", now)
        store.unloaded("b", now + 50.0)
    assert not store.has("b", 400.0)
    assert store.has("a", 400.0)
    store.unloaded("a", 500.0)
    assert not store.has("a", 500.0)
    assert store.has("b", 501.0)


def test_a_resize_makes_a_model_worth_no_more() -> None:
    store = HostStore({"a": 10, "b": 10}, 10, lambda _: 1.0)
    moving, [place] = Live(store), subject("b").placements
    moving.load("b", Invented(), place, place, 100.0)
    assert not store.has("b", 200.0)
    moving.load("b", Invented(), place, None, 300.0)
    assert store.has("b", 301.0)
