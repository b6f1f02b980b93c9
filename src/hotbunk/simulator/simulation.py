"""A simulation: a trace's requests, the scheduler that decides live, and a simulated device, under one clock.

What is the runtime's work live is done here: requests become ``Submitted``, reports become events, actions become
commands, and measured moves become the bounds on the next (``costs.moves``), in the same order.

    live                                      here
    a request comes, its prompt is prepared   ``latency`` passes before ``Submitted``
    a command crosses the socket              ``hop`` passes before the device may see it
    the worker works                          ``device.Device``
"""

from __future__ import annotations

import heapq
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf, nan

import numpy as np

from hotbunk.costs.moves import MoveCosts
from hotbunk.costs.rates import PROMISE, Promise, Rates
from hotbunk.outcomes.outcome import Fate, Outcomes, Run, Stay
from hotbunk.placement import Placement
from hotbunk.scheduler import Scheduler, actions, events
from hotbunk.simulator.device import Device, Job, Loaded
from hotbunk.simulator.moving import Moving
from hotbunk.simulator.pace import Delays, Priced
from hotbunk.traces.trace import Trace

__all__ = ["Record", "Simulation", "Subject"]


@dataclass(frozen=True)
class Subject:
    """A model to simulate: its costs, the placements it is offered (best first), and what its configuration says.

    ``bounds`` are those on loading it and on taking it off, in seconds, until these have been measured; None: as of a
    model of which nothing is known.
    """

    name: str
    costs: Priced
    placements: tuple[Placement, ...]
    priority: int = 0
    keep: bool = False
    rates: tuple[Rates, ...] = ()
    promise: Promise = PROMISE
    bounds: tuple[float, float] | None = None

    @property
    def layers(self) -> int:
        """Of its largest placement."""
        return max(place.layers for place in self.placements)


@dataclass(slots=True)
class _Times:
    """What a model's moves have cost, and its ``stay`` on the device: when it began and it was ready, and where."""

    costs: MoveCosts
    foretold: tuple[float, float] | None
    stay: tuple[float, float, Placement] | None = None

    def comes(self, now: float, where: Placement, resized: bool = False) -> None:
        """It is on its way there."""
        self.costs.comes(now, resized)
        self.stay = now, nan, where

    def came(self, now: float, where: Placement, pinned: bool) -> None:
        """It stands there."""
        self.costs.came(now, where == self.costs.placement, pinned)
        assert self.stay
        self.stay = self.stay[0], now, where

    @property
    def bounds(self) -> tuple[float, float]:
        """On loading it and on taking it off."""
        load, leave = self.foretold or (self.costs.load, self.costs.leave)
        return self.costs.load if self.costs.loads else load, self.costs.leave if self.costs.leaves else leave


@dataclass
class Record:
    """Columns of ``Outcomes`` on their way: plain arrays, in which single values are set fast."""

    size: int
    arrived: array[float] = field(init=False)
    started: array[float] = field(init=False)
    first: array[float] = field(init=False)
    ended: array[float] = field(init=False)
    tokens: array[int] = field(init=False)
    preemptions: array[int] = field(init=False)
    fate: array[int] = field(init=False)

    def __post_init__(self) -> None:
        for name in ("arrived", "started", "first", "ended"):
            setattr(self, name, array("d", [nan]) * self.size)
        for name in ("tokens", "preemptions"):
            setattr(self, name, array("i", [0]) * self.size)
        self.fate = array("b", [Fate.OPEN]) * self.size

    def outcomes(self, trace: Trace) -> Outcomes:
        """The columns."""
        names = ("arrived", "started", "first", "ended", "tokens", "preemptions", "fate")
        return Outcomes(trace, *(np.array(getattr(self, name)) for name in names))


