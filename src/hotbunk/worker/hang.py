"""What tells a worker that hangs from one at long work: it beats however long a step lasts, and says how long."""

from __future__ import annotations

from hotbunk.worker.protocol import Beat

__all__ = ["SILENCE", "hung"]

SILENCE = 20.0
"""Seconds without a beat after which a worker counts as hung (it beats twice a second, whatever it does)."""


def hung(beat: Beat | None, silent: float, longest: float) -> str:
    """In which operation a worker hangs, in words; empty if it does not.

    Args:
        beat: its last sign of life; None before the first.
        silent: seconds for which nothing was heard of it.
        longest: seconds that one operation may last.
    """
    busy = beat.busy if beat else 0.0
    if silent <= SILENCE and busy <= longest:
        return ""
    return f"hung in {beat.operation if beat else 'starting'!r} for {max(silent, busy):.0f} s"
