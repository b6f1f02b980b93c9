"""Contenders by name, device profiles, and what a store makes of itself for a simulation."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from msgspec import structs

from hotbunk.costs.anatomy import Anatomy
from hotbunk.costs.dissect import dissect
from hotbunk.costs.moves import MoveCosts
from hotbunk.costs.price import COMPUTE, offers, price
from hotbunk.errors import ConfigError
from hotbunk.outcomes import Fate
from hotbunk.scheduler import Scheduler, actions, events
from hotbunk.simulator import case, profile
from hotbunk.simulator.contest import Setting, Standing, contenders
from hotbunk.study.described import described
from hotbunk.study.shapes import SHAPES
from hotbunk.traces import Request, Trace

GIB = 1 << 30
ROWS = [Request(10.0 * n, ("a", "b")[n % 2], 200, 20) for n in range(6)]
TRACE = Trace.of("turns", ROWS)


def anatomy(shape: str, kind: str) -> Anatomy:
    return dissect(described(SHAPES[shape], kind), f"{shape}:{kind}")


@pytest.fixture(scope="module")
def setting() -> Setting:
    """Two models of 15 GB on a device of 20."""
    eight = anatomy("qwen3-8b", "F16")
    return Setting(profile.read("h100"), {"a": eight, "b": eight}, 20 * GIB, slots=2)


@pytest.mark.parametrize("name", contenders())
def test_every_contender_serves(name: str, setting: Setting) -> None:
    run = setting.run(name, TRACE)
    assert all(run.outcomes.fate == Fate.DONE)
    assert run.name == name


@pytest.mark.parametrize("name", contenders())
def test_a_run_ends_with_the_last_answer(name: str, setting: Setting) -> None:
    run = setting.run(name, TRACE)  # after which an idle model may stay for minutes before it leaves
    assert run.duration == max(run.outcomes.ended)


def test_a_switch_costs_what_its_name_says(setting: Setting) -> None:
    fast, slow = (setting.run(f"lru+{way}", TRACE).outcomes for way in ("fast", "restart"))
    plain = setting.run("lru", TRACE).outcomes
    assert list(plain.first) == list(slow.first)
    # one model off, 15.1 GB over the bus; or 1.2 s and 15.1 GB at 8.1 GB/s
    assert (fast.started - fast.arrived)[1] == pytest.approx(0.34, abs=0.05)
    assert (slow.started - slow.arrived)[1] == pytest.approx(1.20 + 15.14 / 8.13, abs=0.05)


def test_a_process_reads_all_of_its_model_however_little_goes_to_the_device(setting: Setting) -> None:
    costs = setting.profile.costs(setting.models["a"])
    seconds = {setting.profile.restart.soonest(costs, place) for place in offers(costs.anatomy, 4096, 1, 80 * GIB)}
    assert list(seconds) == [pytest.approx(1.20 + 15.14 / 8.13, abs=0.02)]


def test_decisions_are_heard(setting: Setting) -> None:
    heard: list[actions.Decision] = []
    setting.run("timeslice", TRACE, lambda now, action: heard.append(action))
    assert [type(action).__name__ for action in heard[:2]] == ["Load", "Start"]
    assert all(action.reason for action in heard)


def test_no_such_contender(setting: Setting) -> None:
    with pytest.raises(
        ConfigError, match=r"no policy 'best'; there are fifo, priced, timeslice, .*each also with \+fast"
    ):
        setting.run("best", TRACE)
    with pytest.raises(ConfigError, match=r"no policy 'fifo\+free'"):
        setting.run("fifo+free", TRACE)


# ---------------------------------------------------------------- profiles


@pytest.mark.parametrize("name", profile.names())
def test_shipped_profiles_say_what_they_are(name: str) -> None:
    made = profile.read(name)
    assert made.measured == (name == "h100")
    assert made.measured or made.note.startswith("constructed")
    costs = made.costs(anatomy("llama3-8b", "Q4_0"))
    places = [price(costs.anatomy, layers, 4096, 1) for layers in (33, 30, 16, 0)]
    times = [costs.decode(place, [128]).seconds for place in places]
    assert times == sorted(times)


def test_the_h100_is_as_it_was_measured() -> None:
    costs = profile.read("h100").costs(anatomy("qwen3-8b", "F16"))
    places = {layers: price(costs.anatomy, layers, 8192, 1) for layers in (37, 33, 28)}
    measured = {37: 160, 33: 37, 28: 19}  # tokens/s, docs/measurements/costs-h100.csv
    for layers, speed in measured.items():
        assert 1 / costs.decode(places[layers], [128]).seconds == pytest.approx(speed, rel=0.1)
    assert costs.promote(places[37]).seconds == pytest.approx(0.33, rel=0.1)


def test_profiles_are_written_and_read(tmp_path: Path) -> None:
    made = profile.read("h100")
    profile.write(made, tmp_path / "mine.json")
    again = profile.read(str(tmp_path / "mine.json"))
    assert again == made
    shape = anatomy("qwen3-8b", "F16")
    place = price(shape, 20, 8192, 4)
    assert again.costs(shape).decode(place, [900] * 3) == made.costs(shape).decode(place, [900] * 3)


def test_a_profile_older_than_a_term_goes_without_it(tmp_path: Path) -> None:
    made = profile.read("h100")
    shape, path = anatomy("qwen3-8b", "F16"), tmp_path / "mine.json"
    profile.write(made, path)
    text = json.loads(path.read_text())
    load = text["models"][shape.name]["fits"]["load"]
    place = load["names"].index("beside")
    for each in (load["names"], load["factors"], load["covariance"], *load["covariance"]):
        del each[place]
    path.write_text(json.dumps(text))
    older, whole = profile.read(str(path)).costs(shape), price(shape, 37, 8192, 4)
    assert 0 < older.promote(whole).seconds < made.costs(shape).promote(whole).seconds
    load["names"][0] = "unheard"
    path.write_text(json.dumps(text))
    with pytest.raises(ConfigError, match=r"mine\.json: is no device profile \(no such term: unheard\)"):
        profile.read(str(path))


def test_files_that_are_no_profile(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no device profile nowhere: No such file or directory; name a file, or one"):
        profile.read("nowhere")
    (tmp_path / "bad.json").write_text('{"name": "x"}')
    with pytest.raises(ConfigError, match=r"bad\.json: is no device profile \(Object missing required field"):
        profile.read(str(tmp_path / "bad.json"))
    (tmp_path / "new.json").write_text('{"format": 99}')
    with pytest.raises(ConfigError, match=r"new\.json: format 99, this hotbunk knows 4; update hotbunk"):
        profile.read(str(tmp_path / "new.json"))


@pytest.mark.parametrize(
    ("place", "value", "why"),
    [
        ("memory", -5, "memory is -5; it must be at least 0"),
        ("latency", -1, "latency is -1; it must be at least 0"),
        ("restart.rate", 0, "restart.rate is 0; it must be above 0"),
        ("roofline.device.read", {}, "roofline.device.read is empty; something must be in it"),
        ("roofline.host.multiply.F16", 0, "roofline.host.multiply.F16 is 0; it must be above 0"),
        ("roofline.h2d_pageable", 0, "roofline.h2d_pageable is 0; it must be above 0"),
        ("models.half.fits.load.factors", [0.0] * 5, "models.half.fits.load.factors are all 0; nothing takes no time"),
        ("models.half.fits.load.factors", [-1.0] * 5, "models.half.fits.load.factors.0 is -1; it must be at least 0"),
        ("models.half.anatomy.layers", [], "models.half.anatomy.layers is empty; something must be in it"),
    ],
)
def test_numbers_that_no_machine_has(place: str, value: object, why: str, tmp_path: Path) -> None:
    made = profile.read("h100")
    path, half = tmp_path / "mine.json", next(iter(made.models.values()))
    profile.write(structs.replace(made, models={"half": half}), path)
    text = json.loads(path.read_text())
    *keys, last = place.split(".")
    part = text
    for key in keys:
        part = part[key]
    assert last in part
    part[last] = value
    path.write_text(json.dumps(text))
    with pytest.raises(ConfigError, match=re.escape(f"mine.json: is no device profile ({why})")):
        profile.read(str(path))


# ---------------------------------------------------------------- prices


def test_prices_are_those_of_a_dry_load() -> None:
    # libllama's own, of a file of that shape on an RPC device: weights and KV cache to the byte
    place = price(anatomy("qwen3-8b", "F16"), 18, 8192, 4)
    assert (place.device.weights, place.device.kv, place.host.kv) == (7805142016, 2281701376, 2550136832)
    whole = price(anatomy("qwen3-30b-a3b", "Q4_K_M"), 49, 4096, 1)
    assert (whole.device.weights, whole.device.kv) == (18375686144, 402653184)
    assert 0 < place.device.compute <= COMPUTE


def test_offers_begin_with_the_most_that_fits() -> None:
    eight = anatomy("qwen3-8b", "F16")
    whole = offers(eight, 4096, 1, 80 * GIB)
    assert [place.layers for place in whole] == [37, 33, 28, 18, 9, 0]
    part = offers(eight, 4096, 1, 10 * GIB)
    assert part[0].layers == 24
    assert all(place.device.total <= 10 * GIB for place in part)
    mixed = offers(anatomy("qwen3-30b-a3b", "Q4_K_M"), 4096, 1, 10 * GIB)
    assert mixed[0].layers == 49
    assert mixed[0].experts is not None
    assert [place.layers for place in offers(eight, 4096, 1, 0)] == [0]


def test_what_the_host_cannot_hold_is_not_offered(setting: Setting) -> None:
    """Contexts take 72 GiB, 2 for each block: 48 are enough for no more than 24 blocks on the host."""
    big = replace(setting, context=1 << 17, slots=4, budget=70 * GIB)
    small = replace(big, profile=structs.replace(big.profile, host=48 * GIB))
    layers, fewer = ([p.layers for p in each.case("priced", TRACE).subjects[0].placements] for each in (big, small))
    assert (layers, fewer) == ([30, 28, 18, 9, 0], [30, 28, 18])
    huge = replace(big, context=1 << 30)
    with pytest.raises(ConfigError, match=r"a: 4 slots of 1073741824 tokens take at least \S+ TiB of host memory, of"):
        huge.run("priced", TRACE)
    unknown = replace(huge, profile=structs.replace(huge.profile, host=0))
    assert unknown.case("priced", TRACE).subjects[0].placements[-1].layers == 0


def test_models_of_a_live_server_stand_as_they_do_there(setting: Setting) -> None:
    eight = setting.models["a"]
    standing = {"a": Standing((price(eight, 20, 2048, 3),), 7.0, 0.5)}
    live = replace(setting, standing=standing)
    layers = {stay.model: (stay.layers, stay.size) for stay in live.run("timeslice", TRACE).stays}
    assert layers["a"] == (20, standing["a"].placements[0].device.total)
    assert layers["b"] == {stay.model: (stay.layers, stay.size) for stay in setting.run("timeslice", TRACE).stays}["b"]
    # others are offered what they would be
    assert live.run("lru", TRACE).stays == setting.run("lru", TRACE).stays


def test_bounds_begin_with_what_the_costs_foretell(setting: Setting) -> None:
    told = []

    class Told(Scheduler):
        def handle(self, event: events.Event) -> list[actions.Decision | actions.Wake]:
            told.append(event)
            return super().handle(event)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(case, "Scheduler", Told)
        setting.run("timeslice", TRACE)
    costs = setting.profile.costs(setting.models["a"])
    [first] = [event for event in told if isinstance(event, events.Added) and event.model == "a"]
    bounds = MoveCosts(first.placements[0], costs)
    assert (first.load, first.leave) == (bounds.load, bounds.leave)
    loaded = next(event for event in told if isinstance(event, events.Loaded) and event.model == "a")
    assert loaded.bounds
    assert loaded.bounds[0] < first.load
    assert loaded.bounds[1] == first.leave
