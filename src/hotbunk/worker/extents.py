"""Extents: which parts of one stretch of memory are taken. First fit; free neighbours are one again."""

from __future__ import annotations

_ALIGN = 4096  # bytes: each begins on a page of its own


class Extents:
    """Parts of ``size`` bytes, given out and taken back."""

    def __init__(self, size: int) -> None:
        self.size = size // _ALIGN * _ALIGN
        self._gaps = [range(self.size)] if self.size else []

    def holds(self, size: int) -> bool:
        """Whether there would be room for that many bytes if nothing else were here."""
        return 0 < size <= self.size

    def allot(self, size: int) -> range | None:
        """A part of at least ``size`` bytes (above 0); None if there is no gap of that size."""
        size = -(-size // _ALIGN) * _ALIGN
        for index, gap in enumerate(self._gaps):
            if size <= len(gap):
                self._gaps[index : index + 1] = [gap[size:]] if size < len(gap) else []
                return gap[:size]
        return None

    def release(self, part: range) -> None:
        """Take back what ``allot`` gave."""
        merged: list[range] = []
        for gap in sorted([*self._gaps, part], key=lambda gap: gap.start):
            if merged and merged[-1].stop == gap.start:
                merged[-1] = range(merged[-1].start, gap.stop)
            else:
                merged.append(gap)
        self._gaps = merged
