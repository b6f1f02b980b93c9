"""What hotbunk shows of itself, as usage and stays."""

from __future__ import annotations

from math import isnan
from typing import Any

import pytest

from hotbunk.replay.watch import Watch

PLANNED = {"layers": 12, "device": {"total": 120}}


def state(phase: str, layers: int, *notes: dict[str, Any], **counts: int) -> dict[str, Any]:
    work = {name: counts.pop(name, 0) for name in ("computed", "worked")}
    carried = {"pinned": {"count": 1, "bytes": counts.pop("carried", 0), "seconds": 0.1}}
    return {
        "models": [
            {
                "id": "a",
                "state": phase,
                "layers": layers,
                "layers_total": 30,
                "device_bytes": 10 * layers,
                "planned": PLANNED,
            }
        ],
        "devices": [{**work, "suspends": carried, "resumes": {}}],
        "decisions": list(notes),
        "counters": {"a": counts},
    }


def note(time: float, action: str, seconds: float | None = None) -> dict[str, Any]:
    return {"time": time, "action": action, "model": "a", "reason": "", "seconds": seconds}


@pytest.mark.parametrize("ahead", [0, -30, 7000])  # of another clock
def test_models_come_and_go_with_the_decisions(ahead: float) -> None:
    watch = Watch(state("ready", 30), epoch=1000)
    moves = [
        note(1001.0 + ahead, "resize", 0.2),
        note(1001.9 + ahead, "unload", 0.1),
        note(1002.1 + ahead, "load", 0.3),
        note(1002.95 + ahead, "unload", 0.05),
        note(1003.0 + ahead, "load", 0.5),
    ]
    ticks = [note(1000 + ahead + n / 100, "start") for n in range(360)]
    for at, phase, layers in ((1.5, "ready", 15), (2.0, "absent", 0), (2.5, "ready", 20), (3.6, "ready", 25)):
        watch.hear(state(phase, layers, *(n for n in ticks + moves if n["time"] <= 1000 + ahead + at)), at)
    found = watch.stays(4)
    expected = [(0, 0, 1.0), (1.0, 1.2, 2.0), (2.1, 2.4, 3.0), (3.0, 3.5, 4)]
    for stay, times in zip(found, expected, strict=True):
        assert (stay.begin, stay.ready, stay.end) == pytest.approx(times, abs=0.02)
    assert [(stay.layers, stay.size) for stay in found] == [(30, 300), (15, 150), (20, 200), (25, 250)]
    assert all(stay.of == 30 for stay in found)


def test_a_load_that_fails_is_no_stay() -> None:
    watch = Watch(state("absent", 0), epoch=0)
    failed = note(0.5, "load") | {"failed": "no memory"}
    watch.hear(state("absent", 0, failed), 1)
    assert watch.stays(2) == []
    watch.hear(state("loading", 30, failed, note(1.5, "load")), 2)
    assert [(stay.begin, isnan(stay.ready), stay.end) for stay in watch.stays(3)] == [(1.5, True, 3)]


def test_who_is_not_seen_is_as_planned() -> None:
    watch = Watch(state("absent", 0), epoch=0)
    watch.hear(state("absent", 0, note(0.2, "load", 0.1), note(0.4, "unload", 0.1)), 1)
    (stay,) = watch.stays(2)
    assert (stay.begin, stay.ready, stay.end) == pytest.approx((0.2, 0.3, 0.5))
    assert (stay.layers, stay.size) == (12, 120)


def test_usage_is_what_was_added_meanwhile() -> None:
    old = note(1, "load", 9.0)
    before = state("ready", 30, old, loads=5, unloads=4, suspends=1, bytes_moved=100, carried=10, computed=2, worked=3)
    watch = Watch(before)
    watch.hear(state("resizing", 15, old, note(2, "resize")), 1)
    moves = [old, note(2, "resize", 0.5), note(3, "unload", 0.2), note(3.5, "start"), note(4, "load", 1.0)]
    work = {"computed": 5, "worked": 7}
    after = state("ready", 15, *moves, loads=7, unloads=5, suspends=4, bytes_moved=350, carried=70, **work)
    watch.hear(after, 2)
    usage = watch.usage(after)
    assert (usage.loads, usage.resizes, usage.unloads, usage.suspends) == (1, 1, 1, 3)
    assert (usage.moved, usage.carried, round(usage.moving, 9)) == (250, 60, 1.7)
    assert (usage.computing, usage.busy) == (3, 4)


def test_of_several_devices_none_is_idle_for_all() -> None:
    before, after = state("ready", 30), state("ready", 30, worked=4)
    after["devices"] *= 2
    assert isnan(Watch(before).usage(after).busy)


def test_moves_at_the_same_time_are_one_time_of_moving() -> None:
    before = state("ready", 30)
    watch = Watch(before)
    switch = [note(1, "suspend", 0.1) | {"sequence": 1}, note(1, "unload", 0.2), note(1, "load", 0.5)]
    beside = [note(1.4, "load", 0.6), note(1.5, "resume", 0.1) | {"sequence": 1}, note(3, "load", 0.5)]
    after = state("ready", 30, *switch, *beside, loads=3, unloads=1)
    watch.hear(after, 4)
    # one after the other up to 1.8, beside the last of which another one goes on up to 2.0
    assert watch.usage(after).moving == pytest.approx(1.0 + 0.5)
    assert {stay.begin for stay in watch.stays(4)} == {0, 1, 1.4, 3}


def test_decisions_that_were_missed_are_not_made_up() -> None:
    watch = Watch(state("ready", 30, note(1, "start"), loads=1))
    after = state("ready", 30, note(9, "load", 1.0), loads=4)
    watch.hear(after, 1)
    usage = watch.usage(after)
    assert [isnan(each) for each in (usage.loads, usage.resizes, usage.moving)] == [True] * 3
    assert usage.suspends == 0
