"""Figures in words."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["figure", "listed", "percent", "seconds"]


def figure(value: float) -> str:
    """Three figures, no powers of ten."""
    if value and abs(value) < 0.001:
        return f"{value:.1g}"
    for limit, digits in ((1, 3), (10, 2), (100, 1)):
        if abs(value) < limit:
            return f"{value:.{digits}f}"
    return f"{value:,.0f}"


def percent(share: float, digits: int | None = None) -> str:
    """A share, with one digit below ten."""
    digits = int(abs(share) < 0.0995) if digits is None else digits
    return f"{share * 100:.{digits}f} %"


def seconds(value: float) -> str:
    """With the unit that suits."""
    if not value:
        return "0 s"
    if value < 0.001:
        return f"{figure(value * 1e6)} µs"
    return f"{figure(value * 1e3)} ms" if value < 1 else f"{figure(value)} s"


def listed(parts: Sequence[str]) -> str:
    """As a list in a sentence."""
    return ", ".join(parts[:-1]) + " and " + parts[-1] if len(parts) > 1 else "".join(parts)
