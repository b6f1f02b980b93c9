"""The recent decisions of one device, each with its reason and, once it is done, what it cost."""

from __future__ import annotations

import logging
from collections import deque
from time import time
from typing import Any

from hotbunk.scheduler import actions

log = logging.getLogger("hotbunk.runtime")

LENGTH = 200


class Journal:
    """``notes`` holds the latest decisions, oldest first, ready for JSON; times are Unix time, costs seconds, bytes."""

    def __init__(self) -> None:
        self.notes: deque[dict[str, Any]] = deque(maxlen=LENGTH)

    def note(self, action: actions.Decision) -> None:
        """Write a decision down."""
        what = type(action).__name__.lower()
        entry = {"time": time(), "action": what, "model": action.model, "reason": action.reason, "seconds": None}
        sequence = getattr(action, "sequence", None)
        self.notes.append(entry if sequence is None else {**entry, "sequence": sequence})
        if not isinstance(action, actions.Start | actions.Resume):
            log.info("%s %s: %s", what, action.model, action.reason)

    def moved(self, model: str, *kinds: str, **cost: Any) -> None:
        """Fill in what the latest move of a model, of one of these kinds, cost."""
        self._fill({"model": model}, kinds, cost)

    def carried(self, sequence: int, kind: str, **cost: Any) -> None:
        """Fill in what a sequence's latest suspension or resumption cost."""
        self._fill({"sequence": sequence}, (kind,), cost)

    def _fill(self, match: dict[str, object], kinds: tuple[str, ...], cost: dict[str, Any]) -> None:
        for note in reversed(self.notes):
            if note["action"] in kinds and note["seconds"] is None and match.items() <= note.items():
                note.update(cost)
                return
