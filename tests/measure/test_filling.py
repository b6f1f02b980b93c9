"""Waiting for the host store: until the models are there, or nothing comes any more."""

from collections.abc import Iterator, Sequence
from typing import cast

import pytest

from hotbunk.measure.filling import fill, lacking, told, watch
from hotbunk.measure.wire import Wire
from hotbunk.worker.protocol import Beat

GB = 10**9


class Beats:
    """A worker that tells of these bytes of 10 GB, twice a second; ``busy`` more beats it is filling something."""

    def __init__(self, there: Sequence[dict[str, int]], free: int = 1, busy: int = 0) -> None:
        self._there, self._free, self._busy = iter([{}, *there]), free, busy
        self._last: dict[str, int] = {}
        self.now = 0.0

    def until(self, kind: type[Beat]) -> Beat:
        self.now += 0.5
        self._last = next(self._there, self._last)
        stored = {name: (done * GB, 10 * GB) for name, done in self._last.items()}
        self._busy -= 1
        return Beat(0, "", 0, 0, 0, 0, free=self._free, stored=stored, filling=self._busy >= 0)


def filled(beats: Beats, *models: str) -> dict[str, float]:
    found = fill(cast(Wire, beats), models, clock=lambda: beats.now)
    assert all(each.size == 10 * GB for each in found.values())
    return {name: each.seconds for name, each in found.items()}


def test_speed_is_that_of_the_beats_before_the_last() -> None:
    # 4 GB a beat; the last of them comes when all had been there for a while
    beats = Beats([{}, {"a": 1}, {"a": 5}, {"a": 9}, {"a": 10}])
    assert filled(beats, "a") == {"a": pytest.approx(1.25)}
    assert beats.now == 3


def test_what_does_not_fit_stays_out() -> None:
    steps: Iterator[dict[str, int]] = ({"a": min(2 * n, 10), "b": 0} for n in range(10))
    beats = Beats(list(steps))
    assert filled(beats, "a", "b") == {"a": pytest.approx(2.5)}
    assert 15 < beats.now < 20


def test_nothing_is_said_of_what_went_too_fast_to_be_seen() -> None:
    assert filled(Beats([{"a": 10}]), "a") == {}


def test_the_arena_is_waited_for_too() -> None:
    # what was measured while it was locked took a quarter of a second longer
    beats = Beats([{"a": 1}, {"a": 5}, {"a": 10}], busy=50)
    assert filled(beats, "a") == {"a": pytest.approx(1.25)}
    assert beats.now == 25.5


def test_a_device_without_pinned_memory_needs_no_store() -> None:
    assert filled(Beats([], free=-1), "a") == {}


def test_looks_go_on_until_all_is_there_or_nothing_moves() -> None:
    beats = Beats([{"a": 4}, {"a": 10}, {"a": 10, "b": 2}])
    looks = list(watch(cast(Wire, beats), ["a"], lambda: beats.now))
    assert [told(there) for there in looks] == ["empty", "a: 4.0 of 10.0 GB", "a: 10.0 of 10.0 GB"]
    *_, last = watch(cast(Wire, beats), ["a", "b"], lambda: beats.now)
    assert (told(last), lacking(["a", "b"], last)) == ("a: 10.0 of 10.0 GB, b: 2.0 of 10.0 GB", ["b"])
