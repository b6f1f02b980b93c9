"""The least score that a run of a case can still have, from what has become of it so far.

A run's **score** is its number of requests that miss their SLO (0 if there is none), then the sum of latencies in
seconds; less is better. ``orders`` bounds it where few requests are left, ``floor`` where many are. A request will miss
its SLO if even the earliest first token or end that it can have by itself, or in the order of ends, is too late.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from math import inf, isnan

from hotbunk.errors import ConfigError
from hotbunk.outcomes.outcome import Fate
from hotbunk.outcomes.slo import Slo, Slos
from hotbunk.scheduler.snapshot import Model, Phase, Snapshot
from hotbunk.simulator.case import Case
from hotbunk.simulator.device import Job
from hotbunk.simulator.floor import Floor, Pending, Score, ends
from hotbunk.simulator.orders import MOST, least
from hotbunk.simulator.simulation import Simulation

__all__ = ["Outlook", "lowest"]

_EXACT = 1e-9  # seconds by which sums may differ
_NOTHING: Mapping[int, float] = {}


def lowest(case: Case, slos: Slos | None = None) -> Score:
    """A proven lower bound of any run's score, for cases of any size.

    Raises:
        ConfigError: a request follows an answer, or fits no slot.
    """
    return Outlook(case, slos).first()


class Outlook:
    """Bounds for one case; without ``foresight``, for runs that load nothing before there is a request for it."""

    def __init__(self, case: Case, slos: Slos | None = None, foresight: bool = True) -> None:
        self._jobs = _jobs(case)
        self._arrival: list[float] = case.trace.arrival.tolist()
        self._slos = [slos.of(job.model) if slos else Slo(inf, inf) for job in self._jobs]
        # seconds between the first and the last token
        limits = zip((job.left for job in self._jobs), (slo.tpot for slo in self._slos), strict=True)
        self._gaps = [(tokens - 1) * tpot if tpot < inf else inf for tokens, tpot in limits]
        self._delays, self._foresight, self._floor = case.delays, foresight, Floor(case)

    def first(self) -> Score:
        """Before anything has happened."""
        rows = dict[str, list[int]]()
        for row, job in enumerate(self._jobs):
            rows.setdefault(job.model, []).append(row)
        loads = {model: self._floor.loads[model] for model in rows}
        pending = [
            self._coming(row, self._delays.hop + loads[model], 0.0, len(those))
            for model, those in rows.items()
            for row in those
        ]
        return self._score(pending, 0.0, loads)

    def of(self, run: Simulation, snapshot: Snapshot) -> Score:
        """While the scheduler decides."""
        record, missed, spent = run.record, 0, 0.0
        coming = dict[str, list[int]]()
        for row, job in enumerate(self._jobs):
            over = record.fate[row] == Fate.DONE
            if over or (row in run.jobs and not run.jobs[row].left):  # it has ended, and that is about to be told
                first = record.first[row] if over else run.jobs[row].first
                end = record.ended[row] if over else snapshot.now
                missed += self._late(row, first, end)
                spent += end - self._arrival[row]
            elif isnan(record.arrived[row]):
                coming.setdefault(job.model, []).append(row)
        pending, loads = list[Pending](), dict[str, float]()
        for model in snapshot.models.values():
            rows = coming.get(model.id, [])
            ready, loads[model.id] = self._ready(model, run.clock, snapshot.now, rows)
            pending += self._of(run, snapshot.now, model, ready, rows)
        firsts = {row: job.first for row, job in run.jobs.items() if job.first >= 0}
        return self._score(pending, run.clock, loads, missed, spent, firsts)

    def _of(self, run: Simulation, now: float, model: Model, ready: float, coming: Sequence[int]) -> Iterator[Pending]:
        """The requests for one model that are not over."""
        clock, hop = run.clock, self._delays.hop
        here = [job for s in model.sequences() if (job := run.jobs[s.id]).left]
        running = {s.id for s in (*model.running, *model.suspending)}
        company = len(here) + len(coming)
        for job in here:
            start = max(clock, ready if job.number in running else max(ready, now) + hop)
            yield Pending(job.number, model.id, clock, start, self._floor.work(job, company))
        yield from (self._coming(row, ready, clock, company) for row in coming)

    def _ready(self, model: Model, clock: float, now: float, coming: Sequence[int]) -> tuple[float, float]:
        """When a model can be used at the earliest, and how much of its load is still to be done."""
        seconds, hop = self._floor.loads[model.id], self._delays.hop
        if model.phase in (Phase.READY, Phase.RESIZING):
            return now, 0.0
        if model.phase is Phase.LOADING:
            at = model.since + hop + seconds
            return max(now, at), max(0.0, min(seconds, at - clock))
        soon = max(clock, now + hop)
        if not (self._foresight or model.queue or model.suspending) and coming:
            soon = max(soon, self._arrival[coming[0]] + self._delays.latency + hop)
        return soon + seconds, seconds

    def _coming(self, row: int, ready: float, clock: float, company: int) -> Pending:
        """A request that has not come yet, for a model that can be used from ``ready`` on."""
        known = max(self._arrival[row] + self._delays.latency, clock)
        job = self._jobs[row]
        start = max(known, ready) + self._delays.hop
        return Pending(row, job.model, known, start, self._floor.work(job, company))

    def _score(
        self,
        pending: Sequence[Pending],
        clock: float,
        loads: Mapping[str, float],
        missed: int = 0,
        spent: float = 0.0,
        firsts: Mapping[int, float] = _NOTHING,
    ) -> Score:
        """With what is over, and with the first tokens that there have been."""
        loads = {model: seconds for model, seconds in loads.items() if model in self._floor.apart}
        pending = [replace(each, deadline=self._deadline(each, firsts.get(each.row))) for each in pending]
        spent -= sum(self._arrival[each.row] for each in pending)
        if len(pending) <= MOST:
            late, total = least(pending, clock, loads, self._floor.switches)
            return missed + late, spent + total
        late = sum(each.end > each.deadline for each in pending)
        return missed + late, spent + sum(ends(pending, clock, loads))

    def _deadline(self, pending: Pending, first: float | None) -> float:
        """When it must end to meet its SLO; it may have missed it already."""
        row = pending.row
        if self._late(row, pending.first if first is None else first, pending.end):
            return -inf
        begin = self._arrival[row] + self._slos[row].ttft if first is None else first
        return begin + self._gaps[row] + _EXACT

    def _late(self, row: int, first: float, end: float) -> bool:
        """Whether a request misses its SLO with its first and last token at these times."""
        to_first = first - self._arrival[row]
        return to_first > self._slos[row].ttft + _EXACT or end - first > self._gaps[row] + _EXACT


def _jobs(case: Case) -> list[Job]:
    """The requests of a case, none of which has come."""
    trace, rooms = case.trace, {s.name: min(place.context for place in s.placements) for s in case.subjects}
    if len(trace.roots) < len(trace):
        raise ConfigError("requests follow answers, and what those would take has no lower bound; leave them out")
    for row, each in enumerate(trace):
        if each.prompt >= rooms[each.model]:
            room = f"its slots have {rooms[each.model]}"
            raise ConfigError(f"row {row}: {each.prompt} tokens are too many for {each.model}, {room}; leave it out")
    return [Job(row, r.model, r.prompt, min(r.output, rooms[r.model] - r.prompt)) for row, r in enumerate(trace)]
