"""The arena: states of suspended sequences, in pinned memory, in ordinary memory past it, on disk past that."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from hotbunk.errors import EngineError
from hotbunk.worker.extents import Extents
from hotbunk.worker.protocol import Tier

log = logging.getLogger("hotbunk.worker")

State = NDArray[np.uint8]


@dataclass(slots=True)
class _Held:
    """One state: in a part of the pinned block, in memory of its own, or in a file (``state`` is then None)."""

    size: int
    state: State | None
    part: range | None = None
    file: BinaryIO | None = None

    @property
    def tier(self) -> Tier:
        if self.part is not None:
            return "pinned"
        return "memory" if self.state is not None else "disk"


class Arena:
    """Keeps each suspended sequence's state until it is taken back or dropped; never loses one.

    Where the pinned block is full, the states least recently put move on to ordinary memory; past ``budget`` bytes
    there, to ``directory``, in files that have no name: they vanish with the process, however it ends. A state that
    cannot be written stays in memory, and ``trouble`` says why.

    Attributes:
        trouble: why the last spill to disk failed; empty when it did not.
    """

    def __init__(self, budget: int, directory: Path, pinned: State | None = None) -> None:
        self.trouble = ""
        self.budget = budget
        self._directory = directory
        self._states: dict[int, _Held] = {}  # in the order they were put
        self._bytes: dict[Tier, int] = {"pinned": 0, "memory": 0, "disk": 0}
        self.pin(np.empty(0, np.uint8) if pinned is None else pinned)

    def __len__(self) -> int:
        return len(self._states)

    @property
    def room(self) -> int:
        """Bytes of the pinned block, taken or not."""
        return self._block.nbytes

    @property
    def pinned(self) -> int:
        """Bytes in the pinned block."""
        return self._bytes["pinned"]

    @property
    def held(self) -> int:
        """Bytes in ordinary memory."""
        return self._bytes["memory"]

    @property
    def spilled(self) -> int:
        """Bytes on disk."""
        return self._bytes["disk"]

    def pin(self, block: State) -> None:
        """Put states into ``block`` (bytes of pinned memory) from now on. It must outlive the arena."""
        assert not self.pinned, "there are states in another block"
        self._block, self._extents = block, Extents(block.nbytes)

    @contextmanager
    def reserve(self, key: int, size: int) -> Iterator[State]:
        """Room for a state of ``size`` bytes, to be filled within the ``with`` and then kept under ``key``.

        If that raises, the room is given back and nothing is kept.

        Raises:
            EngineError: there is no such memory, even with all that can be spilled on disk.
        """
        assert key not in self._states, f"there is a state under {key} already"
        entry = self._pinned(size) or self._ordinary(size)
        try:
            yield cast(State, entry.state)
        except BaseException:
            self._release(entry)
            raise
        else:
            self._states[key] = entry
        finally:
            self._make_room(self.budget)

    def size(self, key: int) -> int:
        """Bytes of the state under ``key``."""
        return self._states[key].size

    def tier(self, key: int) -> Tier:
        """Where the state under ``key`` lies."""
        return self._states[key].tier

    @contextmanager
    def take(self, key: int) -> Iterator[State]:
        """The state under ``key``, valid within the ``with``; then it is forgotten, whatever has happened.

        Raises:
            OSError: it was on disk and cannot be read.
        """
        entry = self._states.pop(key)
        try:
            yield _read(cast(BinaryIO, entry.file), entry.size) if entry.state is None else entry.state
        finally:
            self._release(entry)

    def drop(self, key: int) -> None:
        """Forget the state under ``key``; harmless when there is none."""
        if entry := self._states.pop(key, None):
            self._release(entry)

    def close(self) -> None:
        """Forget everything."""
        for key in list(self._states):
            self.drop(key)

    # ------------------------------------------------------------ tiers

    def _pinned(self, size: int) -> _Held | None:
        """Room in the block, if need be by moving older states out of it; None if it is too small."""
        if not self._extents.holds(size):
            return None
        while not (part := self._extents.allot(size)):
            oldest = next((entry for entry in self._states.values() if entry.part is not None), None)
            if oldest is None:  # the rest is being filled or taken
                return None
            self._unpin(oldest)
        self._bytes["pinned"] += size
        return _Held(size, self._block[part.start : part.start + size], part)

    def _ordinary(self, size: int) -> _Held:
        self._make_room(self.budget - size)
        try:
            state = np.empty(size, np.uint8)
        except MemoryError:
            state = self._squeezed(size)
        self._bytes["memory"] += size
        return _Held(size, state)

    def _squeezed(self, size: int) -> State:
        """Memory where there is less than the budget: all that lies there may go to disk for it."""
        self._make_room(0)
        try:
            return np.empty(size, np.uint8)
        except MemoryError:
            raise EngineError(f"there are no {size} bytes of host memory for a suspended state") from None

    def _unpin(self, entry: _Held) -> None:
        """Move a state from the block to ordinary memory."""
        copy = cast(State, self._ordinary(entry.size).state)
        copy[:] = cast(State, entry.state)
        self._release(entry)
        entry.state = copy

    def _make_room(self, most: int) -> None:
        """Spill the oldest states in ordinary memory until no more than ``most`` bytes are left there."""
        for entry in [entry for entry in self._states.values() if entry.tier == "memory" and entry.size]:
            if self.held <= most:
                break
            if not self._spill(entry):
                return
        self.trouble = ""

    def _spill(self, entry: _Held) -> bool:
        try:
            entry.file = _write(self._directory, cast(State, entry.state))
        except OSError as error:
            self.trouble = f"cannot spill {entry.size} bytes of suspended state to {self._directory}: {error.strerror}"
            log.warning("%s; it stays in memory: %d bytes, the budget is %d", self.trouble, self.held, self.budget)
            return False
        self._bytes["memory"] -= entry.size
        self._bytes["disk"] += entry.size
        entry.state = None
        return True

    def _release(self, entry: _Held) -> None:
        """Give back what an entry takes where it lies."""
        self._bytes[entry.tier] -= entry.size
        if entry.part is not None:
            self._extents.release(entry.part)
        if entry.file is not None:
            entry.file.close()
        entry.part = entry.file = None


def _write(directory: Path, state: State) -> BinaryIO:
    file = cast(BinaryIO, tempfile.TemporaryFile(dir=directory, buffering=0))  # noqa: SIM115 - it stays open
    view = state.data
    try:
        os.posix_fallocate(file.fileno(), 0, len(view))  # a full disk is told before anything is written
        while view:
            view = view[file.write(view) :]
    except OSError:
        file.close()
        raise
    return file


def _read(file: BinaryIO, size: int) -> State:
    state = np.empty(size, np.uint8)
    file.seek(0)
    view = state.data
    while view:
        count = cast(int, file.readinto(view))  # type: ignore[attr-defined]
        if not count:
            raise OSError(f"a spilled state is {len(view)} bytes short of {size}")
        view = view[count:]
    return state
