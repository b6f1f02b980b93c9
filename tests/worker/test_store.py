"""The host store keeps the weights of the models that are loaded most, within its budget, and never in their way."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from threading import Event

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from hotbunk.errors import EngineError
from hotbunk.llama.copy import Copy
from hotbunk.llama.device import open_device
from hotbunk.llama.model import Model
from hotbunk.llama.shell import cpu_type
from hotbunk.llama.stream import stream
from hotbunk.shelf import HALF_LIFE, Place, choose
from hotbunk.worker.machine import cores, free_memory, nodes
from hotbunk.worker.protocol import Load, Loaded, Resize, Unload, Unloaded
from hotbunk.worker.store import Store
from hotbunk.worker.watch import Watch

from . import rig as module
from .rig import SAMPLINGS, Rig, tokens

# ---------------------------------------------------------------- who is kept


def test_models_come_in_the_order_of_their_loads() -> None:
    places = {"a": Place(10), "b": Place(10), "c": Place(10)}
    places["c"].load(0.0)
    assert choose(places, 30, set(), 0.0) == ("c", [])
    places["c"].stored = True
    assert choose(places, 30, set(), 0.0) == ("a", [])  # as they were opened, while nothing is known
    places["a"].stored = places["b"].stored = True
    assert choose(places, 30, set(), 0.0) is None


def test_the_least_useful_gives_way_to_a_more_useful_one() -> None:
    places = {"old": Place(10, stored=True), "often": Place(10, stored=True), "new": Place(10)}
    places["old"].load(0.0)
    for _ in range(5):
        places["often"].load(1000.0)
    assert choose(places, 20, set(), 1000.0) is None
    places["new"].load(1000.0)
    assert choose(places, 20, set(), 1000.0) == ("new", ["old"])
    assert choose(places, 20, {"old"}, 1000.0) is None  # it is loaded: its host layers are used in place


def test_a_model_larger_than_the_store_stays_out() -> None:
    places = {"large": Place(100), "small": Place(10)}
    places["large"].load(0.0)
    assert choose(places, 50, set(), 0.0) == ("small", [])


def test_the_worth_of_a_load_halves() -> None:
    place = Place(1)
    place.load(0.0)
    assert place.now(HALF_LIFE) == pytest.approx(0.5)


@given(
    budget=st.integers(0, 60),
    models=st.lists(st.tuples(st.integers(1, 30), st.integers(0, 5), st.booleans()), min_size=1, max_size=8),
)
def test_choices_end_within_the_budget_and_spare_the_busy(budget: int, models: list[tuple[int, int, bool]]) -> None:
    places = {str(n): Place(size, float(worth)) for n, (size, worth, _) in enumerate(models)}
    busy = {str(n) for n, (_, _, loaded) in enumerate(models) if loaded}
    for _ in range(100):
        chosen = choose(places, budget, busy, 0.0)
        if chosen is None:
            break
        name, leaving = chosen
        assert not busy & set(leaving)
        assert all(places[other].worth < places[name].worth for other in leaving)
        for other in leaving:
            places[other].stored = False
        places[name].stored = True
        assert sum(place.size for place in places.values() if place.stored) <= budget
    else:
        raise AssertionError("it never comes to rest")


# ---------------------------------------------------------------- with real models


@pytest.fixture
def awake() -> Event:
    return Event()


@pytest.fixture
def rig(
    kquant: Path, experts: Path, rpc_device: str, tmp_path: Path, awake: Event, request: pytest.FixtureRequest
) -> Iterator[Rig]:
    """Two models on an RPC device, under a store that holds the first, or both."""
    size = getattr(request, "param", 1 << 30)
    device = open_device(rpc_device)
    made = Rig("rpc", rpc_device, {}, tmp_path, store=Store(device, size, 0, lambda _: None, awake.set))
    made.open({"kquant": kquant, "experts": experts})
    yield made
    made.engine.close()


def settle(rig: Rig, awake: Event, *names: str) -> None:
    """Step until these models are in the store."""
    store = rig.store
    assert store is not None
    while True:
        awake.clear()
        rig.engine.step()
        if all(store.has(name) for name in names):
            return
        assert awake.wait(60), store.progress


def test_answers_are_the_same_from_the_store(rig: Rig, awake: Event) -> None:
    expected = {}
    for layers in (5, 2):
        rig.load("kquant", layers)
        expected[layers] = rig.finish(rig.start("kquant", tokens(20), SAMPLINGS["seeded"], 12))
        rig.ask(Unload("kquant"), Unloaded)
    settle(rig, awake, "kquant", "experts")
    for layers in (5, 2):
        assert rig.load("kquant", layers).pinned
        assert rig.finish(rig.start("kquant", tokens(20), SAMPLINGS["seeded"], 12)) == expected[layers]
        rig.ask(Unload("kquant"), Unloaded)


def test_a_model_is_taken_in_while_it_answers(rig: Rig, awake: Event) -> None:
    rig.load("experts", 3)
    whole = rig.finish(rig.start("experts", tokens(20), SAMPLINGS["greedy"], 30))
    sequence = rig.start("experts", tokens(20), SAMPLINGS["greedy"], 30)
    rig.reach(sequence, 3)
    settle(rig, awake, "experts")
    assert rig.finish(sequence) == whole


def test_layers_come_and_go_under_an_answer_without_its_context(rig: Rig, awake: Event) -> None:
    settle(rig, awake, "kquant")
    rig.load("kquant", 5)
    whole = rig.finish(rig.start("kquant", tokens(20), SAMPLINGS["greedy"], 24))
    sequence = rig.start("kquant", tokens(20), SAMPLINGS["greedy"], 24)
    for count, layers in ((4, 3), (9, 5), (14, 1), (19, 5)):
        rig.reach(sequence, count)
        placement = rig.predict("kquant", layers, cached=5)
        loaded = rig.ask(Resize("kquant", placement), Loaded)
        assert not {"context", "kv_out"} & loaded.steps.keys()
        assert loaded.device.weights == placement.device.weights
    assert rig.finish(sequence) == whole


def test_a_promotion_that_does_not_end_is_seen(
    kquant: Path, tmp_path: Path, awake: Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = replace(open_device("cpu"), pinned=True, host_type=cpu_type())
    monkeypatch.setattr(module, "open_device", lambda spec: device)
    store, watch, held = Store(device, 1 << 30, 0, lambda _: None, awake.set), Watch(), Event()
    rig = Rig("cpu", "cpu", {"kquant": kquant}, tmp_path, store=store, watch=watch)
    settle(rig, awake, "kquant")
    placement = rig.predict("kquant", 5)
    stream(device)._thread.submit(held.wait)
    rig.engine.handle(Load("kquant", placement))
    assert not rig.engine.step()
    seen, _ = watch.read()
    held.set()
    assert seen == "promote kquant"
    while not rig.of(Loaded):
        assert awake.wait(60)
        awake.clear()
        rig.engine.step()
    assert watch.read() == ("", 0.0)
    rig.engine.close()


@pytest.mark.parametrize("rig", [68 << 20], indirect=True)
def test_the_store_keeps_its_budget(rig: Rig, awake: Event) -> None:
    store = rig.store
    assert store is not None
    settle(rig, awake, "kquant")
    assert not store.has("experts")  # there is no room for both
    rig.load("experts", 2)
    assert not rig.of(Loaded)[-1].pinned  # it is served from its file meanwhile
    settle(rig, awake, "experts")
    assert not store.has("kquant")
    assert sum(size for _, size in store.progress.values()) <= 68 << 20
    rig.finish(rig.start("experts", tokens(20), SAMPLINGS["greedy"], 4))


def test_the_arena_is_handed_over_when_it_is_ready(awake: Event) -> None:
    blocks: list[NDArray[np.uint8]] = []
    store = Store(open_device("cpu"), 0, 1 << 20, blocks.append, awake.set)
    while not blocks:
        awake.clear()
        store.step(set)
        if not blocks:
            assert awake.wait(30)
    assert blocks[0].nbytes == 1 << 20
    blocks.clear()
    store.stop()
    store.close()


def test_the_arena_comes_after_the_first_model(kquant: Path, experts: Path, awake: Event) -> None:
    device = open_device("cpu")
    models = {name: Model(path, device, 1) for name, path in (("kquant", kquant), ("experts", experts))}
    there: list[tuple[list[str], bool]] = []

    def ready(block: NDArray[np.uint8]) -> None:
        there.append(([name for name in models if store.has(name)], store.filling))

    store = Store(device, 1 << 30, 1 << 20, ready, awake.set)
    for name, model in models.items():
        store.add(name, model)
    while True:
        awake.clear()
        store.step(set)
        if not store.filling:
            break
        assert awake.wait(60)
    assert there == [(["kquant"], True)]  # nobody sees a gap between one and the next
    assert all(store.has(name) for name in models)
    store.stop()
    for model in models.values():
        model.close()
    store.close()


def test_closing_ends_a_copy_under_way(smollm2: Path, awake: Event) -> None:
    model = Model(smollm2, open_device("cpu"), 1)
    store = Store(open_device("cpu"), 1 << 30, 0, lambda _: None, awake.set)
    store.add("smollm2", model)
    store.step(set)
    store.stop()
    model.close()
    store.close()


def no_memory() -> Copy | None:
    raise EngineError("there is no such memory")


@pytest.mark.parametrize("copy", [no_memory, lambda: None])
def test_a_copy_that_cannot_be_had_keeps_nobody_out(
    kquant: Path, experts: Path, copy: Callable[[], Copy | None], awake: Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = open_device("cpu")
    models = {name: Model(path, device, 1) for name, path in (("kquant", kquant), ("experts", experts))}
    store = Store(device, 68 << 20, 0, lambda _: None, awake.set)  # there is no room for both
    monkeypatch.setattr(models["experts"], "copy", copy)

    def newcomer() -> None:
        store.add("experts", models["experts"])
        store.loaded("experts")

    newcomer()
    store.add("kquant", models["kquant"])
    store.step(set)
    assert awake.wait(60)
    store.step(set)
    assert store.has("kquant")
    newcomer()
    store.step(set)
    assert store.has("kquant")
    store.stop()
    for model in models.values():
        model.close()
    store.close()


# ---------------------------------------------------------------- the machine


def test_physical_cores_count_once(tmp_path: Path) -> None:
    for cpu in range(8):
        topology = tmp_path / f"cpu{cpu}" / "topology"
        topology.mkdir(parents=True)
        (topology / "thread_siblings_list").write_text(f"{cpu % 4},{cpu % 4 + 4}\n")
    assert 1 <= cores(tmp_path) <= 4
    assert cores(tmp_path / "nowhere") >= 1


def test_free_memory_minds_the_container(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 4000 kB\nMemAvailable: 2000 kB\n")
    assert free_memory(meminfo, tmp_path) == 2000 << 10
    (tmp_path / "memory.max").write_text("1000000\n")
    (tmp_path / "memory.current").write_text("900000\n")
    (tmp_path / "memory.stat").write_text("anon 100000\ninactive_file 300000\n")
    assert free_memory(meminfo, tmp_path) == 400_000
    (tmp_path / "memory.max").write_text("max\n")
    assert free_memory(meminfo, tmp_path) == 2000 << 10


def test_numa_nodes_are_counted(tmp_path: Path) -> None:
    assert nodes(tmp_path) == 1
    for node in range(2):
        (tmp_path / f"node{node}").mkdir()
    assert nodes(tmp_path) == 2
