"""The course of a study: which experiments with which models, in which order, and how much of the time each gets.

A budget is divided by weights: a task gets its share of what is left when its turn comes, so what one does not need is
the others'. What there was no time for is noted, for each model and experiment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field

from hotbunk.errors import EngineError, HotbunkError, UnusableModel
from hotbunk.measure.filling import fill
from hotbunk.measure.wire import worker
from hotbunk.study import bus, concurrency, context, offload, preemption
from hotbunk.study.environment import check_in, enter
from hotbunk.study.pace import Clock, Say
from hotbunk.study.preemption import Pair, Way
from hotbunk.study.results import Results
from hotbunk.study.stage import Impossible, Stage, Subject, stage
from hotbunk.worker.machine import free_memory

__all__ = ["QUICK", "Extent", "Study", "Task", "shares"]

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
    """A share of the study; ``do`` makes the experiments ``about`` and notes, for each, what there was no time for."""

    title: str
    about: Sequence[str]
    weight: float
    do: Callable[[Clock], None]


@dataclass
class Study:
    """A device, models by name, pairs of them, and where results go. ``say`` hears what is being done.

    ``failed`` has a sentence for each experiment that could not be made, ``omitted`` for each of several that cannot be
    made here at all.
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
    omitted: list[str] = field(default_factory=list)

    def tasks(self, experiments: Iterable[str]) -> list[Task]:
        """What is to be done for these experiments, in order."""
        wanted = set(experiments)
        among = self.omitted if len(wanted) > 1 else self.failed
        tasks = [Task("bus", ["bus"], WEIGHTS["bus"], self._bus)] if "bus" in wanted else []
        alone = [name for name in ("offload", "concurrency", "context") if name in wanted]
        if alone:
            tasks += [self._model(subject, alone, among) for subject in self.subjects.values()]
        if "preemption" in wanted:
            tasks += [self._pair(pair, way, among) for pair in self.pairs for way in ("fast", "ordinary")]
        return tasks

    def plan(self, tasks: Sequence[Task], clock: Clock) -> list[str]:
        """How the time is going to be divided, in words."""
        if clock.left == float("inf"):
            return [task.title for task in tasks]
        whole = sum(task.weight for task in tasks)
        return [f"{task.title}: about {clock.left * task.weight / whole:.0f} s" for task in tasks]

    def run(self, tasks: Sequence[Task], clock: Clock) -> None:
        """Do them all; what fails is noted, and the others go on.

        Raises:
            ConfigError: the results cannot be written, or come from another machine or other models.
        """
        for number, task in enumerate(tasks):
            if clock.over:
                for about in task.about:
                    self.results.note(about, "no time for it; --resume goes on with it")
                continue
            task.do(clock.part(task.weight / sum(each.weight for each in tasks[number:])))

    def _made(self, about: str, measure: Callable[[], int]) -> None:
        """Have an experiment made, and note what is left of it; what was said of it before does not hold any more."""
        try:
            left = measure()
        except KeyboardInterrupt:
            self.results.note(about, "broken off; --resume goes on with it")
            raise
        self.results.note(about, f"no time for {left} points; --resume goes on with them" if left else "")

    def _refuse(self, about: str, error: HotbunkError, among: list[str]) -> None:
        if (sentence := f"{about}: {error}") not in among:
            among.append(sentence)
        self.results.note(about, f"could not be done: {error}")

    def _bus(self, clock: Clock) -> None:
        sizes = self.extent.sizes if self.pinned else [size for size in self.extent.sizes if size <= _GIB // 16]
        try:
            # before the bus is measured: an RPC device serves one at a time
            with worker(self.device, self.threads) as wire:
                check_in(self.results, wire.hello)
            to = self.device, self.results, clock, self.say
            self._made("bus", lambda: bus.measure(*to, sizes, self.extent.repeats))
        except EngineError as error:
            self._refuse("bus", error, self.failed)

    def _model(self, subject: Subject, experiments: Sequence[str], impossible: list[str]) -> Task:
        model, title = subject.name, f"{subject.name}: {', '.join(experiments)}"

        def do(clock: Clock) -> None:
            rest = list(experiments)
            if len(rest) > 1:  # earlier versions noted all of them together
                self.results.note(title)
            while rest:
                try:
                    with self._stage({model: subject}, *self._memory(subject)) as opened:
                        self._waited(opened)
                        while rest:
                            part = clock.part(WEIGHTS[rest[0]] / sum(WEIGHTS[name] for name in rest))
                            self._experiment(rest[0], opened, model, part, impossible)
                            rest.pop(0)
                except (EngineError, UnusableModel) as error:  # in whatever state the worker is, the rest gets another
                    self._refuse(f"{model}: {rest.pop(0)}", error, self.failed)

        return Task(title, [f"{model}: {name}" for name in experiments], sum(WEIGHTS[name] for name in experiments), do)

    def _experiment(self, name: str, opened: Stage, model: str, clock: Clock, impossible: list[str]) -> None:
        about = f"{model}: {name}"
        try:
            self._made(about, lambda: self._alone(name, opened, model, clock))
        except Impossible as error:
            self._refuse(about, error, impossible)

    def _alone(self, experiment: str, opened: Stage, model: str, clock: Clock) -> int:
        wanted, to = self.extent, (self.results, clock, self.say)
        if experiment == "concurrency":
            return concurrency.measure(opened, model, *to, wanted.counts, wanted.shares, wanted.repeats)
        if experiment == "context":
            return context.measure(opened, model, *to, wanted.contexts, repeats=wanted.repeats)
        return offload.measure(opened, model, *to, wanted.lengths, wanted.repeats)

    def _pair(self, pair: Pair, way: Way, impossible: list[str]) -> Task:
        about = f"{pair.model} preempted for {pair.other}, {way}"
        found = {pair.model: self.subjects[pair.model], pair.other: self._other(pair)}
        options = ["--ordinary", "--host-memory", "0"] if way == "ordinary" else self._memory(*found.values())

        def do(clock: Clock) -> None:
            wanted, to = self.extent, (self.results, clock, self.say)
            try:
                with self._stage(found, *options) as opened:
                    if way == "fast":
                        self._waited(opened)
                    rest = *to, wanted.points, wanted.run, wanted.repeats
                    self._made(about, lambda: preemption.measure(opened, pair, way, *rest))
            except (EngineError, UnusableModel) as error:
                self._refuse(about, error, impossible if isinstance(error, Impossible) else self.failed)

        return Task(about, [about], WEIGHTS[way], do)

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
        weights = sum(subject.gguf.weights for subject in subjects)
        longest = max(*self.extent.contexts, *self.extent.points)
        store, arena = shares(free_memory(), weights, max(subject.gguf.kv_bytes(longest) for subject in subjects))
        return ["--host-memory", str(store), "--arena", str(int(arena * 1.05)), "--held-budget", str(4 * _GIB)]


def shares(free: int, weights: int, states: int) -> tuple[int, int]:
    """Bytes of pinned memory for weights and for suspended sequences, out of those that are free.

    What does not leave room for the rest of the machine stays out: weights are then read from the mapped file.
    """
    arena = min(states, int(free * _ARENA))
    return max(0, min(int(weights * 1.02) + _GIB, free - arena - 2 * _GIB)), arena
