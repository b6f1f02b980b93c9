"""A device whose times can be reckoned in one's head, and traces drawn for it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from hypothesis import strategies as st

from hotbunk.costs.linear import Estimate
from hotbunk.costs.rates import Rates
from hotbunk.costs.steps import padded
from hotbunk.placement import Footprint, Placement
from hotbunk.simulator.case import Case
from hotbunk.simulator.moving import Live, Moving
from hotbunk.simulator.pace import DELAYS, Delays
from hotbunk.simulator.simulation import Subject
from hotbunk.traces import Request, Trace


@dataclass(frozen=True)
class Invented:
    """Seconds: of a step (and of each sequence and each 1,000 tokens in it), of a prompt's token, of moves."""

    step: float = 0.01
    each: float = 0.001
    thousand: float = 0.002
    token: float = 0.0001
    promotion: float = 0.5
    calling: float = 0.0
    making: float = 0.1
    leaving: float = 0.05
    kv: float = 0.02
    weights: int = 10

    def decode(self, placement: Placement, contexts: Sequence[int]) -> Estimate:
        return _sure(self.step + self.each * len(contexts) + self.thousand * padded(max(contexts)) / 1000)

    def chunk(self, placement: Placement, start: int, tokens: int, beside: int = 0) -> Estimate:
        return _sure(self.token * tokens)

    def promote(self, placement: Placement, before: Placement | None = None, pinned: bool = True) -> Estimate:
        return _sure(self.promotion if pinned else 4 * self.promotion)

    def calls(self, placement: Placement, before: Placement | None = None, pinned: bool = True) -> Estimate:
        return _sure(self.calling)

    def context(self, placement: Placement) -> Estimate:
        return _sure(self.making)

    def unload(self, placement: Placement) -> Estimate:
        return _sure(self.leaving)

    def kv_out(self, placement: Placement, tokens: int, pinned: bool = True) -> Estimate:
        return _sure(self.kv)

    def kv_in(self, placement: Placement, tokens: int, pinned: bool = True) -> Estimate:
        return _sure(self.kv)

    def state(self, tokens: int) -> int:
        return 10 * tokens


class Everything:
    """A host store that has all models, or none."""

    def __init__(self, there: bool = True) -> None:
        self._there = there

    def has(self, model: str, now: float) -> bool:
        return self._there

    def loaded(self, model: str, now: float) -> None:
        pass

    def unloaded(self, model: str, now: float) -> None:
        pass


LIVE = Live(Everything())


def subject(name: str, size: int = 10, slots: int = 2, costs: Invented = Invented()) -> Subject:
    return Subject(name, replace(costs, weights=size), (Placement(10, 4096, slots, Footprint(size)),))


@st.composite
def subjects(draw: st.DrawFn, names: Sequence[str], costs: Invented) -> tuple[Subject, ...]:
    """Models of these names, with bounds that hold: up to three placements of each, maybe with one KV cache for all."""
    return tuple([draw(_subjects(name, costs)) for name in names])


@st.composite
def _subjects(draw: st.DrawFn, name: str, costs: Invented) -> Subject:
    sizes = sorted(draw(st.sets(st.integers(1, 10), min_size=1, max_size=3)), reverse=True)
    slots, cached = draw(st.integers(1, 4)), draw(st.none() | st.just(sizes[0]))
    fewer = draw(st.integers(1, slots))  # at all but the best
    places = tuple(Placement(s, 4096, slots if s == sizes[0] else fewer, Footprint(s), cached=cached) for s in sizes)
    each = draw(st.sampled_from((0.0002, 0.002)))  # what a step takes longer for each layer that is not there
    load = draw(st.sampled_from((0.6, 3.0)))  # where it is dear, models are split
    rates = tuple(Rates(0.01 + each * (sizes[0] - s), 0.001, 0.0001, load, 0.05) for s in sizes)
    known, priority = draw(st.booleans()), draw(st.integers(0, 1))
    costs = replace(costs, weights=sizes[0])
    return Subject(name, costs, places, priority, rates=rates if known else (), bounds=(3.0, 0.5))


def case(trace: Trace, subjects: Sequence[Subject], moving: Moving = LIVE, delays: Delays = DELAYS) -> Case:
    """On a device of ten bytes."""
    return Case(trace, tuple(subjects), 10, lambda: moving, delays)


@st.composite
def traces(draw: st.DrawFn, models: Sequence[str], most: int = 30) -> Trace:
    """Requests for these models, some of which follow the answer to another one."""
    rows: list[Request] = []
    clock = 0.0
    for row in range(draw(st.integers(1, most))):
        model = draw(st.sampled_from(models))
        lengths = draw(st.integers(1, 1500)), draw(st.integers(1, 400))
        after = draw(st.none() | st.integers(0, row - 1)) if row else None
        gap = draw(st.floats(0.0, 3.0))
        clock += gap if after is None else 0.0
        rows.append(Request(gap if after is not None else clock, model, *lengths, after))
    return Trace.of("drawn", rows, models)


def _sure(seconds: float) -> Estimate:
    return Estimate(seconds, seconds, seconds)
