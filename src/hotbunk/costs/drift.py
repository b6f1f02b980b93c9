"""Drift: whether measurements have left what was foretold of them, on which side, since when and by what factor.

A two-sided cumulative sum of the log ratios ``x = log(measured / foretold)`` (Page, Continuous inspection schemes,
Biometrika 1954; for reading: Montgomery, Introduction to Statistical Quality Control, chapter on CUSUM charts). On the
slow side, and with ``-x`` for ``x`` on the fast one,

    S <- min(max(0, S + clip((x - slack) / s, -BITE, BITE)), LIMIT)        slack = max(log(NOTABLE) / 2, s) + 2 d

``s`` is the spread of single measurements and ``d`` the standard deviation of what was foretold, both of the fit and
relative; a fit that may itself be off by ``2 d`` is not contradicted by that much. The slack is half the shift that is
looked for, where a CUSUM finds it soonest, and at least one spread. A drift begins when ``S`` reaches ``LIMIT`` spreads
and is over when it is back at 0. ``S`` cannot grow beyond, so that a long drift ends as soon as a short one.

How often that is wrong: by Siegmund's approximation (Sequential Analysis, 1985) the run length of a one-sided CUSUM on
normal points is (exp(2 k b) - 2 k b - 1) / (2 k^2), ``b = h + 1.166``; with a slack ``k`` of one spread and a limit
``h`` of 6 that is 800,000 points, and more where the slack is more. Clipping (a winsorised CUSUM) only lengthens it,
and makes of any outlier, however far, no more than a third of the way: three in a row are the fewest that count.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from math import exp, log
from statistics import median

__all__ = ["BITE", "LIMIT", "NOTABLE", "Drift", "Watch"]

NOTABLE = 1.25
"""A factor that is worth a word: plans made with costs that are off by less still hold, about."""
LIMIT = 6.0
"""Spreads that the sum must reach."""
BITE = 2.0
"""Spreads that one point may add to it, or take from it."""
_RECENT = 16  # points of whose ratios the median is the factor


@dataclass(frozen=True, slots=True)
class Drift:
    """Measurements take ``factor`` times what was foretold, ``since`` a moment of the points' clock, in ``count``."""

    factor: float
    since: float
    count: int


class _Side:
    """One side's sum; ``sign`` is 1 for slower, -1 for faster."""

    def __init__(self, sign: float) -> None:
        self.off = False
        self._sign, self._sum, self._since, self._count = sign, 0.0, 0.0, 0
        self._recent: deque[float] = deque(maxlen=_RECENT)

    def hear(self, ratio: float, spread: float, slack: float, at: float) -> None:
        if not self._sum:  # it begins here, if it does
            self._since, self._count = at, 0
            self._recent.clear()
        step = (self._sign * ratio - slack) / spread
        self._sum = min(max(0.0, self._sum + min(max(step, -BITE), BITE)), LIMIT)
        self._count += 1
        self._recent.append(ratio)
        self.off = self._sum >= LIMIT or (self.off and self._sum > 0)

    @property
    def drift(self) -> Drift:
        return Drift(exp(median(self._recent)), self._since, self._count)


class Watch:
    """Watches the points of one kind."""

    def __init__(self) -> None:
        self._sides = (_Side(1.0), _Side(-1.0))

    def hear(self, ratio: float, spread: float, deviation: float, at: float) -> None:
        """One more point.

        Args:
            ratio: measured by foretold.
            spread: of single measurements, relative, positive.
            deviation: standard deviation of what was foretold, relative.
            at: when, in seconds of any clock.
        """
        slack = max(log(NOTABLE) / 2, spread) + 2 * deviation
        for side in self._sides:
            side.hear(log(ratio), spread, slack, at)

    @property
    def drift(self) -> Drift | None:
        """The drift under way; None: all is as foretold."""
        return next((side.drift for side in self._sides if side.off), None)