class Simulation:
    """One run, from ``run`` on; who decides may look at how far it has come (``clock``, ``jobs``, ``record``).

    Attributes:
        record: what has become of the requests so far.
    """

    def __init__(
        self,
        name: str,
        trace: Trace,
        subjects: Sequence[Subject],
        scheduler: Scheduler,
        moving: Moving,
        delays: Delays,
        hear: Callable[[float, actions.Decision], None],
        announced: bool,
    ) -> None:
        self._announced = announced
        self._name, self._trace, self._scheduler, self._delays, self._hear = name, trace, scheduler, delays, hear
        self._subjects = {subject.name: subject for subject in subjects}
        self._times = {s.name: _Times(MoveCosts(s.placements[0]), s.bounds) for s in subjects}
        self._rooms = [min(p.context for p in self._subjects[model].placements) for model in trace.models]
        self.record = Record(len(trace))
        self._stays: list[Stay] = []
        self._reports: list[tuple[float, events.Event]] = []
        costs = {s.name: s.costs for s in subjects}
        self._device = Device(costs, moving, delays, lambda at, event: self._reports.append((at, event)))
        self._jobs: dict[int, Job] = {}
        self._followers: list[tuple[float, int]] = []
        self._wake = inf
        self._now = 0.0
        self._decisions = 0

    @property
    def clock(self) -> float:
        """Up to when the device has worked; a turn that was under way when something happened has been finished."""
        return self._device.clock

    @property
    def jobs(self) -> Mapping[int, Job]:
        """The requests that have come and are not over, by their rows; their progress is that at ``clock``."""
        return self._jobs

    def run(self) -> Run:
        """Serve the trace, once."""
        for subject in self._subjects.values():
            self._add(subject)
        roots, arrival = self._trace.roots.tolist(), self._trace.arrival.tolist()
        place, coming = 0, arrival[roots[0]] if roots else inf
        while self._jobs or self._followers or coming < inf:  # what idle models do after that is nobody's time
            at = min(coming, self._followers[0][0] if self._followers else inf)
            at = min(at + self._delays.latency, self._wake)
            if not self._reports:
                if at == inf and self._device.idle:
                    break
                self._device.run(at)
            if self._reports and self._reports[0][0] <= at:
                self._take()
            elif at == self._wake:
                self._wake = inf
                self._tell(events.Tick(at))
            elif at < inf and self._followers and self._followers[0][0] < coming:
                self._submit(*heapq.heappop(self._followers))
            elif at < inf:
                self._submit(coming, roots[place])
                place += 1
                coming = arrival[roots[place]] if place < len(roots) else inf
        return self._over()

    def _add(self, subject: Subject) -> None:
        bounds = self._times[subject.name].bounds
        where = subject.name, subject.placements, *bounds, subject.priority, subject.keep
        self._tell(events.Added(0.0, *where, subject.rates, subject.promise))

    def _over(self) -> Run:
        for model, times in self._times.items():
            self._left(model, times, self._now)
        self._device.usage.decisions = self._decisions
        for row, job in self._jobs.items():  # who is open still has what has been made
            self.record.tokens[row] = job.made
        stays = tuple(sorted(self._stays, key=lambda stay: (stay.begin, stay.model)))
        return Run(self._name, self.record.outcomes(self._trace), self._device.usage, self._now, stays)

    # ------------------------------------------------------------ from the clients

    def _submit(self, at: float, row: int) -> None:
        trace, record = self._trace, self.record
        place = trace.model[row]
        prompt, room = int(trace.prompt[row]), self._rooms[place]
        record.arrived[row] = at
        if prompt >= room:
            record.fate[row] = Fate.REFUSED  # with 400: it fits no slot
            return
        model = trace.models[place]
        job = Job(row, model, prompt, min(int(trace.output[row]), room - prompt))
        self._jobs[row] = job
        self._device.add(job)
        limit = job.left if self._announced else room - prompt
        self._tell(events.Submitted(at + self._delays.latency, model, row, prompt, limit))

    # ------------------------------------------------------------ from the device

    def _take(self) -> None:
        at, event = self._reports.pop(0)
        match event:
            case events.Finished(_, _, number):
                self._finished(at, number)
            case Loaded(_, model, placement, device, _, pinned):
                times = self._times[model]
                times.came(at, placement, pinned)
                event = events.Loaded(event.now, model, placement, device, times.bounds)
            case events.Unloaded(_, model):
                times = self._times[model]
                times.costs.left(at)
                self._left(model, times, at)
                event = events.Unloaded(event.now, model, times.bounds)
            case events.Suspended(_, model, number):
                self._times[model].costs.suspended()
                self.record.preemptions[number] += 1
        self._tell(event)

    def _finished(self, at: float, number: int) -> None:
        record = self.record
        job = self._jobs.pop(number)
        record.first[number], record.tokens[number] = job.first, job.made
        record.ended[number] = at
        record.fate[number] = Fate.DONE
        for row in self._trace.followers.get(number, ()):
            heapq.heappush(self._followers, (at + float(self._trace.arrival[row]), row))

    def _left(self, model: str, times: _Times, at: float) -> None:
        if times.stay:
            begin, ready, where = times.stay
            self._stays.append(
                Stay(model, begin, ready, at, where.layers, self._subjects[model].layers, where.device.total)
            )
            times.stay = None

    # ------------------------------------------------------------ decisions

    def _tell(self, event: events.Event) -> None:
        self._now = max(self._now, event.now)
        self._decisions += 1
        self._wake = inf
        for action in self._scheduler.handle(event):
            self._carry_out(event.now, action)

    def _carry_out(self, now: float, action: actions.Decision | actions.Wake) -> None:
        if isinstance(action, actions.Wake):
            self._wake = action.at
            return
        self._hear(now, action)
        match action:
            case actions.Refuse(_, _, sequence):
                self.record.fate[sequence] = Fate.REFUSED
                self._device.drop(self._jobs.pop(sequence))
                return
            case actions.Start(_, _, sequence):
                self.record.started[sequence] = now
            case actions.Load(model, _, placement):
                self._times[model].comes(now, placement)
            case actions.Resize(model, _, placement):
                self._left(model, self._times[model], now)
                self._times[model].comes(now, placement, resized=True)
            case actions.Unload(model):
                self._times[model].costs.goes(now)
        self._device.order(now + self._delays.hop, action)
