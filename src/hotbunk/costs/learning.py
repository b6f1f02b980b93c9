"""Learning: a model's costs, refined by what its real requests take.

Every measurement counts, the stored ones of its profile and the live ones, but each less with every newer one that says
the same. Of a record whose terms take the seconds ``c`` (its row, times the factors as stored) and a newer one with
``c'``,

    alike = (c c')^2 / (|c|^2 |c'|^2)        weight = 2 ** -(sum of alike over all newer live ones / HALF_LIFE)

the squared cosine being the share of one's variation that the other explains. So what is measured anew is forgotten at
the pace at which it is measured, and what nobody measures anew (another placement, a longer context) stays the best
that is known of it: plain exponential forgetting would lose it (directional forgetting in recursive least squares:
Kulhavy, Restricted exponential forgetting in real-time identification, Automatica 1987).

Age is counted in records, not in seconds: silence teaches nothing, a load that comes once an hour is no less true than
a step that comes each second, and a night without requests must not bring the roofline's guesses back. Decode steps are
gathered into about a record a second (``tiles``), so a change is half learnt after some twenty seconds of decoding.

Against drift (``drift``), measurements are held against the costs as they were stored, not against those that have just
learnt the change. Of a kind that was never profiled, the first ``HALF_LIFE`` live records are the standard.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import fmean
from typing import Literal

import numpy as np

from hotbunk.costs.anatomy import Anatomy
from hotbunk.costs.drift import Drift, Watch
from hotbunk.costs.linear import Array, Estimate
from hotbunk.costs.model import Costs
from hotbunk.costs.record import Kind, Record
from hotbunk.costs.roofline import Roofline
from hotbunk.costs.tiles import Tiles

__all__ = ["HALF_LIFE", "Learner", "Lesson", "Source"]

Source = Literal["profile", "learned", "roofline"]

HALF_LIFE = 20.0
"""Newer records alike that halve a record's weight: 29 count in all, whose mean scatters by a fifth of their spread."""
KEPT = 128
"""Live records of a kind that are kept; the most outdated goes first."""
_FRESH = 4  # a kind is fitted anew when a quarter of what counts is new
_RECENT = 64  # predictions by which the error is judged
_NOTHING = Estimate(0.0, 0.0, 0.0)


@dataclass(slots=True)
class Lesson:
    """What came of one kind's predictions, each made before its measurement was known; seconds.

    The last one and what was then ``measured``; the sums of both, ``expected`` and ``taken``, over all ``count`` of
    them; ``errors``: |predicted / measured - 1| of the recent ones.
    """

    predicted: Estimate = _NOTHING
    measured: float = 0.0
    count: int = 0
    expected: float = 0.0
    taken: float = 0.0
    errors: deque[float] = field(default_factory=lambda: deque(maxlen=_RECENT))

    def add(self, predicted: Estimate, measured: float) -> None:
        """One more."""
        self.predicted, self.measured = predicted, measured
        self.count += 1
        self.expected += predicted.seconds
        self.taken += measured
        self.errors.append(abs(predicted.seconds / measured - 1))

    @property
    def error(self) -> float:
        """Mean of the errors."""
        return fmean(self.errors)


class Learner:
    """One model's costs on one machine, as they are stored and as they turn out.

    Attributes:
        stored: the costs fitted to the stored records alone; with none, the roofline's.
        lessons: predictions beside measurements, by kind.
    """

    def __init__(self, anatomy: Anatomy, roofline: Roofline, records: Iterable[Record] = ()) -> None:
        """``records``: those of the store; what is held out there is left out here."""
        records = [record for record in records if not record.check]
        self.stored = self._costs = Costs.fitted(anatomy, roofline, records)
        self.lessons: dict[Kind, Lesson] = {}
        self._memories = {
            kind: _Memory(kind, self.stored, [record for record in records if record.kind is kind]) for kind in Kind
        }
        self._standards = {record.kind: self.stored for record in records}
        self._watches: dict[Kind, Watch] = {}
        self._tiles = Tiles()

    def hear(self, record: Record, at: float) -> None:
        """A live measurement, made at a moment of any clock (seconds); of ``DECODE``, it is a single step.

        What took no time is passed over.
        """
        if record.seconds <= 0:
            return
        whole = self._tiles.add(record, at) if record.kind is Kind.DECODE else record
        if whole:
            self._learn(whole, at)

    @property
    def costs(self) -> Costs:
        """The refined costs; fitted anew here, and only where enough is new."""
        for memory in self._memories.values():
            if memory.due:
                self._costs = memory.fitted(self._costs)
        return self._costs

    @property
    def drifts(self) -> dict[Kind, Drift]:
        """The kinds that do not take what they should."""
        return {kind: drift for kind, watch in self._watches.items() if (drift := watch.drift)}

    def source(self, kind: Kind) -> Source:
        """What a kind's estimates rest on: a profile (refined), live measurements alone, or the roofline."""
        if self.profiled(kind):
            return "profile"
        return "learned" if kind in self.lessons else "roofline"

    def profiled(self, kind: Kind) -> bool:
        """Whether some were stored."""
        return self.stored.fits[kind].count > 0

    def _learn(self, record: Record, at: float) -> None:
        kind = record.kind
        lesson = self.lessons.setdefault(kind, Lesson())
        lesson.add(self.costs.estimate(record), record.seconds)
        self._memories[kind].add(record)
        if kind not in self._standards and lesson.count >= HALF_LIFE:
            self._standards[kind] = self.costs
        elif standard := self._standards.get(kind):
            ratio = record.seconds / standard.estimate(record).seconds
            watch = self._watches.setdefault(kind, Watch())
            watch.hear(ratio, standard.fits[kind].spread, standard.deviation(record), at)


class _Memory:
    """What is known of one kind, stored and live, and how outdated each record is, in half-lives."""

    def __init__(self, kind: Kind, costs: Costs, records: list[Record]) -> None:
        self._kind, self._costs, self._records = kind, costs, records
        self._most, self._new = len(records) + KEPT, 0
        self._ways = [self._way(record) for record in records]
        self._ages = np.zeros(len(records))

    @property
    def due(self) -> bool:
        """Whether enough of what counts is new."""
        return self._new > 0 and self._new * _FRESH >= min(HALF_LIFE, len(self._records))

    def fitted(self, costs: Costs) -> Costs:
        """The costs with this kind fitted to what is known now."""
        self._new = 0
        return costs.refitted(self._kind, self._records, np.exp2(-self._ages))

    def add(self, record: Record) -> None:
        """One more, the newest: those alike have aged."""
        way = self._way(record)
        if self._ways:
            self._ages += (np.array(self._ways) @ way) ** 2 / HALF_LIFE
        self._records.append(record)
        self._ways.append(way)
        self._ages = np.append(self._ages, 0.0)
        self._new += 1
        if len(self._records) > self._most:
            oldest = int(self._ages.argmax())
            del self._records[oldest], self._ways[oldest]
            self._ages = np.delete(self._ages, oldest)

    def _way(self, record: Record) -> Array:
        """Seconds of each term by the stored costs, scaled to length 1."""
        seconds = self._costs.row(record) * np.array(self._costs.fits[record.kind].factors)
        scaled: Array = seconds / np.linalg.norm(seconds)
        return scaled
