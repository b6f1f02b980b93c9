"""The simulated device: what the worker's engine would do, in the order in which it would, and how long that takes.

One loop takes turns among the loaded models. A turn is one decode step of all the model's decoding sequences, then one
chunk of its oldest prefilling one. Commands are carried out between turns; what was ordered during a turn waits for
its end. Bytes of a promotion come over the bus by themselves while others compute, one promotion after the other; a
sequence's state that comes back meanwhile has to fit between their slices. Calling for a promotion, making a context,
giving memory back and carrying KV caches stop the loop. A restarting peer (``moving.Restart``) stops nothing
while it loads, since that is another process.

Sequences have slots, each the first that was free. Empty ones between those that decode are evaluated along, if there
are no more of them than sequences; else, and where one between them prefills, groups are evaluated one by one.

Steps whose cost is the same are taken together: nothing happens per token. Between two events the clock moves on by

    sum over the models of k * step(n, tile), and what the device takes for a batch that is new

for as many rounds ``k`` as pass before a sequence ends, a context fills its tile, a command comes or a load arrives.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import count, cycle
from math import ceil, inf

from hotbunk.outcomes.outcome import Usage
from hotbunk.placement import Placement
from hotbunk.scheduler import actions, events
from hotbunk.simulator.moving import Moving
from hotbunk.simulator.pace import CHUNK, NEW, TILE, Delays, Pace, Priced

__all__ = ["Device", "Job", "Loaded"]

Command = actions.Load | actions.Resize | actions.Unload | actions.Start | actions.Suspend | actions.Resume


@dataclass(frozen=True, slots=True)
class Loaded(events.Loaded):
    """What a worker reports of it: also whether the weights were ``pinned``, which only the bounds go by."""

    pinned: bool = False


@dataclass(slots=True, eq=False)
class Job:
    """A request on its way: ``todo`` tokens of its prompt are to be evaluated, ``left`` generated; ``made`` were.

    ``behind`` tokens are in the KV cache. ``first`` is when its first token came, ``place`` its place in the order in
    which sequences were started: the oldest prefills first, also if it was suspended meanwhile. ``slot`` is where it
    runs.
    """

    number: int
    model: str
    todo: int
    left: int
    behind: int = 0
    first: float = -1.0
    made: int = 0
    place: int = 0
    slot: int = 0


class _Runner:
    """A loaded model. ``longest`` and ``least``: most tokens behind, and fewest left, of those that decode.

    ``new``: decode steps that are still to be taken until the device knows the batch, which is evaluated in ``groups``
    of so many slots.
    """

    __slots__ = ("decoding", "groups", "least", "longest", "model", "new", "pace", "prefilling", "ready", "step")

    def __init__(self, model: str, pace: Pace) -> None:
        self.model, self.pace = model, pace
        self.decoding: list[Job] = []
        self.prefilling: deque[Job] = deque()
        self.ready = False
        self.longest = self.least = self.new = 0
        self.groups: tuple[int, ...] = ()
        self.step = 0.0

    def seat(self, job: Job) -> None:
        """Give it the first free slot; to be told before it decodes or prefills."""
        free = ~(_bits(self.decoding) | _bits(self.prefilling))
        job.slot = (free & -free).bit_length() - 1

    def regard(self) -> None:
        """Who decodes has changed."""
        self.new = NEW
        if self.decoding:
            self.longest = max([job.behind for job in self.decoding])
            self.least = min([job.left for job in self.decoding])
            self.groups = self._grouped()
            self._price()

    def regroup(self) -> None:
        """Who is between them may have changed."""
        if not self.decoding:
            return
        groups = self._grouped()
        if groups != self.groups:
            self.groups, self.new = groups, NEW
            self._price()

    def _grouped(self) -> tuple[int, ...]:
        return _grouped(_bits(self.decoding), _bits(self.prefilling))

    def _price(self) -> None:
        self.step = self.pace.step(len(self.decoding), self.groups, self.longest)

    def advance(self, rounds: int) -> None:
        """So many decode steps have been taken."""
        for job in self.decoding:
            job.behind += rounds
            job.left -= rounds
            job.made += rounds
        self.longest += rounds
        self.least -= rounds
        self.new = self.new - rounds if self.new > rounds else 0
        if not self.longest % TILE:
            self._price()

    def same(self) -> int:
        """How many steps cost what the next one does."""
        return TILE - self.longest % TILE

    def remove(self, job: Job) -> bool:
        """Take a sequence out; whether it was there."""
        if job in self.decoding:
            self.decoding.remove(job)
            self.regard()
            return True
        if job in self.prefilling:
            self.prefilling.remove(job)
            self.regroup()
            return True
        return False


def _bits(jobs: Iterable[Job]) -> int:
    """Their slots, a bit each."""
    bits = 0
    for job in jobs:
        bits |= 1 << job.slot
    return bits


@lru_cache(maxsize=1 << 14)
def _grouped(decoding: int, prefilling: int) -> tuple[int, ...]:
    """The groups of slots that are given as bits: few are taken, and often the same."""
    slots = range(max(decoding, prefilling).bit_length())
    return _groups({slot for slot in slots if decoding >> slot & 1}, {slot for slot in slots if prefilling >> slot & 1})


def _groups(decoding: set[int], prefilling: set[int]) -> tuple[int, ...]:
    """How many slots are evaluated in one go, and in another."""
    first, last = min(decoding), max(decoding)
    empty = {slot for slot in range(first, last) if slot not in decoding and slot not in prefilling}
    evaluated = decoding | empty if len(empty) <= len(decoding) else decoding
    groups, before = list[int](), first - 2
    for slot in sorted(evaluated):
        if slot > before + 1:
            groups.append(0)
        groups[-1] += 1
        before = slot
    return tuple(groups)


def _planning(active: Iterable[_Runner], rounds: int) -> float:
    """What so many steps of all take besides, since some batches are new."""
    return sum([runner.pace.planning(runner.new, rounds) for runner in active if runner.new])


class Device:
    """Give it commands with ``order`` and time with ``run``; what it has to report it calls back with.

    Attributes:
        clock: up to when it has worked, in seconds.
        usage: what it has done so far.
    """

    def __init__(
        self, costs: dict[str, Priced], moving: Moving, delays: Delays, report: Callable[[float, events.Event], None]
    ) -> None:
        """``costs`` by model; ``report`` hears what the scheduler shall be told, and when, in order."""
        self.clock = 0.0
        self.usage = Usage()
        self._costs, self._moving, self._delays, self._report = costs, moving, delays, report
        self._paces: dict[tuple[str, Placement], Pace] = {}
        self._runners: dict[str, _Runner] = {}
        self._turns: deque[_Runner] = deque()
        self._inbox: deque[tuple[float, Command]] = deque()
        self._coming: list[tuple[float, int, Callable[[], None]]] = []
        self._ticket = count()
        self._jobs: dict[int, Job] = {}
        self._bus = 0.0  # until when promotions are under way
        self._moved = 0.0  # until when moves have been counted
        self.reported = False

    def add(self, job: Job) -> None:
        """A sequence that ``Start`` may name."""
        self._jobs[job.number] = job

    def drop(self, job: Job) -> None:
        """It is not going to be started."""
        del self._jobs[job.number]

    def order(self, at: float, command: Command) -> None:
        """Have a command carried out, between turns and not before ``at``."""
        self._inbox.append((at, command))

    @property
    def idle(self) -> bool:
        """Whether nothing would ever happen here by itself."""
        return not (self._inbox or self._coming or any(r.decoding or r.prefilling for r in self._turns))

    def run(self, until: float) -> None:
        """Work up to ``until`` (a turn under way then is finished), or until there is something to report."""
        self.reported = False
        while self.clock < until and not self.reported:
            if self._inbox and self._inbox[0][0] <= self.clock:
                self._carry_out(self._inbox.popleft()[1])
            elif self._coming and self._coming[0][0] <= self.clock:
                heapq.heappop(self._coming)[2]()
            else:
                self._work(min(until, self._next()))

    # ------------------------------------------------------------ turns

    def _next(self) -> float:
        """When something comes from outside of the loop."""
        soon = self._inbox[0][0] if self._inbox else inf
        return min(soon, self._coming[0][0]) if self._coming else soon

    def _work(self, until: float) -> None:
        active = [runner for runner in self._turns if runner.ready and (runner.decoding or runner.prefilling)]
        if not active:
            self._wait(until)
        elif any(runner.prefilling for runner in active) or not self._rounds(active, until - self.clock):
            self._one_by_one(active, until)

    def _rounds(self, active: list[_Runner], left: float) -> bool:
        """As many rounds of decode steps as cost the same and fit into the seconds ``left``; whether there were any."""
        last = len(active) == 1  # then a round ends with the turn in which somebody ends
        seconds, rounds = 0.0, TILE
        for runner in active:
            seconds += runner.step
            rounds = min(rounds, runner.least - 1 + last, runner.same())
        planning = _planning(active, rounds)
        if left < rounds * seconds + planning:
            left = max(0.0, left - planning)
            rounds = max(1, ceil(left / seconds)) if last else int(left / seconds)
            planning = _planning(active, rounds)
        if rounds < 1:
            return False
        self._compute(rounds * seconds + planning)
        for runner in active:
            runner.advance(rounds)
            if not runner.least:
                self._end(runner)
        self._had_turn(active[-1])
        return True

    def _one_by_one(self, active: list[_Runner], until: float) -> None:
        """Turns, until there is something to report or others decode or prefill than before."""
        for runner in cycle(active):
            prompts = len(runner.prefilling)
            self._turn(runner)
            if self.reported or self.clock >= until or len(runner.prefilling) < prompts:
                self._had_turn(runner)
                return

    def _had_turn(self, last: _Runner) -> None:
        """The next turn is that of the one after it."""
        while self._turns[-1] is not last:
            self._turns.rotate(-1)

    def _turn(self, runner: _Runner) -> None:
        job = runner.prefilling[0] if runner.prefilling else None
        if runner.decoding:
            self._compute(runner.step + runner.pace.planning(runner.new, 1))
            runner.advance(1)
            if not runner.least:
                self._end(runner)
        if job:
            self._prefill(runner, job)

    def _prefill(self, runner: _Runner, job: Job) -> None:
        tokens = min(CHUNK, job.todo)
        self._compute(runner.pace.chunk(job.behind, tokens, len(runner.decoding)))
        runner.new = NEW
        job.behind += tokens
        job.todo -= tokens
        if job.todo:
            return
        runner.prefilling.popleft()
        job.left -= 1
        job.made += 1
        job.first = self.clock if job.first < 0 else job.first
        if job.left:
            runner.decoding.append(job)
        runner.regard()
        if not job.left:
            self._finish(job)

    def _end(self, runner: _Runner) -> None:
        over = [job for job in runner.decoding if not job.left]
        runner.decoding = [job for job in runner.decoding if job.left]
        runner.regard()
        for job in over:
            self._finish(job)

    def _finish(self, job: Job) -> None:
        del self._jobs[job.number]
        self._tell(events.Finished(self.clock, job.model, job.number, job.made))

    # ------------------------------------------------------------ commands

    def _carry_out(self, command: Command) -> None:
        match command:
            case actions.Start(model, _, sequence):
                job = self._jobs[sequence]
                job.place = next(self._ticket)
                runner = self._runners[model]
                runner.seat(job)
                runner.prefilling.append(job)
                runner.regroup()
            case actions.Suspend(model, _, sequence):
                self._suspend(model, sequence)
            case actions.Resume(model, _, sequence):
                self._resume(self._runners[model], self._jobs[sequence])
            case actions.Load():
                self._load(command, None)
            case actions.Resize(model):
                self._load(command, self._runners[model])
            case actions.Unload(model):
                self._unload(self._runners.pop(model))

    def _suspend(self, model: str, sequence: int) -> None:
        job = self._jobs.get(sequence)
        if job is None:
            return  # it has just ended
        runner = self._runners[model]
        if runner.remove(job):
            self._carry(runner, job, out=True)
            self.usage.suspends += 1
            self._tell(events.Suspended(self.clock, model, sequence, job.made))

    def _resume(self, runner: _Runner, job: Job) -> None:
        self._move(min(runner.pace.between, max(0.0, self._bus - self.clock)))
        self._carry(runner, job, out=False)
        runner.seat(job)
        if job.todo:
            younger = (at for at, other in enumerate(runner.prefilling) if other.place > job.place)
            runner.prefilling.insert(next(younger, len(runner.prefilling)), job)
            runner.regroup()
        else:
            runner.decoding.append(job)
            runner.regard()

    def _carry(self, runner: _Runner, job: Job, out: bool) -> None:
        self._move(runner.pace.carry(out, job.behind))
        self.usage.carried += runner.pace.costs.state(job.behind)

    def _load(self, command: actions.Load | actions.Resize, runner: _Runner | None) -> None:
        model, placement = command.model, command.placement
        before = runner.pace.placement if runner else None
        time = self._moving.load(model, self._costs[model], placement, before, self.clock)
        if runner:
            self._give_up_slots(runner, placement)
            if time.anew:
                self._carry_over(runner)
            runner.pace = self._pace(model, placement)
            runner.regard()
            self.usage.resizes += 1
        else:
            runner = self._runners[model] = _Runner(model, self._pace(model, placement))
            self._turns.append(runner)
            self.usage.loads += 1
        runner.ready = False
        self.usage.moved += max(0, placement.device.weights - (before.device.weights if before else 0))
        begin = max(self.clock, self._bus) if time.bus else self.clock
        arrival = begin + time.behind
        if time.bus:
            self._bus = arrival
        self._move(time.front)

        def come() -> None:
            runner.ready = True
            self._tell(Loaded(self.clock, model, placement, placement.device, pinned=time.pinned))

        self._later(arrival, time.behind, come)

    def _give_up_slots(self, runner: _Runner, placement: Placement) -> None:
        """The youngest of those for whom there is no slot any more are suspended."""
        jobs = [*runner.decoding, *runner.prefilling]
        for job in sorted(jobs, key=lambda job: job.place)[placement.slots :]:
            self._suspend(runner.model, job.number)

    def _carry_over(self, runner: _Runner) -> None:
        """Out of one context and into the next."""
        for job in [*runner.decoding, *runner.prefilling]:
            for out in (True, False):
                self._carry(runner, job, out)

    def _unload(self, runner: _Runner) -> None:
        self._turns.remove(runner)
        model = runner.model
        time = self._moving.unload(model, self._costs[model], runner.pace.placement, self.clock)
        self.usage.unloads += 1
        self._move(time.front)
        self._later(self.clock + time.behind, time.behind, lambda: self._tell(events.Unloaded(self.clock, model)))

    def _later(self, at: float, seconds: float, act: Callable[[], None]) -> None:
        if not seconds:
            act()
            return
        self._count(at - seconds, at)
        heapq.heappush(self._coming, (max(at, self.clock), next(self._ticket), act))

    def _pace(self, model: str, placement: Placement) -> Pace:
        key = model, placement
        if key not in self._paces:
            self._paces[key] = Pace(self._costs[model], placement, self._delays)
        return self._paces[key]

    # ------------------------------------------------------------ time

    def _compute(self, seconds: float) -> None:
        self.clock += seconds
        self.usage.computing += seconds
        self.usage.busy += seconds

    def _move(self, seconds: float) -> None:
        self._count(self.clock, self.clock + seconds)
        self.clock += seconds
        self.usage.busy += seconds

    def _count(self, begin: float, end: float) -> None:
        """A move is under way then, maybe beside others. It begins now or when the bus is free: there is no gap."""
        self.usage.moving += max(0.0, end - max(begin, self._moved))
        self._moved = max(self._moved, end)

    def _wait(self, until: float) -> None:
        """Nothing to compute: only what comes by itself goes on."""
        under_way = min(until, max((at for at, _, _ in self._coming), default=self.clock))
        self.usage.busy += max(0.0, under_way - self.clock)
        self.clock = until

    def _tell(self, event: events.Event) -> None:
        self.reported = True
        self._report(self.clock, event)
