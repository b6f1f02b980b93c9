"""The figures of a run; live and simulated runs go through the same ones. Times are seconds, rates per second.

Of each request, with the columns of ``Outcomes``:

- TTFT = first - arrived: from its coming to its first token.
- TPOT = (ended - first) / (tokens - 1): from token to token; a request of one token has none.
- latency = ended - arrived: from its coming to its last token.
- wait = started - arrived: from its coming until it was given a slot.

Their means and quantiles are over the requests that are done. A request has **come** if it arrived; one that follows an
answer that never was has not. Of the requests that came (with D the run's duration):

- attainment: the share that met its SLO, which is done with TTFT and TPOT within their limits. Who was refused, failed,
  or is open when the run ends has missed it.
- goodput = requests that met their SLO / D.
- throughput: requests done / D; tokens generated / D, also of those not done; prompt tokens / D of those whose first
  token came, since then the prompt has been read.
- preemptions of a request: the mean; their rate is by minute.

Of the device: computing, moving = seconds of it / D; idle = 1 - busy / D, in which neither was under way.

Between models: Jain's index of their attainments x, (sum x)^2 / (n * sum x^2): 1 if all fare alike, 1/n if one has all
(Jain, Chiu, Hawe 1984); 1 too if none of them meets anything. ``worst`` is the least of them. NaN: it is not known, or
there is nothing to take it of.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from math import isnan, nan

import numpy as np
from numpy.typing import NDArray

from hotbunk.outcomes.outcome import Fate, Run, Usage
from hotbunk.outcomes.slo import Slo, Slos
from hotbunk.traces.trace import Floats

__all__ = ["Figures", "Spread", "Summary", "Times", "errors", "jain", "summarise"]


@dataclass(frozen=True, slots=True)
class Spread:
    """Seconds: mean, median, 95th and 99th percentile, and the most."""

    mean: float = nan
    p50: float = nan
    p95: float = nan
    p99: float = nan
    most: float = nan

    @classmethod
    def of(cls, values: Floats) -> Spread:
        """Over those that are known; quantiles lie between the two nearest values."""
        known = values[~np.isnan(values)]
        if not len(known):
            return cls()
        p50, p95, p99 = map(float, np.percentile(known, (50, 95, 99)))
        return cls(float(known.mean()), p50, p95, p99, float(known.max()))


@dataclass(frozen=True, slots=True)
class Figures:
    """What became of some requests; the module says what each figure is. ``requests`` counts those that came."""

    requests: int
    done: int
    refused: int
    failed: int
    open: int
    ttft: Spread
    tpot: Spread
    latency: Spread
    wait: Spread
    attainment: float
    goodput: float
    rate: float
    output: float
    prompt: float
    preemptions: float

    @property
    def preempted(self) -> float:
        """Preemptions of a request, the mean."""
        return self.preemptions / self.requests if self.requests else nan


@dataclass(frozen=True)
class Summary:
    """A run in figures. ``models`` has those of which something was asked."""

    name: str
    trace: str
    duration: float
    usage: Usage
    all: Figures
    models: Mapping[str, Figures]

    @property
    def computing(self) -> float:
        """Share of the time in which an evaluation was under way."""
        return self._share(self.usage.computing)

    @property
    def moving(self) -> float:
        """Share of the time in which a move was under way."""
        return self._share(self.usage.moving)

    @property
    def idle(self) -> float:
        """Share of the time in which neither was."""
        return 1 - self._share(self.usage.busy)

    @property
    def preemption_rate(self) -> float:
        """Preemptions per minute."""
        return 60 * self._share(self.all.preemptions)

    @cached_property
    def fairness(self) -> float:
        """Jain's index of the models' attainments."""
        return jain([each.attainment for each in self.models.values()])

    @property
    def worst(self) -> float:
        """The least attainment of a model."""
        return min((each.attainment for each in self.models.values()), default=nan)

    def _share(self, amount: float) -> float:
        return amount / self.duration if self.duration else nan


class Times:
    """What each request of a run took, in seconds, and whether it met its SLO; all of the shape (requests,).

    NaN for a request that is not done, and for what is not known of it.
    """

    def __init__(self, run: Run, slos: Slos) -> None:
        """``slos`` go by the models' names."""
        outcomes, trace = run.outcomes, run.outcomes.trace
        self.done: NDArray[np.bool_] = outcomes.fate == Fate.DONE
        self.came: NDArray[np.bool_] = (outcomes.fate != Fate.OPEN) | ~np.isnan(outcomes.arrived)
        arrived = np.where(self.done, outcomes.arrived, np.nan)
        self.ttft: Floats = outcomes.first - arrived
        self.latency: Floats = outcomes.ended - arrived
        self.wait: Floats = outcomes.started - arrived
        gaps = np.where(self.done & (outcomes.tokens > 1), outcomes.tokens - 1.0, np.nan)
        self.tpot: Floats = (outcomes.ended - outcomes.first) / gaps
        promised = [slos.of(model) for model in trace.models] or [Slo()]
        ttft, tpot = (np.array([getattr(slo, name) for slo in promised])[trace.model] for name in ("ttft", "tpot"))
        # a TPOT that is not there is not greater than its limit
        self.met: NDArray[np.bool_] = self.done & (self.ttft <= ttft) & ~(self.tpot > tpot)


