"""The course of a study: which experiments with which models, in which order, and how much of the time each gets.

A budget is divided by weights: a task gets its share of what is left when its turn comes, so what one does not need is
the others'. What there was no time for is noted, by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field

from hotbunk.errors import EngineError, UnusableModel
from hotbunk.measure.filling import fill
from hotbunk.measure.wire import worker
from hotbunk.study import bus, concurrency, context, offload, preemption
from hotbunk.study.environment import check_in, enter
from hotbunk.study.pace import Clock, Say
from hotbunk.study.preemption import Pair, Way
from hotbunk.study.results import Results
from hotbunk.study.stage import Stage, Subject, stage
from hotbunk.worker.machine import free_memory

__all__ = ["QUICK", "Extent", "Study", "Task"]

WEIGHTS = {"bus": 1.0, "offload": 4.0, "concurrency": 3.0, "context": 2.0, "fast": 2.0, "ordinary": 4.0}
"""Of each experiment with one model, and of each way with one pair."""
_ARENA = 0.25  # most of the free host memory that suspended sequences may take
_GIB = 1 << 30


@dataclass(frozen=True)
class Extent:
    """How much of each experiment is done: lengths in tokens, shares of the layers, how often all of it."""

    lengths: Sequence[int] = offload.LENGTHS
    points: Sequence[int] = preemption.POINTS
    run: int = preemption.RUN
    counts: Sequence[int] = concurrency.COUNTS
    shares: Sequence[float] = concurrency.SHARES
    contexts: Sequence[int] = context.LENGTHS
    sizes: Sequence[int] = bus.SIZES
    repeats: int = 3


QUICK = Extent((50, 150), (100, 1000, 5000), 100, (1, 4, 16), (1.0, 0.5, 0.0), (512, 4096, 16384), repeats=2)


@dataclass(frozen=True)
class Task:
    """A share of the study; ``do`` returns for how many points there was no time."""

    title: str
    weight: float
    do: Callable[[Clock], int]


@dataclass
class Study:
    """A device, models by name, pairs of them, and where results go. ``say`` hears what is being done.

    ``failed`` has a sentence for each task that could not be done.
    """

    device: str
    threads: int | None
    subjects: Mapping[str, Subject]
    results: Results
    say: Say = lambda _: None
    extent: Extent = Extent()
    pairs: Sequence[Pair] = ()
    pinned: bool = False
    failed: list[str] = field(default_factory=list)

    def tasks(self, experiments: Iterable[str]) -> list[Task]:
        """What is to be done for these experiments, in order."""
        wanted = set(experiments)
        tasks = [Task("bus", WEIGHTS["bus"], self._bus)] if "bus" in wanted else []
        alone = [name for name in ("offload", "concurrency", "context") if name in wanted]
        if alone:
            tasks += [self._model(subject, alone) for subject in self.subjects.values()]
        if "preemption" in wanted:
            tasks += [self._pair(pair, way) for pair in self.pairs for way in ("fast", "ordinary")]
        return tasks

    def plan(self, tasks: Sequence[Task], clock: Clock) -> list[str]:
        """How the time is going to be divided, in words."""
        if clock.left == float("inf"):
            return [task.title for task in tasks]
        whole = sum(task.weight for task in tasks)
        return [f"{task.title}: about {clock.left * task.weight / whole:.0f} s" for task in tasks]

    def run(self, tasks: Sequence[Task], clock: Clock) -> None:
        """Do them all; a task that fails is noted, and the others go on.

        Raises:
            ConfigError: the results cannot be written, or come from another machine or other models.
        """
        for number, task in enumerate(tasks):
            if clock.over:
                self.results.note(task.title, "no time for it; --resume goes on with it")
                continue
            part = clock.part(task.weight / sum(each.weight for each in tasks[number:]))
            try:
                left = task.do(part)
            except (EngineError, UnusableModel) as error:
                self._refuse(task.title, str(error))
                continue
            self.results.note(task.title, f"no time for {left} points; --resume goes on with them" if left else "")

    def _refuse(self, what: str, why: str) -> None:
        if (sentence := f"{what}: {why}") not in self.failed:
            self.failed.append(sentence)
        self.results.note(what, f"could not be done: {why}")

    def _bus(self, clock: Clock) -> int:
        with worker(
            self.device, self.threads
        ) as wire:  # before the bus is measured: an RPC device serves one at a time
            check_in(self.results, wire.hello)
        sizes = self.extent.sizes if self.pinned else [size for size in self.extent.sizes if size <= _GIB // 16]
        return bus.measure(self.device, self.results, clock, self.say, sizes, self.extent.repeats)

    def _model(self, subject: Subject, experiments: Sequence[str]) -> Task:
        weights = [WEIGHTS[name] for name in experiments]

        def do(clock: Clock) -> int:
            left = 0
            with self._stage({subject.name: subject}, *self._memory(subject)) as opened:
                self._waited(opened)
                for number, name in enumerate(experiments):
                    if name == "offload" and opened.cpu:
                        self._refuse("offload", "the CPU is the only device here, there is nothing to offload to it")
                        continue
                    part = clock.part(weights[number] / sum(weights[number:]))
                    left += self._alone(name, opened, subject.name, part)
            return left

        return Task(f"{subject.name}: {', '.join(experiments)}", sum(weights), do)

    def _alone(self, experiment: str, opened: Stage, model: str, clock: Clock) -> int:
        wanted, to = self.extent, (self.results, clock, self.say)
        if experiment == "concurrency":
            return concurrency.measure(opened, model, *to, wanted.counts, wanted.shares, wanted.repeats)
        if experiment == "context":
            return context.measure(opened, model, *to, wanted.contexts, repeats=wanted.repeats)
        return offload.measure(opened, model, *to, wanted.lengths, wanted.repeats)

    def _pair(self, pair: Pair, way: Way) -> Task:
        found = {pair.model: self.subjects[pair.model], pair.other: self._other(pair)}
        options = ["--ordinary", "--host-memory", "0"] if way == "ordinary" else self._memory(*found.values())

        def do(clock: Clock) -> int:
            wanted = self.extent
            with self._stage(found, *options) as opened:
                if way == "fast":
                    self._waited(opened)
                to = (self.results, clock, self.say)
                return preemption.measure(opened, pair, way, *to, wanted.points, wanted.run, wanted.repeats)

        return Task(f"{pair.model} preempted for {pair.other}, {way}", WEIGHTS[way], do)

    def _other(self, pair: Pair) -> Subject:
        """The model that comes: one of those given, or another copy of the first."""
        return self.subjects.get(pair.other) or self.subjects[pair.model]

    @contextmanager
    def _stage(self, subjects: Mapping[str, Subject], *options: str) -> Iterator[Stage]:
        self.say(f"starting a worker with {', '.join(subjects)}")
        with stage(self.device, self.threads, subjects, *options) as opened:
            check_in(self.results, opened.wire.hello)
            for subject in subjects.values():
                enter(self.results, subject.row)
            yield opened

    def _waited(self, opened: Stage) -> None:
        """Until the weights are in the host store: filling it would disturb what is measured."""
        for model, filled in fill(opened.wire, opened.subjects, self.say).items():
            if not self.results.rows("pinning", model=model):
                self.results.add("pinning", [{"model": model, **asdict(filled)}])

    def _memory(self, *subjects: Subject) -> list[str]:
        """Worker options: room for all weights and for the longest sequences in pinned memory."""
        if not self.pinned:
            return []
        free = free_memory()
        weights = sum(subject.gguf.weights for subject in subjects)
        longest = max(*self.extent.contexts, *self.extent.points)
        arena = max(min(subject.gguf.kv_bytes(longest), int(free * _ARENA)) for subject in subjects)
        store = min(int(weights * 1.02) + _GIB, free - arena - 2 * _GIB)
        return ["--host-memory", str(store), "--arena", str(int(arena * 1.05)), "--held-budget", str(4 * _GIB)]
