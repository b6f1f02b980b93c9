"""The watch: what the engine's thread is doing and since when, for the thread that beats."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter


class Lap:
    """The seconds an operation took, once it is over."""

    __slots__ = ("seconds",)

    def __init__(self) -> None:
        self.seconds = 0.0


class Watch:
    """Written by the engine's thread, read by any other."""

    def __init__(self) -> None:
        self._now: tuple[str, float] | None = None

    @contextmanager
    def __call__(self, operation: str) -> Iterator[Lap]:
        """Say that ``operation`` is under way meanwhile; the outermost counts."""
        lap, began, outer = Lap(), perf_counter(), self._now
        self._now = outer or (operation, began)
        try:
            yield lap
        finally:
            lap.seconds = perf_counter() - began
            self._now = outer

    def read(self) -> tuple[str, float]:
        """The operation under way and its age in seconds; ``("", 0.0)`` when idle."""
        now = self._now
        return (now[0], perf_counter() - now[1]) if now else ("", 0.0)