def summarise(run: Run, slos: Slos | None = None) -> Summary:
    """All figures of a run, of all requests and by model."""
    slos, trace = slos or Slos(), run.outcomes.trace
    times = Times(run, slos)
    # several of a trace's models may have been served by one, and then have its name
    names = list(dict.fromkeys(trace.models))
    places = np.array([names.index(model) for model in trace.models] or [0])[trace.model]
    order = np.argsort(places, kind="stable")
    ends = np.searchsorted(places[order], np.arange(len(names)), side="right")
    parts = zip(names, np.split(order, ends[:-1]) if names else [], strict=True)
    models = {name: _figures(run, times, rows) for name, rows in parts if times.came[rows].any()}
    return Summary(run.name, trace.name, run.duration, run.usage, _figures(run, times, slice(None)), models)


def _figures(run: Run, times: Times, rows: NDArray[np.intp] | slice) -> Figures:
    outcomes = run.outcomes
    fate, came, met = outcomes.fate[rows], int(times.came[rows].sum()), int(times.met[rows].sum())
    done, refused, failed = (int((fate == each).sum()) for each in (Fate.DONE, Fate.REFUSED, Fate.FAILED))
    read = outcomes.trace.prompt[rows][~np.isnan(outcomes.first[rows])]

    def rate(amount: float) -> float:
        return float(amount) / run.duration if run.duration else nan

    return Figures(
        requests=came,
        done=done,
        refused=refused,
        failed=failed,
        open=came - done - refused - failed,
        ttft=Spread.of(times.ttft[rows]),
        tpot=Spread.of(times.tpot[rows]),
        latency=Spread.of(times.latency[rows]),
        wait=Spread.of(times.wait[rows]),
        attainment=met / came if came else nan,
        goodput=rate(met),
        rate=rate(done),
        output=rate(outcomes.tokens[rows].sum(dtype=np.int64)),
        prompt=rate(read.sum(dtype=np.int64)),
        # who cannot tell how often it suspends cannot tell whom either
        preemptions=nan if isnan(run.usage.suspends) else float(outcomes.preemptions[rows].sum(dtype=np.int64)),
    )


def jain(values: list[float]) -> float:
    """Jain's index of fairness; 1 if all are 0, NaN of none."""
    squares = sum(value * value for value in values)
    return sum(values) ** 2 / (len(values) * squares) if squares else 1.0 if values else nan


def errors(live: Run, simulated: Run) -> dict[str, float]:
    """By which share of a live run's figures those of its simulation differ from them, by the figure's name.

    Mean and 95th percentile of TTFT, TPOT and latency; loads and preemptions. NaN where the live figure is not known,
    or is 0 and the simulated one is not.
    """
    ours, theirs = (dict(_compared(summarise(run))) for run in (simulated, live))
    return {name: _error(ours[name], theirs[name]) for name in theirs}


def _compared(summary: Summary) -> Iterator[tuple[str, float]]:
    for field in fields(Figures):
        spread = getattr(summary.all, field.name)
        if isinstance(spread, Spread) and field.name != "wait":
            yield f"{field.name} mean", spread.mean
            yield f"{field.name} p95", spread.p95
    yield "loads", float(summary.usage.loads)
    yield "preemptions", summary.all.preemptions


def _error(ours: float, theirs: float) -> float:
    if theirs == 0:
        return 0.0 if ours == 0 else nan
    return (ours - theirs) / theirs
