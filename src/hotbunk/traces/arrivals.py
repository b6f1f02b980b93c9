"""When synthetic requests arrive: at a mean rate, evenly or in bursts, by day and by night.

Intervals are drawn in a time of their own, in which the rate is 1, with a mean of 1 and a given coefficient of
variation ``c``; the ends of the intervals are

    s_i = g_1 + ... + g_i        g ~ Gamma(shape 1/c^2, scale c^2)        c = 1: Poisson        c = 0: all g are 1

The rate at time ``t`` is the mean rate ``r``, times what a burst and the hour make of it:

    rate(t)  = r * burst(t) * (1 + a sin(2 pi t / P))
    burst(t) = f b while ON, b while OFF        b = (on + off) / (f on + off), so that its mean is 1

ON and OFF take turns, their durations exponential with the means ``on`` and ``off``; which of both is first is left to
chance, in proportion to them. A request arrives when the requests expected until then are as many as its ``s``:

    t_i = L^-1(s_i)        L(t) = integral of rate from 0 to t

For Poisson arrivals that has the law of thinning them; unlike thinning, it lets other ones keep their variation. ``L``
is exact at the ends of all ON and OFF, and at 200 points of each period ``P``; it is linear between them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hotbunk.traces.trace import Floats

__all__ = ["Arrivals", "Burst", "Swing"]

_POINTS = 200  # of a period
_EVEN = 1e-6  # a coefficient of variation below which intervals are equal


@dataclass(frozen=True, slots=True)
class Burst:
    """Mean seconds ON and OFF, and how many times the rate while OFF the rate while ON is."""

    on: float
    off: float
    factor: float

    def __post_init__(self) -> None:
        assert self.on > 0
        assert self.off > 0
        assert self.factor >= 0


@dataclass(frozen=True, slots=True)
class Swing:
    """A rate that swings like a sine: its period in seconds, and by which share it rises and falls."""

    period: float
    amplitude: float

    def __post_init__(self) -> None:
        assert self.period > 0
        assert 0 <= self.amplitude <= 1


@dataclass(frozen=True, slots=True)
class Arrivals:
    """Mean rate in requests/s, and the coefficient of variation of intervals where the rate is steady."""

    rate: float
    cv: float = 1.0
    burst: Burst | None = None
    swing: Swing | None = None

    def __post_init__(self) -> None:
        assert self.rate > 0
        assert self.cv >= 0

    def times(self, seed: int, count: int | None, duration: float | None) -> Floats:
        """Seconds at which requests arrive, in order: so many, or those before that; with both, whichever is less.

        The same seed gives the same arrivals, however many are asked for.
        """
        assert count is not None or duration is not None
        intervals, pace = (np.random.SeedSequence(seed, spawn_key=(0, part)) for part in range(2))
        random = np.random.default_rng(intervals)
        if count is None:
            assert duration is not None
            points, expected = self._curve(pace, duration)
            ends = self._until(random, expected[-1])
        else:
            ends = np.cumsum(self._intervals(random, count))
            points, expected = self._reaching(pace, float(ends[-1]) if count else 0.0)
        times = np.interp(ends, expected, points)
        return times if duration is None else times[times < duration]

    def _until(self, random: np.random.Generator, expected: float) -> Floats:
        """Ends of intervals, before so many are expected."""
        ends = np.zeros(1)
        while ends[-1] < expected:
            some = int(expected - ends[-1]) + 100
            ends = np.concatenate([ends, ends[-1] + np.cumsum(self._intervals(random, some))])
        return ends[1:][ends[1:] < expected]

    def _intervals(self, random: np.random.Generator, count: int) -> Floats:
        if self.cv < _EVEN:
            return np.ones(count)
        spread = self.cv**2
        return random.gamma(1 / spread, spread, count)

    def _reaching(self, pace: np.random.SeedSequence, expected: float) -> tuple[Floats, Floats]:
        """The curve, as long as it takes until so many are expected."""
        horizon = expected / self.rate + 1
        while (curve := self._curve(pace, horizon))[1][-1] < expected:
            horizon *= 2
        return curve

    def _curve(self, pace: np.random.SeedSequence, horizon: float) -> tuple[Floats, Floats]:
        """Times from 0 to ``horizon`` or a little more, and the requests expected until then (``L``)."""
        grid = np.array([horizon])
        if self.swing:  # whole steps, past the horizon: a line to the horizon itself would be another one
            step = self.swing.period / _POINTS
            grid = np.arange(0, horizon + step, step)
        changes, levels = self._turns(np.random.default_rng(pace), float(grid[-1]))
        points = np.union1d(changes, grid)
        swung = np.zeros(1)
        if self.swing:
            turn = 2 * np.pi / self.swing.period
            swung = self.swing.amplitude * (1 - np.cos(turn * points)) / turn
        level = levels[np.searchsorted(changes, points[:-1], side="right") - 1]
        steps = self.rate * level * np.diff(points + swung)
        return points, np.concatenate([[0.0], np.cumsum(steps)])

    def _turns(self, random: np.random.Generator, horizon: float) -> tuple[Floats, Floats]:
        """When ON and OFF begin, before ``horizon``, and how many times the mean rate comes then."""
        if self.burst is None:
            return np.zeros(1), np.ones(1)
        on, off, factor = self.burst.on, self.burst.off, self.burst.factor
        low = (on + off) / (factor * on + off)
        both = np.array([[on, factor * low], [off, low]])
        if random.random() * (on + off) >= on:
            both = both[::-1]
        lasts = np.zeros(0)
        while lasts.sum() <= horizon:
            pairs = int((horizon - lasts.sum()) / (on + off)) + 10
            lasts = np.concatenate([lasts, random.exponential(size=2 * pairs) * np.tile(both[:, 0], pairs)])
        changes = np.concatenate([[0.0], np.cumsum(lasts)])
        changes = changes[changes < horizon]
        return changes, np.resize(both[:, 1], len(changes))
