"""The arithmetic of what may be used, beat by beat."""

from hypothesis import given
from hypothesis import strategies as st

from hotbunk.runtime.headroom import STEADY, Headroom
from hotbunk.worker.protocol import Beat, Hello

TOTAL = 1000


def hello(free: int = TOTAL) -> Hello:
    return Hello("CUDA0", "", TOTAL, free, 1, "", True)


def beat(free: int, ours: int = 0) -> Beat:
    return Beat(busy=0.0, operation="", held=0, spilled=0, device=ours, rss=0, free=free)


def told(headroom: Headroom, *beats: Beat) -> int:
    for each in beats:
        headroom.hear(each, still=True)
    return headroom.budget


def test_what_is_ours_is_not_foreign() -> None:
    headroom = Headroom(800, hello())
    assert told(headroom, *[beat(400, 600)] * 2) == 800
    assert headroom.foreign == 0
    assert told(headroom, *[beat(100, 600)] * 2) == 700 - 20
    assert headroom.foreign == 300


def test_it_falls_at_once_and_rises_when_more_has_been_free_for_a_while() -> None:
    headroom = Headroom(800, hello())
    assert told(headroom, *[beat(500)] * 2) == 480
    assert told(headroom, *[beat(700)] * (STEADY - 1)) == 480
    assert told(headroom, beat(690)) == 670
    assert told(headroom, *[beat(900)] * (STEADY - 1), beat(660), *[beat(900)] * (STEADY - 1)) == 640
    assert told(headroom, beat(900)) == 800


def test_little_is_no_change_but_the_whole_budget_comes_back() -> None:
    headroom = Headroom(800, hello())
    assert told(headroom, *[beat(815)] * 9) == 800
    assert told(headroom, beat(811)) == 791
    assert told(headroom, *[beat(805)] * 9, *[beat(818)] * 9) == 791
    assert told(headroom, *[beat(820)] * STEADY) == 800


def test_a_beat_that_came_while_something_moved_tells_nothing() -> None:
    headroom = Headroom(800, hello())
    told(headroom, *[beat(1000)] * 2)
    assert not headroom.hear(beat(600, 0), still=False)
    assert not headroom.hear(beat(600, 0), still=True)  # it has come, but is not counted as ours yet
    assert not headroom.hear(beat(600, 400), still=True)
    assert headroom.budget == 800
    assert headroom.hear(beat(600, 400), still=True)
    assert headroom.budget == 800


def test_a_driver_that_does_not_tell_changes_nothing() -> None:
    headroom = Headroom(800, hello())
    assert told(headroom, *[beat(-1)] * 9) == 800
    assert headroom.foreign is None


def test_at_start_no_more_than_is_free() -> None:
    assert Headroom(800, hello(free=500)).budget == 490
    assert Headroom(800, hello(free=0)).budget == 0


@given(st.lists(st.tuples(st.integers(0, TOTAL), st.integers(0, TOTAL), st.booleans())))
def test_it_is_never_above_what_was_configured_nor_what_was_last_usable(
    beats: list[tuple[int, int, bool]],
) -> None:
    headroom = Headroom(800, hello())
    for free, ours, still in beats:
        heard = headroom.hear(beat(free, ours), still)
        assert 0 <= headroom.budget <= 800
        assert not heard or headroom.budget <= free + ours
