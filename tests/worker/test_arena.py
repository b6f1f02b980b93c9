"""Suspended states: in pinned memory, under a budget in ordinary memory, past it on disk, and never lost."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hotbunk.errors import EngineError
from hotbunk.worker.arena import Arena, State

PAGE = 4096


def _state(size: int, seed: int = 0) -> State:
    return np.random.default_rng(seed).integers(0, 256, size, np.uint8)


def _block(pages: int) -> State:
    return np.zeros(pages * PAGE, np.uint8)


def _put(arena: Arena, key: int, state: State) -> None:
    with arena.reserve(key, state.nbytes) as room:
        room[:] = state


def _take(arena: Arena, key: int) -> State:
    with arena.take(key) as state:
        return state.copy()


MOVES = ["put", "give up", "take", "fail to take", "take while putting", "drop"]


@settings(max_examples=150, deadline=None)
@given(
    budget=st.integers(0, 6 * PAGE),
    pages=st.integers(0, 8),
    moves=st.lists(st.tuples(st.sampled_from(MOVES), st.integers(0, 7), st.integers(0, 4 * PAGE)), max_size=40),
)
def test_gives_back_what_was_put(
    budget: int, pages: int, moves: list[tuple[str, int, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    arena, kept = Arena(budget, tmp_path_factory.getbasetemp(), _block(pages)), dict[int, State]()
    for number, (move, key, size) in enumerate(moves):
        state = _state(size, number)
        if move == "put" and key not in kept:
            _put(arena, key, state)
            kept[key] = state
        elif move == "give up" and key not in kept:
            with pytest.raises(RuntimeError), arena.reserve(key, size) as room:
                room[:] = 7
                raise RuntimeError
        elif move == "take" and key in kept:
            assert np.array_equal(_take(arena, key), kept.pop(key))
        elif move == "fail to take" and key in kept:
            with pytest.raises(RuntimeError), arena.take(key):
                raise RuntimeError
            del kept[key]
        elif move == "take while putting" and key in kept:
            with arena.take(key) as taken:
                _put(arena, 100 + number, state)
                assert np.array_equal(taken, kept.pop(key)), "it stays whole until it is done with"
            kept[100 + number] = state
        elif move == "drop":
            arena.drop(key)
            kept.pop(key, None)
        _agrees(arena, kept, budget, pages)
    for key, state in kept.items():
        assert np.array_equal(_take(arena, key), state)
    _agrees(arena, {}, budget, pages)


def _agrees(arena: Arena, kept: dict[int, State], budget: int, pages: int) -> None:
    assert len(arena) == len(kept)
    tiers = Counter[str]()
    for key, state in kept.items():
        assert arena.size(key) == state.nbytes
        tiers[arena.tier(key)] += state.nbytes
    assert (arena.pinned, arena.held, arena.spilled) == (tiers["pinned"], tiers["memory"], tiers["disk"])
    assert arena.held <= budget
    assert arena.pinned <= pages * PAGE


def test_the_least_recent_moves_on(tmp_path: Path) -> None:
    arena = Arena(PAGE, tmp_path, _block(2))
    for key in range(4):
        _put(arena, key, _state(PAGE, key))
    assert [arena.tier(key) for key in range(4)] == ["disk", "memory", "pinned", "pinned"]
    assert (arena.spilled, arena.held, arena.pinned) == (PAGE, PAGE, 2 * PAGE)
    assert not list(tmp_path.iterdir()), "files have no names: none is left behind, however the process ends"
    arena.close()
    assert (arena.spilled, arena.held, arena.pinned, len(arena)) == (0, 0, 0, 0)
    _put(arena, 5, _state(2 * PAGE))
    assert arena.tier(5) == "pinned", "what was given back is one again"


def test_what_the_block_cannot_hold_drives_nobody_out_of_it(tmp_path: Path) -> None:
    arena = Arena(9 * PAGE, tmp_path, _block(2))
    _put(arena, 1, _state(10))
    _put(arena, 2, _state(2 * PAGE + 1))
    _put(arena, 3, _state(0))
    assert [arena.tier(key) for key in (1, 2, 3)] == ["pinned", "memory", "memory"]


def test_a_block_may_come_later(tmp_path: Path) -> None:
    arena = Arena(9 * PAGE, tmp_path)
    _put(arena, 1, _state(PAGE, 1))
    arena.pin(_block(1))
    _put(arena, 2, _state(PAGE, 2))
    assert [arena.tier(key) for key in (1, 2)] == ["memory", "pinned"]
    for key in (1, 2):
        assert np.array_equal(_take(arena, key), _state(PAGE, key))


def test_a_state_that_cannot_be_written_stays(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    missing = tmp_path / "missing"
    arena = Arena(10, missing)
    _put(arena, 1, _state(50))
    assert (arena.held, arena.spilled) == (50, 0)
    assert "cannot spill 50 bytes" in arena.trouble
    assert "No such file" in arena.trouble
    assert "it stays in memory: 50 bytes, the budget is 10" in caplog.text
    missing.mkdir()
    _put(arena, 2, _state(1))
    assert (arena.held, arena.trouble) == (1, "")
    assert np.array_equal(_take(arena, 1), _state(50))
    arena.close()


def test_where_there_is_no_memory_what_lies_there_makes_room(tmp_path: Path) -> None:
    arena = Arena(9 * PAGE, tmp_path, _block(1))
    _put(arena, 1, _state(PAGE, 1))
    _put(arena, 2, _state(2 * PAGE, 2))
    with (
        pytest.raises(EngineError, match=f"there are no {1 << 62} bytes of host memory for a suspended state"),
        arena.reserve(3, 1 << 62),
    ):
        pass
    assert [arena.tier(key) for key in (1, 2)] == ["pinned", "disk"]
    assert (len(arena), arena.held) == (2, 0)
    assert np.array_equal(_take(arena, 2), _state(2 * PAGE, 2))


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", refuse)
    arena = Arena(0, tmp_path)
    _put(arena, 1, _state(9))
    assert "No space left on device" in arena.trouble
    assert np.array_equal(_take(arena, 1), _state(9))
