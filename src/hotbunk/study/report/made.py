"""What of an experiment was made: a method says how it is done, and the rows how much of it was."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from hotbunk.report.curves import groups
from hotbunk.report.page import method
from hotbunk.report.words import listed, percent
from hotbunk.study.results import Row

__all__ = ["measured", "numbers", "often", "residencies"]


def measured(doc: str | None, made: str) -> str:
    """An experiment's method, and then what was made of it."""
    return f"{method(doc)}\n\nMeasured here: {made}."


def numbers(values: Iterable[float]) -> str:
    """Each once, in ascending order."""
    return listed([f"{value:,g}" for value in sorted(set(values))])


def residencies(places: Iterable[tuple[str, float]]) -> str:
    """At how many each model was, and from where to where; given model and share of its layers for each point."""
    found = set(places)
    counts = [*Counter(model for model, _ in found).values()]
    many = f"{_span(counts)} {'residency' if max(counts) == 1 else 'residencies'}"
    low, high = (percent(limit(share for _, share in found), 0) for limit in (min, max))
    return f"{many}, {high} of the layers" if low == high else f"{many} between {low} and {high} of the layers"


def often(rows: Sequence[Row], *point: str) -> str:
    """How many times each point, which these columns tell from the others, was measured."""
    parts = groups(rows, lambda row: tuple(row[name] for name in point)).values()
    counts = [len({row["repeat"] for row in part}) for part in parts]
    return f"each {'once' if max(counts) == 1 else f'{_span(counts)} times'}"


def _span(counts: Sequence[int]) -> str:
    low, high = min(counts), max(counts)
    return f"{high}" if low == high else f"{low} to {high}"
