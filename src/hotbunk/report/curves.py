"""Rows as curves: what was measured at each point, over its repeats."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, TypeVar

__all__ = ["Band", "band", "groups", "spread"]

_Key = TypeVar("_Key", bound=Hashable)
_Row = TypeVar("_Row", bound=Mapping[str, Any])


@dataclass(frozen=True)
class Band:
    """A curve: at each ``x`` the median of the repeats, the least and the greatest."""

    x: Sequence[float]
    middle: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]

    def __len__(self) -> int:
        return len(self.x)

    def at(self, x: float) -> float | None:
        """The median at the point nearest to ``x``; None if there is no point."""
        return self.middle[min(range(len(self)), key=lambda n: abs(self.x[n] - x))] if self.x else None

    def scaled(self, factor: float) -> Band:
        """All values times that."""
        low, middle, high = ([factor * each for each in part] for part in (self.low, self.middle, self.high))
        return Band(self.x, middle, low, high)


def groups(rows: Iterable[_Row], key: Callable[[_Row], _Key]) -> dict[_Key, list[_Row]]:
    """Rows by what they have in common, in the order in which it first comes."""
    found: dict[_Key, list[_Row]] = {}
    for row in rows:
        found.setdefault(key(row), []).append(row)
    return found


def band(rows: Iterable[_Row], x: str, value: Callable[[_Row], float]) -> Band:
    """The curve of a value over ``x``, in ascending order."""
    parts = sorted((at, sorted(map(value, part))) for at, part in groups(rows, lambda row: float(row[x])).items())
    return Band(
        [at for at, _ in parts],
        [median(values) for _, values in parts],
        [values[0] for _, values in parts],
        [values[-1] for _, values in parts],
    )


def spread(values: Sequence[float]) -> tuple[float, float, float]:
    """Median, least and greatest."""
    return median(values), min(values), max(values)
