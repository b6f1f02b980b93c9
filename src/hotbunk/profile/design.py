"""The design of a profile: what can be measured of a model, and what to measure next.

Every ``HELD``-th point is drawn at random and held out: no model is fitted to it, it only judges the fit. So does every
``HELD``-th move, whatever it was made for. The other points are chosen where the fit is least certain for the time that
measuring takes,

    argmax over points of  log(1 + (d / aim)^2) / (seconds to measure it)

``d``: relative standard deviation of the expected time (``Fit.deviation``), ``aim``: the error wanted. The logarithm
is, up to a factor, the information that a measurement as good as the aim adds (the D-optimal choice of the next point).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import log
from random import Random
from statistics import fmean

from hotbunk.costs.model import Costs
from hotbunk.costs.record import Kind, Record
from hotbunk.measure.probes import LOADS, WARMED, carrying, decoding, halvings, timing
from hotbunk.placement import Placement

__all__ = [
    "AIMS",
    "HELD",
    "Point",
    "choose",
    "cost",
    "enough",
    "grid",
    "halved",
    "held_out",
    "moving",
    "there_and_back",
]

AIMS = {Kind.DECODE: 0.05, Kind.PREFILL: 0.10, Kind.LOAD: 0.10, Kind.KV_OUT: 0.10, Kind.KV_IN: 0.10}
"""Mean absolute relative error at which a kind is known well enough."""
HELD = 4
_RESIDENCIES = (1.0, 0.0, 0.5, 0.9, 0.75, 0.25, 0.97)
_TOKENS = (64, 512, 2048, 4096, 8192, 16384, 32768)
_SEQUENCES = (1, 2, 4, 8, 16, 32)
_JUDGED = 3  # held-out points of a kind before its error is believed
_MOVE = 0.1  # seconds that a move takes besides its own time and that of warming up: planning graphs, telling of it


@dataclass(frozen=True, slots=True)
class Point:
    """Something to measure, standing so: DECODE and PREFILL as in ``Record``; KV_OUT stands for both ways."""

    kind: Kind
    placement: Placement
    sequences: int = 1
    tokens: int = 0

    @property
    def record(self) -> Record:
        """The point as a record that has not been measured; a move is that of its placement."""
        return Record(self.kind, self.placement, 0.0, self.sequences, self.tokens, 0, self._moved, self._pieces)

    @property
    def _moved(self) -> int:
        return self.placement.device.weights if self.kind is Kind.LOAD else 0

    @property
    def _pieces(self) -> int:
        return self.placement.layers if self.kind is Kind.LOAD else 0


def grid(
    layers: int, context: int, slots: int, placed: Callable[[int], Placement | None], resident: bool = False
) -> list[tuple[Placement, list[Point]]]:
    """All points by placement; ``resident``: of the one with the most layers alone.

    ``placed`` prices a number of layers; None: there is no room for it.
    """
    counts = list(dict.fromkeys(round(share * layers) for share in _RESIDENCIES))
    if resident:
        counts = [next((count for count in range(layers, 0, -1) if placed(count)), 0)]
    return [(place, _points(place, context, slots)) for count in counts if (place := placed(count))]


def _points(place: Placement, context: int, slots: int) -> list[Point]:
    lengths = [tokens for tokens in _TOKENS if tokens < context * 0.9] + [int(context * 0.9)]
    batches = [count for count in _SEQUENCES if count < slots] + [slots]
    points = [Point(Kind.LOAD, place)] if place.layers else []
    decode = [Point(Kind.DECODE, place, count, tokens) for count in batches for tokens in lengths]
    # the first of many sequences goes on while others begin and end, which short contexts have no room for
    points += [point for point in decode if decoding(point.sequences, point.tokens) <= context]
    points += [Point(Kind.PREFILL, place, 1, tokens) for tokens in (16, *lengths) if tokens < context]
    points += [Point(Kind.KV_OUT, place, 1, tokens) for tokens in lengths if carrying(tokens) <= context]
    return points


def choose(costs: Costs, points: Iterable[Point], standing: Placement | None, budget: float) -> Point | None:
    """The point that teaches most for its time, among those that fit in ``budget`` seconds; None: none is left."""
    best, value = None, 0.0
    for point in points:
        seconds = cost(costs, point, standing)
        gain = worth(costs, point) / seconds
        if seconds <= budget and gain > value:
            best, value = point, gain
    return best


def held_out(
    costs: Costs, points: Iterable[Point], standing: Placement | None, budget: float, dice: Random
) -> Point | None:
    """One drawn at random, rather than by what it teaches, of those that fit in ``budget`` seconds; None: none does."""
    fitting = [point for point in points if cost(costs, point, standing) <= budget]
    return dice.choice(fitting) if fitting else None


def worth(costs: Costs, point: Point) -> float:
    """What measuring it teaches."""
    record = point.record
    if point.kind is Kind.KV_OUT:
        record = Record(Kind.KV_OUT, point.placement, 0.0, tokens=point.tokens, moved=costs.state(point.tokens))
    return log(1 + (costs.deviation(record) / AIMS[point.kind]) ** 2)


def cost(costs: Costs, point: Point, standing: Placement | None) -> float:
    """Seconds that measuring it will take, getting there included."""
    place = point.placement
    if point.kind is Kind.LOAD:
        return LOADS * there_and_back(costs, None, place)
    seconds = moving(costs, standing, place)
    prefill = costs.prefill(place, point.tokens).seconds
    if point.kind is Kind.DECODE:
        steps = [costs.decode(place, [point.tokens] * each.sequences).seconds for each in halved(point)]
        return seconds + point.sequences * prefill + sum(map(timing, steps))
    return seconds + prefill


def there_and_back(costs: Costs, standing: Placement | None, place: Placement) -> float:
    """Seconds to move it, and back to where it stands."""
    return moving(costs, standing, place) + moving(costs, place, standing)


def moving(costs: Costs, standing: Placement | None, place: Placement | None) -> float:
    """Seconds until it stands so, and is warm; None: not on the device."""
    if place == standing:
        return 0.01
    if place is None:
        assert standing
        return costs.unload(standing).seconds
    return costs.load(place, standing).seconds + costs.prefill(place, WARMED).seconds + _MOVE


def halved(point: Point) -> list[Point]:
    """A point of decoding, and those that are measured with it: half as many sequences, down to one."""
    return [replace(point, sequences=count) for count in halvings(point.sequences)]


def enough(errors: Mapping[Kind, Sequence[float]], kinds: Iterable[Kind]) -> bool:
    """Whether each kind was judged by some held-out points, and is as well known as aimed at."""
    return all(len(errors.get(kind, ())) >= _JUDGED and fmean(errors[kind]) <= AIMS[kind] for kind in kinds)
