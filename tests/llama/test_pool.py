"""Buffers that are kept for the next piece of their size, as long as nobody else needs the memory."""

from collections.abc import Iterator

import pytest

from hotbunk.errors import OutOfMemory
from hotbunk.llama.device import open_device
from hotbunk.llama.pool import Pool

SMALL, LARGE = 1 << 16, 1 << 20


@pytest.fixture
def pool(spec: str) -> Iterator[Pool]:
    pool = Pool(open_device(spec))
    yield pool
    pool.clear()


def test_a_kept_buffer_is_used_again_for_its_size_alone(pool: Pool) -> None:
    pool.room = 4 * LARGE
    first = pool.take(LARGE)
    pool.give(LARGE, first)
    assert LARGE <= pool.bytes < 2 * LARGE
    other = pool.take(SMALL)
    assert pool.bytes >= LARGE
    assert pool.take(LARGE) == first
    assert pool.bytes == 0
    pool.give(SMALL, other)
    pool.give(LARGE, first)


def test_nothing_is_kept_without_room(pool: Pool) -> None:
    pool.give(LARGE, pool.take(LARGE))
    assert pool.bytes == 0


def test_less_room_gives_back_what_was_kept_longest(pool: Pool) -> None:
    pool.room = 4 * LARGE
    buffers = [pool.take(LARGE) for _ in range(3)]
    for buffer in buffers:
        pool.give(LARGE, buffer)
    pool.room = pool.bytes // 3
    pool.trim()
    assert pool.bytes == pool.room
    assert pool.take(LARGE) == buffers[-1]
    pool.give(LARGE, buffers[-1])


def test_what_suits_those_who_come_stays_beyond_the_room(pool: Pool) -> None:
    pool.room = 4 * LARGE
    large, small = pool.take(LARGE), pool.take(SMALL)
    pool.give(LARGE, large)
    pool.give(SMALL, small)
    pool.room = 0
    pool.trim(coming=[LARGE, LARGE])
    assert LARGE <= pool.bytes < LARGE + SMALL
    assert pool.take(LARGE) == large
    pool.give(LARGE, large)


def test_all_is_given_back_before_memory_is_said_to_be_out(pool: Pool) -> None:
    pool.room = LARGE * 2
    pool.give(LARGE, pool.take(LARGE))
    with pytest.raises(OutOfMemory, match="no room for"):
        pool.take(1 << 46)
    assert pool.bytes == 0
