"""The profiler: measures a model on a living worker until it is known well enough, or the time is up."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from random import Random
from statistics import fmean
from time import monotonic

from hotbunk.costs.anatomy import Anatomy
from hotbunk.costs.fingerprint import Machine
from hotbunk.costs.model import Costs
from hotbunk.costs.record import Kind, Record
from hotbunk.costs.roofline import Roofline
from hotbunk.costs.store import Store
from hotbunk.errors import OutOfMemory
from hotbunk.measure.probes import LOADS, Probes
from hotbunk.measure.wire import Outrun
from hotbunk.placement import Placement
from hotbunk.profile.design import AIMS, HELD, Point, choose, cost, enough, grid, halved, held_out, there_and_back

__all__ = ["Ended", "Profiler", "Progress"]

_DRAWN = (Kind.DECODE, Kind.PREFILL)  # held out by drawing; moves come on the way to other points
_MOST, _LEAST = 0.1, 5.0  # share of the time, or seconds, that a point may take
_JUDGING = 0.5  # of that, where it judges: what little time there is should teach
_ROUNDS = 3  # times that decoding is measured there, if they fit in that
_TEACHING = 3  # times that a load is measured which does not judge, if they fit in half of that: one alone may mislead


class Ended(StrEnum):
    """Why there is nothing more to measure."""

    KNOWN = "known well enough"
    MEASURED = "all there is was measured"
    TIME = "the time is up"


@dataclass(frozen=True, slots=True)
class Progress:
    """One measured point: ``expected`` seconds, of which ``record`` tells the truth, and the errors held out so far."""

    record: Record
    expected: float
    errors: dict[Kind, float]
    count: int
    left: float


class Profiler:
    """Profiles one opened model; what it measures is in the store at once, and what is there already counts.

    Attributes:
        costs: fitted to all that is known.
        records: all of them, the store's included.
        refused: points for which there was no memory.
    """

    def __init__(
        self, probes: Probes, store: Store, machine: Machine, content: str, anatomy: Anatomy, roofline: Roofline
    ) -> None:
        """``content`` is the fingerprint of the model's files."""
        self.records = store.records(machine, content)
        self.refused: list[Point] = []
        self.costs = Costs.fitted(anatomy, roofline, self.records)
        self._probes, self._store, self._machine, self._content = probes, store, machine, content
        self._anatomy, self._roofline = anatomy, roofline
        self._tried: set[Point] = set()

    def run(
        self,
        seconds: float,
        context: int,
        slots: int,
        budget: int,
        said: Callable[[Progress], object] = lambda _: None,
        resident: bool = False,
    ) -> Ended:
        """Measure for so many seconds, or until the aims are reached; why it ended.

        Args:
            seconds: the time there is; a point is begun only if it is likely to end in time, and to take no more than
                a tenth of it, or 5 s; one that judges, half of that.
            context: longest context to measure, tokens.
            slots: most sequences at once.
            budget: device memory, bytes; placements beyond it are left out.
            said: told of each point.
            resident: all there is to measure with as many layers on the device as fit, even if the aims are reached,
                and nothing else.
        """
        end, most, dice = monotonic() + seconds, max(_LEAST, _MOST * seconds), Random(len(self.records))
        points = [
            point
            for _, group in grid(self._probes.layers, context, slots, self._placer(context, slots, budget), resident)
            for point in group
        ]
        done = 0
        while resident or not self._known(points):
            if not (point := self._next(points, min(most, end - monotonic()), dice, done)):
                break
            done += 1
            self._tried.update(halved(point) if point.kind is Kind.DECODE else [point])
            self._take(point, done, _JUDGING * most, end, said)
        if self._known(points):
            return Ended.KNOWN
        return Ended.TIME if self._open(points) else Ended.MEASURED

    def errors(self) -> dict[Kind, float]:
        """Mean absolute relative error by kind, over the points held out."""
        return {kind: fmean(errors) for kind, errors in self._errors(self.records).items()}

    def _known(self, points: Sequence[Point]) -> bool:
        """Whether what was held out at these points' placements, for such contexts and slots, is known well enough."""
        places, measured = {point.placement for point in points}, {point.kind for point in points}
        # of what no point tells, nothing has to be known: with no layers on the device there are no loads
        kinds = [kind for kind in AIMS if (Kind.KV_OUT if kind is Kind.KV_IN else kind) in measured]
        return enough(self._errors(record for record in self.records if record.placement in places), kinds)

    def _errors(self, records: Iterable[Record]) -> dict[Kind, list[float]]:
        found: dict[Kind, list[float]] = {}
        for record in records:
            if record.check:
                error = abs(self.costs.estimate(record).seconds / record.seconds - 1)
                found.setdefault(record.kind, []).append(error)
        return found

    def _placer(self, context: int, slots: int, budget: int) -> Callable[[int], Placement | None]:
        def placed(layers: int) -> Placement | None:
            place = self._probes.place(layers, context, slots)
            return place if place.device.total <= budget else None

        return placed

    def _next(self, points: Sequence[Point], seconds: float, dice: Random, done: int) -> Point | None:
        open_ = self._open(points)
        standing = self._probes.standing
        if done % HELD == HELD - 1:
            drawn = held_out(self.costs, (p for p in open_ if p.kind in _DRAWN), standing, _JUDGING * seconds, dice)
            if drawn:
                return drawn
        return choose(self.costs, open_, standing, seconds)

    def _open(self, points: Sequence[Point]) -> list[Point]:
        """What can still be measured, if there is time for it."""
        return [point for point in points if point not in self._tried and not self._hopeless(point)]

    def _hopeless(self, point: Point) -> bool:
        """Whether less than that was too much already."""
        need = point.placement.device.total
        return any(refused.placement.device.total <= need for refused in self.refused)

    def _take(self, point: Point, done: int, judging: float, end: float, said: Callable[[Progress], object]) -> None:
        try:
            records = self._measured(point, done, judging)
        except OutOfMemory:
            self.refused.append(point)
            return
        except Outrun:
            return  # some other point tells as much
        costs = self.costs
        for record in records:
            kept = replace(record, check=self._held(record.kind, point, done))
            self._store.add(self._machine, self._content, self._anatomy.name, self._anatomy, kept)
            self.records.append(kept)
        self.costs = Costs.fitted(self._anatomy, self._roofline, self.records)
        for record in self.records[len(self.records) - len(records) :]:
            said(Progress(record, costs.estimate(record).seconds, self.errors(), done, end - monotonic()))

    def _held(self, kind: Kind, point: Point, done: int) -> bool:
        """Whether a record is held out: of the kinds drawn from, what was drawn; of the others every so manieth."""
        if kind in _DRAWN:
            return done % HELD == 0 and kind is point.kind
        return sum(record.kind is kind for record in self.records) % HELD == HELD - 1

    def _measured(self, point: Point, done: int, judging: float) -> list[Record]:
        """Measure a point; what judges has to be surer than what is judged, and may take ``judging`` seconds for it."""
        probes, place, loads = self._probes, point.placement, 1
        before = probes.standing
        if place.layers > (before.layers if before else 0):
            most, seconds = (LOADS, judging) if self._held(Kind.LOAD, point, done) else (_TEACHING, judging / 2)
            loads = _times(most, seconds / there_and_back(self.costs, before, place))
        records = probes.reload(place) if point.kind is Kind.LOAD else probes.stand(place, loads)
        match point.kind:
            case Kind.DECODE:
                held = self._held(Kind.DECODE, point, done)
                rounds = _times(_ROUNDS, judging / cost(self.costs, point, place)) if held else 1
                records += probes.decode(point.sequences, point.tokens, rounds)
            case Kind.PREFILL:
                records.append(probes.prefill(point.tokens))
            case Kind.KV_OUT:
                records += probes.carry(point.tokens)
        return records


def _times(most: int, fitting: float) -> int:
    return max(1, min(most, int(fitting)))
