"""The watch: what the engine's thread is doing, since when, and how long it has worked, for the thread that beats."""

from __future__ import annotations

from time import perf_counter


class Watch:
    """Written by the engine's thread, read by any other."""

    def __init__(self) -> None:
        self._now: tuple[str, float] | None = None
        self._beside: dict[str, float] = {}  # replaced as a whole: others may be reading it
        self._afoot = 0
        self._worked: tuple[float, float | None] = 0.0, None  # seconds, and since when anything is under way besides

    def __call__(self, operation: str) -> Lap:
        """Say that ``operation`` is under way while the ``with`` lasts; the outermost counts."""
        return Lap(self, operation)

    def read(self) -> tuple[str, float]:
        """The operation that has been under way for longest and its age in seconds; ``("", 0.0)`` when idle."""
        now, beside = self._now, self._beside.items()
        if not now and not beside:
            return "", 0.0
        operation, since = min([*beside, now] if now else beside, key=lambda each: each[1])
        return operation, perf_counter() - since

    @property
    def worked(self) -> float:
        """Seconds in which anything was under way: an operation, or what goes on beside them."""
        seconds, since = self._worked
        return seconds if since is None else seconds + perf_counter() - since

    def begin(self, at: float, operation: str = "") -> None:
        """Something is under way from that moment of ``perf_counter`` on; ``operation``, if it is beside all others."""
        if operation:
            self._beside = {**self._beside, operation: at}
        if not self._afoot:
            self._worked = self._worked[0], at
        self._afoot += 1

    def end(self, at: float, operation: str = "") -> None:
        """It is over."""
        self._beside = {name: since for name, since in self._beside.items() if name != operation}
        self._afoot -= 1
        seconds, since = self._worked
        if not self._afoot and since is not None:
            self._worked = seconds + at - since, None


class Lap:
    """One operation; ``seconds`` is what it took, once it is over."""

    __slots__ = ("_began", "_operation", "_outer", "_watch", "seconds")

    def __init__(self, watch: Watch, operation: str) -> None:
        self.seconds = self._began = 0.0
        self._watch, self._operation = watch, operation

    def __enter__(self) -> Lap:
        self._began, self._outer = perf_counter(), self._watch._now
        self._watch._now = self._outer or (self._operation, self._began)
        self._watch.begin(self._began)
        return self

    def __exit__(self, *_: object) -> None:
        now = perf_counter()
        self.seconds = now - self._began
        self._watch._now = self._outer
        self._watch.end(now)
