"""Suspended states: under a budget in memory, past it on disk, and never lost."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hotbunk.worker.arena import Arena, State


def _state(size: int, seed: int = 0) -> State:
    return np.random.default_rng(seed).integers(0, 256, size, np.uint8)


@settings(max_examples=60, deadline=None)
@given(
    budget=st.integers(0, 400),
    moves=st.lists(st.tuples(st.sampled_from(["put", "take", "drop"]), st.integers(0, 5), st.integers(0, 200))),
)
def test_gives_back_what_was_put(
    budget: int, moves: list[tuple[str, int, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    arena, kept = Arena(budget, tmp_path_factory.getbasetemp()), dict[int, State]()
    for number, (move, key, size) in enumerate(moves):
        if move == "put" and key not in kept:
            kept[key] = _state(size, number)
            arena.put(key, kept[key])
        elif move == "take" and key in kept:
            assert np.array_equal(arena.take(key), kept.pop(key))
        elif move == "drop":
            arena.drop(key)
            kept.pop(key, None)
        assert arena.held <= budget
        assert arena.held + arena.spilled == sum(state.nbytes for state in kept.values())
        assert len(arena) == len(kept)
    arena.close()
    assert (arena.held, arena.spilled, len(arena)) == (0, 0, 0)


def test_the_least_recent_goes_to_disk(tmp_path: Path) -> None:
    arena = Arena(100, tmp_path)
    for key in range(3):
        arena.put(key, _state(50, key))
    assert (arena.held, arena.spilled) == (100, 50)
    arena.take(0)
    assert arena.spilled == 0
    assert not list(tmp_path.iterdir()), "files have no names: none is left behind, however the process ends"
    arena.close()


def test_a_state_that_cannot_be_written_stays(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    missing = tmp_path / "missing"
    arena = Arena(10, missing)
    arena.put(1, _state(50))
    assert (arena.held, arena.spilled) == (50, 0)
    assert "cannot spill 50 bytes" in arena.trouble
    assert "No such file" in arena.trouble
    assert "40 bytes above the budget" in caplog.text
    missing.mkdir()
    arena.put(2, _state(1))
    assert (arena.held, arena.trouble) == (1, "")
    assert np.array_equal(arena.take(1), _state(50))
    arena.close()


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", refuse)
    arena = Arena(0, tmp_path)
    arena.put(1, _state(9))
    assert "No space left on device" in arena.trouble
    assert np.array_equal(arena.take(1), _state(9))
