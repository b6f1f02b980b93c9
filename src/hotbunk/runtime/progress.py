"""Which models are in the host store, said once when each begins and once when it is there."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from time import monotonic

log = logging.getLogger("hotbunk.runtime")


class Progress:
    """Listens to what the beats say is ``stored``: for each model the bytes that are there, and all its bytes."""

    def __init__(self) -> None:
        self._begun: dict[str, tuple[int, float]] = {}  # the bytes there and the moment, last seen before it moved
        self._moving: set[str] = set()
        self._there: set[str] = set()

    def hear(self, stored: Mapping[str, tuple[int, int]]) -> None:
        """Log what has begun, come or gone since the last beat."""
        now = monotonic()
        for model in [m for m in self._there if m not in stored]:
            self._there.discard(model)
            log.info("%s has left the host store", model)
        for model, (done, total) in stored.items():
            if model in self._there:
                continue
            if done >= total:
                self._complete(model, total, now)
            elif not done:
                self._begun[model] = 0, now  # it waits for others
            elif model not in self._moving:
                self._moving.add(model)
                self._begun.setdefault(model, (done, now))
                log.info("%s is being copied into the host store: %s", model, _gigabytes(total))

    def _complete(self, model: str, total: int, now: float) -> None:
        """Say that it is there; how fast, if it took more than a beat."""
        self._there.add(model)
        self._moving.discard(model)
        before, began = self._begun.pop(model, (total, now))
        took = now - began
        rate = f" in {took:.1f} s, {_gigabytes((total - before) / took)}/s" if took > 0 and total > before else ""
        log.info("%s is in the host store: %s pinned%s", model, _gigabytes(total), rate)


def _gigabytes(size: float) -> str:
    return f"{size / 1e9:.3g} GB"
