"""The arena: states of suspended sequences, in host memory under a budget, on disk past it."""

from __future__ import annotations

import logging
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

log = logging.getLogger("hotbunk.worker")

State = NDArray[np.uint8]


@dataclass(slots=True)
class _Held:
    """One state: in memory (``state``) or on disk (``file``), never both, never neither."""

    size: int
    state: State | None
    file: BinaryIO | None = None


class Arena:
    """Keeps each suspended sequence's state until it is taken back or dropped; never loses one.

    Past ``budget`` bytes in memory the states least recently put go to ``directory``, in files that have no name: they
    vanish with the process, however it ends. A state that cannot be written stays in memory, and ``trouble`` says why.

    Attributes:
        held: bytes in host memory.
        spilled: bytes on disk.
        trouble: why the last spill failed; empty when it did not.
    """

    def __init__(self, budget: int, directory: Path) -> None:
        self.held = 0
        self.spilled = 0
        self.trouble = ""
        self.budget = budget
        self._directory = directory
        self._states: dict[int, _Held] = {}

    def __len__(self) -> int:
        return len(self._states)

    def put(self, key: int, state: State) -> None:
        """Keep ``state`` (bytes) under ``key``, spilling older ones if the budget asks for it."""
        self._states[key] = _Held(state.nbytes, state)
        self.held += state.nbytes
        self._make_room()

    def size(self, key: int) -> int:
        """Bytes of the state under ``key``."""
        return self._states[key].size

    def take(self, key: int) -> State:
        """Give the state back and forget it.

        Raises:
            OSError: it was on disk and cannot be read; it is forgotten all the same.
        """
        entry = self._remove(key)
        if entry.state is not None:
            return entry.state
        with cast(BinaryIO, entry.file) as file:
            return _read(file, entry.size)

    def drop(self, key: int) -> None:
        """Forget the state under ``key``; harmless when there is none."""
        if key in self._states and (file := self._remove(key).file):
            file.close()

    def close(self) -> None:
        """Forget everything."""
        for key in list(self._states):
            self.drop(key)

    def _remove(self, key: int) -> _Held:
        entry = self._states.pop(key)
        if entry.state is None:
            self.spilled -= entry.size
        else:
            self.held -= entry.size
        return entry

    def _make_room(self) -> None:
        for entry in self._states.values():  # in the order they were put
            if self.held <= self.budget:
                self.trouble = ""
                return
            if entry.state is not None and entry.size and not self._spill(entry):
                return

    def _spill(self, entry: _Held) -> bool:
        try:
            entry.file = _write(self._directory, cast(State, entry.state))
        except OSError as error:
            self.trouble = f"cannot spill {entry.size} bytes of suspended state to {self._directory}: {error.strerror}"
            log.warning("%s; it stays in memory, %d bytes above the budget", self.trouble, self.held - self.budget)
            return False
        entry.state = None
        self.held -= entry.size
        self.spilled += entry.size
        return True


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
