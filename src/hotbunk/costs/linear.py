"""Costs as sums of a few terms, each a share of time with a meaning, and each scaled to what was measured.

A point is described by a row ``x``: for each term ``j`` the seconds that the roofline gives it. What it takes is

    t = sum_j u_j x_j        u_j >= FLOOR: how many times slower than the roofline the term really is

so the prior is ``u = 1``, and the sum of the row is its estimate. Measured points ``(x_i, y_i)`` move the factors:

    minimise  sum_i w_i ((x_i u - y_i) / (z_i s))^2  +  sum_j ((u_j - m_j) / sure_j)^2

with relative errors, since what is to be foretold spans microseconds to minutes: ``z_i`` is the larger of ``y_i`` and
the last round's ``x_i u``, so that a point that is many times too short pulls no harder than one that is too long, and
neither by more than its whole. ``m_j`` is 1, or the factor of the
term that ``j`` is ``like`` (the next batch size's bandwidth is about the last one's). ``s`` is the relative spread of
what is left, found with the weights ``w_i`` in a few rounds: points farther off than usual count less, and so does a
prior that the points contradict (as Cauchy's distribution has it: a roofline is wrong by little or by a lot). A
direction in which nothing was measured keeps its prior, and its uncertainty.

Intervals hold 90 % of single measurements: ``t * exp(+-q * sqrt(s^2 + x C x / t^2))`` with ``C`` the covariance of
the factors and ``q`` Student's quantile for the degrees of freedom that are left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import exp, sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls
from scipy.special import stdtrit

__all__ = ["Array", "Estimate", "Fit", "Term", "fit"]

Array = NDArray[np.float64]

FLOOR = 0.01  # factors: nothing takes no time
_COVERED = 0.9
_ROUNDS, _PLAIN = 10, 3  # and those of them in which all points count alike
_TIMID = 0.05  # share of its strength that the prior has in the first round
_OUTLIER = 2.5  # spreads from which on a point counts less
_USUAL, _POINTS = 0.05, 2.0  # relative spread taken for granted before anything is measured, worth so many points
_WIDEST = 10.0  # logarithm of the widest interval: nothing is known then
_LEAST = 0.003  # no measurement repeats better than this


@dataclass(frozen=True, slots=True)
class Term:
    """A share of the time: ``unit`` is that of its amount (``B``, ``mul``, ``s`` for a fixed time, ``1`` for a count).

    ``sure``: by how much its factor usually differs from 1, or from that of the term it is ``like``.
    """

    name: str
    meaning: str
    unit: str
    sure: float = 0.3
    like: str = ""


@dataclass(frozen=True, slots=True)
class Estimate:
    """Seconds, and the interval that holds nine in ten measurements."""

    seconds: float
    low: float
    high: float

    def __add__(self, other: Estimate) -> Estimate:
        """One after the other, each as uncertain as before: squares of the half widths add up."""
        total = self.seconds + other.seconds
        below = sqrt((self.seconds - self.low) ** 2 + (other.seconds - other.low) ** 2)
        above = sqrt((self.high - self.seconds) ** 2 + (other.high - other.seconds) ** 2)
        return Estimate(total, total - below, total + above)

    def times(self, count: float) -> Estimate:
        """So many of them, all off by the same."""
        return Estimate(count * self.seconds, count * self.low, count * self.high)


@dataclass(frozen=True)
class Fit:
    """Factors of the terms named, their covariance, and the relative spread of points around them.

    ``count`` points were used; ``freedom`` of them are left after the factors took theirs.
    """

    names: tuple[str, ...]
    factors: tuple[float, ...]
    covariance: tuple[tuple[float, ...], ...]
    spread: float
    count: int = 0
    freedom: float = _POINTS

    @cached_property
    def _factors(self) -> Array:
        return np.array(self.factors)

    @cached_property
    def _covariance(self) -> Array:
        return np.array(self.covariance)

    @cached_property
    def _quantile(self) -> float:
        # a prior's spread is a guess by itself and no sample, so few points do not widen it without end
        return float(stdtrit(max(self.freedom, 4.0), (1 + _COVERED) / 2))

    def over(self, names: Sequence[str]) -> Fit:
        """The same over these terms; those it does not know take no time, since they are in what it does know.

        Raises:
            ValueError: it knows one that is not among them.
        """
        if unknown := set(self.names) - set(names):
            raise ValueError(f"no such term: {', '.join(sorted(unknown))}")
        places = [names.index(name) for name in self.names]
        factors, covariance = np.zeros(len(names)), np.zeros((len(names), len(names)))
        factors[places], covariance[np.ix_(places, places)] = self.factors, self.covariance
        return replace(self, names=tuple(names), factors=tuple(factors.tolist()), covariance=_packed(covariance))

    def deviation(self, row: Array) -> float:
        """How uncertain the expected time is, relative to itself; the spread of single measurements is not in it."""
        seconds = float(row @ self._factors)
        return sqrt(max(float(row @ self._covariance @ row), 0.0)) / seconds if seconds else 0.0

    def predict(self, row: Array) -> Estimate:
        """What a point takes.

        Args:
            row: seconds that the roofline gives each term, shape (terms,), not all zero.
        """
        seconds = float(row @ self._factors)
        reach = exp(min(self._quantile * sqrt(self.spread**2 + self.deviation(row) ** 2), _WIDEST))
        return Estimate(seconds, seconds / reach, seconds * reach)

    def errors(self) -> Array:
        """Standard errors of the factors."""
        return np.sqrt(np.diag(self._covariance))


def fit(terms: Sequence[Term], rows: Array, seconds: Array, weights: Array | None = None) -> Fit:
    """Fit the terms' factors to measured points; with no point it is the prior.

    Args:
        terms: what a row consists of.
        rows: seconds by the roofline, shape (points, terms), none negative.
        seconds: measured, shape (points,), positive.
        weights: how much each point counts, shape (points,); 1 if not given.
    """
    names = tuple(term.name for term in terms)
    anchor, wanted = _anchor(terms)
    given = np.ones(len(seconds)) if weights is None else weights
    rows, factors = rows.reshape(-1, len(terms)), np.ones(len(terms))
    trust, spread, faith = given.copy(), _USUAL, np.full(len(terms), _TIMID)
    for turn in range(_ROUNDS):
        larger = np.maximum(seconds, rows @ factors)
        relative, measured = rows / larger[:, None], seconds / larger
        scale, belief = np.sqrt(trust) / spread, np.sqrt(faith)
        matrix = np.vstack([relative * scale[:, None], anchor * belief[:, None]])
        # factors above the floor: nnls knows no other bound than zero
        goal = np.concatenate([scale * measured, wanted * belief]) - matrix.sum(axis=1) * FLOOR
        factors = nnls(matrix, goal)[0] + FLOOR
        inverse = np.linalg.pinv(matrix, rcond=1e-14)  # squaring the matrix would square what rounding does to it
        covariance = inverse @ inverse.T
        left = relative @ factors - measured
        used = float(np.einsum("ij,jk,ik->", matrix[: len(left)], covariance, matrix[: len(left)]))
        freedom = max(float(trust.sum()) - used, 0.0)
        spread = sqrt((float(trust @ left**2) + _POINTS * _USUAL**2) / (freedom + _POINTS))
        spread = max(spread, _LEAST)
        faith = 1 / (1 + (anchor @ factors - wanted) ** 2)
        if turn >= _PLAIN:
            trust = given * np.minimum(1.0, _OUTLIER * spread / np.maximum(np.abs(left), 1e-12)) ** 2
    return Fit(names, tuple(map(float, factors)), _packed(covariance), spread, len(seconds), freedom + _POINTS)


def _packed(matrix: Array) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(map(float, line)) for line in matrix)


def _anchor(terms: Sequence[Term]) -> tuple[Array, Array]:
    """The prior as equations: a matrix of shape (terms, terms) and its right side."""
    matrix, goal = np.zeros((len(terms), len(terms))), np.zeros(len(terms))
    places = {term.name: place for place, term in enumerate(terms)}
    for place, term in enumerate(terms):
        matrix[place, place] = 1 / term.sure
        if term.like:
            matrix[place, places[term.like]] = -1 / term.sure
        else:
            goal[place] = 1 / term.sure
    return matrix, goal
