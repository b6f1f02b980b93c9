"""A trace: requests with their arrivals and lengths, as columns, so that a million of them take little memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

__all__ = ["Floats", "Integers", "Request", "Trace"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int32]

ROOT = -1
"""In place of a predecessor's row: the request follows nobody's answer."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request: tokens of its prompt, and tokens that it generates.

    ``arrival`` is in seconds from the trace's beginning. A request that follows the answer to another one has that
    one's row as ``after``, and its ``arrival`` is the seconds from the end of that answer.
    """

    arrival: float
    model: str
    prompt: int
    output: int
    after: int | None = None


@dataclass(frozen=True, eq=False)
class Trace:
    """Requests, a row each; all columns have the shape (requests,).

    ``model`` has places in ``models``; ``prompt`` and ``output`` are tokens, at least 1. Rows that follow nobody have
    ``ROOT`` in ``after`` and stand in the order of their ``arrival``; the others stand behind the row that they follow.
    """

    name: str
    models: tuple[str, ...]
    arrival: Floats
    model: Integers
    prompt: Integers
    output: Integers
    after: Integers

    def __post_init__(self) -> None:
        size = len(self.arrival)
        assert all(len(each) == size for each in (self.model, self.prompt, self.output, self.after))
        assert not size or (self.prompt.min() > 0 and self.output.min() > 0 and self.arrival.min() >= 0)
        assert not size or (self.model.min() >= 0 and self.model.max() < len(self.models))
        assert bool(np.all(self.after < np.arange(size)))
        assert bool(np.all(np.diff(self.arrival[self.after == ROOT]) >= 0))

    @classmethod
    def of(cls, name: str, requests: Iterable[Request], models: Sequence[str] = ()) -> Trace:
        """Make one of requests in the order described above; ``models`` come first among the models."""
        rows = list(requests)
        names = tuple(dict.fromkeys([*models, *(row.model for row in rows)]))
        places = {each: place for place, each in enumerate(names)}
        return cls(
            name,
            names,
            np.array([row.arrival for row in rows], np.float64),
            np.array([places[row.model] for row in rows], np.int32),
            np.array([row.prompt for row in rows], np.int32),
            np.array([row.output for row in rows], np.int32),
            np.array([ROOT if row.after is None else row.after for row in rows], np.int32),
        )

    @classmethod
    def together(cls, name: str, traces: Sequence[Trace]) -> Trace:
        """Several traces at once, each from its own beginning; models of the same name are the same."""
        models = tuple(dict.fromkeys(model for trace in traces for model in trace.models))
        places = {model: place for place, model in enumerate(models)}
        begins = np.cumsum([0, *(len(trace) for trace in traces)])[:-1]
        arrival, prompt, output = (
            np.concatenate([getattr(t, n) for t in traces]) for n in ("arrival", "prompt", "output")
        )
        model = np.concatenate([np.array([places[each] for each in t.models], np.int32)[t.model] for t in traces])
        after = np.concatenate(
            [_moved(t.after, np.arange(len(t)) + begin) for t, begin in zip(traces, begins, strict=True)]
        )
        return cls.arranged(name, models, arrival, model, prompt, output, after)

    @classmethod
    def arranged(
        cls,
        name: str,
        models: tuple[str, ...],
        arrival: Floats,
        model: Integers,
        prompt: Integers,
        output: Integers,
        after: Integers,
    ) -> Trace:
        """Columns whose rows stand behind those that they follow, put in the order of arrival where they are not."""
        if np.any(np.diff(arrival[after == ROOT]) < 0):
            order = _order(arrival, after)
            after = _moved(after[order], np.argsort(order))
            arrival, model, prompt, output = arrival[order], model[order], prompt[order], output[order]
        return cls(name, models, arrival, model, prompt, output, after)

    def __len__(self) -> int:
        return len(self.arrival)

    def __getitem__(self, row: int) -> Request:
        after = int(self.after[row])
        model = self.models[self.model[row]]
        lengths = int(self.prompt[row]), int(self.output[row])
        return Request(float(self.arrival[row]), model, *lengths, None if after == ROOT else after)

    def __iter__(self) -> Iterator[Request]:
        return (self[row] for row in range(len(self)))

    @cached_property
    def roots(self) -> NDArray[np.intp]:
        """The rows that follow nobody, in the order of their arrival."""
        return np.flatnonzero(self.after == ROOT)

    @cached_property
    def followers(self) -> Mapping[int, tuple[int, ...]]:
        """By the row that is followed: the rows that follow it."""
        found: dict[int, list[int]] = {}
        for row in np.flatnonzero(self.after != ROOT):
            found.setdefault(int(self.after[row]), []).append(int(row))
        return {row: tuple(rows) for row, rows in found.items()}

    @property
    def duration(self) -> float:
        """Seconds from the beginning to the last arrival that is known beforehand."""
        return float(self.arrival[self.roots[-1]]) if len(self.roots) else 0.0

    def sped(self, factor: float) -> Trace:
        """The same requests, ``factor`` times as fast; whoever follows an answer does so as much sooner."""
        return replace(self, arrival=self.arrival / factor)

    def until(self, seconds: float) -> Trace:
        """What arrives before that, and all that follows it."""
        kept = np.zeros(len(self), bool)
        for row in range(len(self)) if self.followers else ():
            after = self.after[row]
            kept[row] = self.arrival[row] < seconds if after == ROOT else kept[after]
        if not self.followers:
            kept = self.arrival < seconds
        return self._only(kept)

    def only(self, models: Iterable[str]) -> Trace:
        """Requests for these models; what follows an answer of another is left out."""
        wanted = [place for place, model in enumerate(self.models) if model in set(models)]
        kept = np.isin(self.model, wanted)
        for row in range(len(self)) if self.followers else ():
            if (after := self.after[row]) != ROOT:
                kept[row] &= kept[after]
        return self._only(kept)

    def renamed(self, names: Mapping[str, str]) -> Trace:
        """With other names for some of the models."""
        return replace(self, models=tuple(names.get(model, model) for model in self.models))

    def _only(self, kept: NDArray[np.bool_]) -> Trace:
        columns = {column: getattr(self, column)[kept] for column in ("arrival", "model", "prompt", "output")}
        return replace(self, after=_moved(self.after[kept], np.cumsum(kept) - 1), **columns)


def _moved(after: Integers, places: NDArray[np.intp]) -> Integers:
    """Rows that are followed, where they stand now."""
    return np.where(after == ROOT, ROOT, places[after]).astype(np.int32)


def _order(arrival: Floats, after: Integers) -> NDArray[np.intp]:
    """Rows that follow nobody by arrival; who follows comes with its root, and behind it since the sort is stable."""
    when = arrival.copy()
    for row in np.flatnonzero(after != ROOT):
        when[row] = when[after[row]]
    return np.argsort(when, kind="stable")
