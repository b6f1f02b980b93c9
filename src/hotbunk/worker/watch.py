"""The watch: what the engine's thread is doing and since when, for the thread that beats."""

from __future__ import annotations

from time import perf_counter


class Watch:
    """Written by the engine's thread, read by any other."""

    def __init__(self) -> None:
        self._now: tuple[str, float] | None = None

    def __call__(self, operation: str) -> Lap:
        """Say that ``operation`` is under way while the ``with`` lasts; the outermost counts."""
        return Lap(self, operation)

    def read(self) -> tuple[str, float]:
        """The operation under way and its age in seconds; ``("", 0.0)`` when idle."""
        now = self._now
        return (now[0], perf_counter() - now[1]) if now else ("", 0.0)


class Lap:
    """One operation; ``seconds`` is what it took, once it is over."""

    __slots__ = ("_began", "_operation", "_outer", "_watch", "seconds")

    def __init__(self, watch: Watch, operation: str) -> None:
        self.seconds = self._began = 0.0
        self._watch, self._operation = watch, operation

    def __enter__(self) -> Lap:
        self._began, self._outer = perf_counter(), self._watch._now
        self._watch._now = self._outer or (self._operation, self._began)
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = perf_counter() - self._began
        self._watch._now = self._outer
