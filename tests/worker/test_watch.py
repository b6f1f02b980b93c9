"""What the engine's thread is seen to do."""

from collections.abc import Iterator

import pytest

from hotbunk.worker import watch as watches
from hotbunk.worker.watch import Watch


def at(patch: pytest.MonkeyPatch, *times: float) -> None:
    """What the clock says, one call after the other."""
    left: Iterator[float] = iter(times)
    patch.setattr(watches, "perf_counter", lambda: next(left))


def test_what_is_under_way_at_the_same_time_is_work_once(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Watch()
    at(monkeypatch, 1.0, 2.0, 3.0, 3.5, 4.0, 9.0, 9.5)
    with watch("load a"):  # 1 to 2
        watch.begin(1.5)  # its bytes, until 5
    with watch("decode b") as lap:  # 3 to 4
        assert watch.worked == 2.5
    watch.end(5.0)
    assert (lap.seconds, watch.worked) == (1.0, 4.0)
    with watch("decode b"):
        pass
    assert watch.worked == 4.5


def test_what_has_lasted_longest_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Watch()
    at(monkeypatch, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0)
    watch.begin(1.0, "promote a")
    with watch("decode b"):  # 3 to 5
        assert watch.read() == ("promote a", 3.0)
    assert watch.read() == ("promote a", 5.0)
    with watch("decode b"):  # from 7 on
        watch.end(7.5, "promote a")
        assert watch.read() == ("decode b", 1.0)
        at(monkeypatch, 9.0)
    assert watch.read() == ("", 0.0)
