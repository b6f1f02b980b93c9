"""Switch, split or wait: what is best for a request to model B while model A is answering another one.

A has the device to itself, one sequence with ``P`` tokens behind it and ``R`` left to generate; B's request has ``P``
tokens of prompt too, and will generate ``O``. ``d(c)`` [s] is a decode step at a context of ``c`` tokens, so ``n``
tokens after ``c`` take ``n d(c + n / 2)``. Undisturbed, each at its best placement and loaded, the two would take

    alone_A = R d_A        alone_B = prefill_B + O d_B

The three ways, and when each request ends:

    wait      A ends at R d_A;  B at  R d_A + unload_A + load_B + alone_B
    switch    B ends at  kv_out_A + unload_A + load_B + alone_B;
              A at  B's end + unload_B + load_A + kv_in_A + R d_A
    split     A shrinks to A', B is loaded beside it as B' (seconds of kv_out_A + resize_A + kv_in_A + load_B'); they
              take turns, one step each, so a token of both takes d_A' + d_B', and while B is prefilled A gets a
              token for each of its chunks. Who is left at the end stays as it is, or takes the whole device (unload
              of the other, kv_out, resize, kv_in), whatever is sooner.

Of all splits that fit the budget, the one with the least delay counts. The best way is the one with the least total
delay of both requests, (end_A - alone_A) + (end_B - alone_B) [s]: they count alike. Where both fit at their best
(``Contest.together``), there is nothing to decide: B is loaded once, and both stay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from math import ceil
from typing import Literal

from hotbunk.costs.plan import Candidate, Rung
from hotbunk.costs.steps import CHUNK, PAD
from hotbunk.placement import Placement

__all__ = ["Contest", "Outcome", "Way", "segments"]

Way = Literal["wait", "switch", "split"]
_FINENESS = 1.08  # how far apart the lengths are at which segments are looked for


@dataclass(frozen=True, slots=True)
class Outcome:
    """What comes of a way: when B's request and A's end, and the delay of both together, all in seconds.

    ``placements`` are A's and B's meanwhile.
    """

    way: Way
    end: float
    other: float
    delay: float
    placements: tuple[Placement, Placement]


class _Curve:
    """Seconds as a function of tokens of context, asked for at multiples of ``PAD``, once each, and linear between."""

    def __init__(self, seconds: Callable[[int], float]) -> None:
        self._seconds = seconds
        self._known: dict[int, float] = {}

    def __call__(self, tokens: float) -> float:
        whole, part = divmod(tokens, PAD)
        low, high = self._at(int(whole)), self._at(int(whole) + 1)
        return low + (high - low) * part / PAD

    def _at(self, tiles: int) -> float:
        if tiles not in self._known:
            self._known[tiles] = self._seconds(max(1, tiles * PAD))
        return self._known[tiles]


class _Standing:
    """A model at one of its placements: ``step`` of one sequence, its KV cache's way ``out`` and ``back``; seconds."""

    def __init__(self, candidate: Candidate, rung: Rung) -> None:
        self.rung, self.place = rung, rung.placement
        self.prefill, self.load, self.unload = rung.prefill.seconds, rung.load.seconds, rung.unload.seconds
        self._costs, self._pinned = candidate.costs, candidate.pinned
        costs, place, pinned = self._costs, self.place, self._pinned
        self.step = _Curve(lambda tokens: costs.decode(place, [tokens]).seconds)
        self.out = _Curve(lambda tokens: costs.kv_out(place, tokens, pinned=pinned).seconds)
        self.back = _Curve(lambda tokens: costs.kv_in(place, tokens, pinned=pinned).seconds)
        self._resizes: dict[Placement, float] = {}

    def decode(self, start: int, count: int) -> float:
        """``count`` tokens of one sequence with ``start`` behind it."""
        return count * self.step(start + count / 2)

    def resized(self, to: _Standing, tokens: int) -> float:
        """Another placement, with a sequence of so many tokens carried over."""
        if to.place == self.place:
            return 0.0
        if to.place not in self._resizes:
            resize = self._costs.load(to.place, before=self.place, pinned=self._pinned)
            self._resizes[to.place] = resize.seconds
        return self.out(tokens) + self._resizes[to.place] + to.back(tokens)


