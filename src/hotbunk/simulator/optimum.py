"""The offline optimum of a small case: the best schedule there is if all arrivals and lengths are known beforehand.

A **schedule** is the list of what was chosen at each moment at which there was a choice; ``choices`` says what can be
chosen and when. It is played on the very device that contenders are simulated on, so that their figures compare to the
microsecond. The search is *best first, by replaying*: since nothing else than the choices decides what happens, the
beginning of a schedule stands for the state to which it leads, and no state needs to be copied.

1. Take the beginning whose lower bound (``outlook``) is least; stop if that is not below the best schedule known.
2. Replay it, and go on with the first choice wherever there is one; put each other choice of those places, as another
   beginning, with the bound of the place, aside for 1.
3. At each such place, give up if its bound is not below the best; at the end, see whether this one is better.

When the search stops by itself, the best found is within ``tolerance`` of the best of all schedules of ``choices``:
whatever was given up has a lower bound that is no better by more than that. If it is cut short (``most`` runs), the
least bound of what was put aside is still a proven bound for all of them (``least``). ``outlook.lowest`` is one for
any schedule at all: also for those that ``choices`` leaves out, which resize, decide between events, or leave the
device idle on purpose.

A schedule's **score** is its number of requests that miss their SLO (0 if there is none), then the sum of latencies.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from math import inf

from hotbunk.outcomes.metrics import Times
from hotbunk.outcomes.outcome import Run
from hotbunk.outcomes.slo import Slos
from hotbunk.scheduler.snapshot import Snapshot
from hotbunk.simulator.case import Case
from hotbunk.simulator.choices import Choice, Choices
from hotbunk.simulator.floor import Score
from hotbunk.simulator.outlook import Outlook

__all__ = ["Optimum", "optimum", "score"]


@dataclass(frozen=True)
class Optimum:
    """The best schedule found.

    No schedule of ``choices`` has a score below ``least``. ``complete``: the search has come to its end, so that the
    run is the best within the tolerance. ``runs`` were simulated for it.
    """

    run: Run
    score: Score
    least: Score
    complete: bool
    runs: int


def score(run: Run, slos: Slos | None = None) -> Score:
    """How good a run was; less is better."""
    times = Times(run, slos or Slos())
    missed = int((~times.met).sum()) if slos else 0
    return missed, float(times.latency.sum()) if times.done.all() else inf


def optimum(
    case: Case,
    slos: Slos | None = None,
    *,
    known: Sequence[Run] = (),
    foresight: bool = True,
    grid: float = inf,
    tolerance: float = 0.0,
    most: int = 10_000,
) -> Optimum:
    """Search for the schedule with the least score.

    ``known`` runs of the case are where it starts from. With ``foresight`` a model may be loaded before there is a
    request for it. ``tolerance`` is relative to the sum of latencies; ``most`` is how many runs may be simulated.

    Raises:
        ConfigError: a request follows an answer, or fits no slot.
    """
    search = _Search(case.remembering(), slos, foresight, grid, tolerance)
    for run in known:
        search.consider(run)
    return search.search(most)


class _Hopeless(Exception):
    """This beginning cannot lead to anything better."""


class _Search:
    def __init__(self, case: Case, slos: Slos | None, foresight: bool, grid: float, tolerance: float) -> None:
        self._case, self._slos, self._tolerance = case, slos, tolerance
        self._outlook = Outlook(case, slos, foresight)
        self._foresight, self._grid = foresight, grid
        self._aside: list[tuple[Score, int, int, tuple[Choice, ...]]] = []
        self._ticket = count()
        self._best: Run | None = None
        self._score: Score = (len(case.trace) + 1, inf)
        self._given_up = self._score  # the least bound of what was

    def consider(self, run: Run) -> None:
        """Keep a run if it is the best so far."""
        if (found := score(run, self._slos)) < self._score:
            self._best, self._score = run, found

    def search(self, most: int) -> Optimum:
        self._put(self._outlook.first(), ())
        runs = 0
        while self._aside and self._promising(self._aside[0][0]) and runs < most:
            bound, _, _, beginning = heapq.heappop(self._aside)
            self._play(bound, beginning)
            runs += 1
        complete = not (self._aside and self._promising(self._aside[0][0]))
        least = min([self._score, self._given_up, *(each[0] for each in self._aside[:1])])
        assert self._best, "nobody is refused, and the first choice is always to go on"
        return Optimum(self._best, self._score, least, complete, runs)

    def _promising(self, bound: Score) -> bool:
        return (bound[0], bound[1] * (1 + self._tolerance) + 1e-9) < self._score

    def _put(self, bound: Score, beginning: tuple[Choice, ...]) -> None:
        """Of equal bounds the longest beginning is taken first, since least is left of it."""
        heapq.heappush(self._aside, (bound, -len(beginning), next(self._ticket), beginning))

    def _play(self, bound: Score, beginning: tuple[Choice, ...]) -> None:
        """Replay a beginning and go on with first choices."""

        def ask(snapshot: Snapshot, choices: list[Choice]) -> Choice:
            nonlocal bound
            bound = max(bound, self._outlook.of(simulation, snapshot))
            if not self._promising(bound):
                self._given_up = min(self._given_up, bound)
                raise _Hopeless
            for other in choices[1:]:
                self._put(bound, (*policy.path, other))
            return choices[0]

        policy = Choices(self._case.trace, beginning, ask, self._foresight, self._grid)
        simulation = self._case.simulation("optimum", policy)
        try:
            self.consider(simulation.run())
        except _Hopeless:
            return