class Contest:
    """Model A against model B: A runs with ``prompt`` tokens behind it, a prompt of as many comes for B."""

    def __init__(
        self,
        first: tuple[Candidate, tuple[Rung, ...]],
        second: tuple[Candidate, tuple[Rung, ...]],
        prompt: int,
        budget: int,
    ) -> None:
        """Each model with its rungs, the best first."""
        self._prompt, self._budget = prompt, budget
        self._ours = [_Standing(first[0], rung) for rung in first[1]]
        self._theirs = [_Standing(second[0], rung) for rung in second[1]]
        self.names = (first[0].name, second[0].name)
        self.most = min(self._ours[0].place.context, self._theirs[0].place.context) - prompt

    @property
    def together(self) -> bool:
        """Whether both fit at their best, so that none has to go or to shrink for the other."""
        return self._ours[0].rung.device + self._theirs[0].rung.device <= self._budget

    @cached_property
    def splits(self) -> list[tuple[_Standing, _Standing]]:
        """The pairs of placements that fit together: for each of A's, the best of B's."""
        found = []
        for ours in self._ours:
            room = self._budget - ours.rung.device
            theirs = next((each for each in self._theirs if each.rung.device <= room), None)
            if theirs:
                found.append((ours, theirs))
        return found

    def best(self, left: int, output: int) -> Outcome:
        """The way with the least delay, where A has ``left`` tokens to go and B's request is for ``output``."""
        return min(self.outcomes(left, output), key=lambda outcome: outcome.delay)

    def outcomes(self, left: int, output: int) -> list[Outcome]:
        """Every way that there is, each at its best."""
        return [self._wait(left, output), self._switch(left, output), *self._split(left, output)]

    def _alone(self, left: int, output: int) -> tuple[float, float]:
        ours, theirs = self._ours[0], self._theirs[0]
        return ours.decode(self._prompt, left), theirs.prefill + theirs.decode(self._prompt, output)

    def _outcome(self, way: Way, ends: tuple[float, float], alone: tuple[float, float], *at: _Standing) -> Outcome:
        delay = ends[0] - alone[0] + ends[1] - alone[1]
        return Outcome(way, ends[1], ends[0], delay, (at[0].place, at[1].place))

    def _wait(self, left: int, output: int) -> Outcome:
        ours, theirs, alone = self._ours[0], self._theirs[0], self._alone(left, output)
        ends = alone[0], alone[0] + ours.unload + theirs.load + alone[1]
        return self._outcome("wait", ends, alone, ours, theirs)

    def _switch(self, left: int, output: int) -> Outcome:
        ours, theirs, alone = self._ours[0], self._theirs[0], self._alone(left, output)
        end = ours.out(self._prompt) + ours.unload + theirs.load + alone[1]
        ends = end + theirs.unload + ours.load + ours.back(self._prompt) + alone[0], end
        return self._outcome("switch", ends, alone, ours, theirs)

    def _split(self, left: int, output: int) -> Iterator[Outcome]:
        alone = self._alone(left, output)
        found = [self._outcome("split", self._share(*pair, left, output), alone, *pair) for pair in self.splits]
        if found:
            yield min(found, key=lambda outcome: outcome.delay)

    def _share(self, ours: _Standing, theirs: _Standing, left: int, output: int) -> tuple[float, float]:
        """When A's request and B's end if they take turns at these placements."""
        start = self._prompt
        chunks = min(ceil(start / CHUNK), left)
        now = self._ours[0].resized(ours, start) + theirs.load + theirs.prefill + ours.decode(start, chunks)
        left, done = left - chunks, chunks
        both = min(left, output)
        now += ours.decode(start + done, both) + theirs.decode(start, both)
        first = now + self._rest(ours, self._ours[0], theirs, start + done + both, left - both)
        second = now + self._rest(theirs, self._theirs[0], ours, start + both, output - both)
        return first, second

    @staticmethod
    def _rest(mine: _Standing, best: _Standing, other: _Standing, start: int, count: int) -> float:
        """The rest of an answer, when the other's is over."""
        if not count:
            return 0.0
        grown = other.unload + mine.resized(best, start) + best.decode(start, count)
        return min(mine.decode(start, count), grown)


def segments(contest: Contest, left: int) -> list[tuple[int, Way]]:
    """Which way is best from which output length on, where A has ``left`` tokens to go; from 1 to what B's slot holds.

    Lengths are looked at a few per cent apart, and a change between two of them is then found exactly.
    """
    found: list[tuple[int, Way]] = [(1, contest.best(left, 1).way)]
    length = 1
    while length < contest.most:
        further = min(contest.most, max(length + 1, int(length * _FINENESS)))
        if (way := contest.best(left, further).way) != found[-1][1]:
            found.append((_change(contest, left, length, further), way))
        length = further
    return found


def _change(contest: Contest, left: int, low: int, high: int) -> int:
    """The first length at which the way is no more that of ``low``."""
    way = contest.best(left, low).way
    while high - low > 1:
        middle = (low + high) // 2
        if contest.best(left, middle).way == way:
            low = middle
        else:
            high = middle
    return high
