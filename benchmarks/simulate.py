"""How fast the simulator and the scheduler's decisions are: ``make bench-sim``.

    python benchmarks/simulate.py [--requests 10000,100000,1000000] [--policy timeslice,priced] [--queued 10000]

1. Simulated requests a second over 16 models on the H100's profile, as the trace grows; CPU seconds of one core, and
   the most memory that the process has had.
2. Seconds of a decision (an event, and all that follows from it) with 50 models, their placements and costs as that
   profile has them, and so many requests in their queues.
"""

from __future__ import annotations

import argparse
import resource
from collections.abc import Iterator
from itertools import cycle, product
from statistics import quantiles
from time import perf_counter, process_time

from hotbunk.costs.anatomy import Anatomy
from hotbunk.costs.dissect import dissect
from hotbunk.scheduler import POLICIES, Bound, Scheduler, actions, events
from hotbunk.simulator.contest import Setting
from hotbunk.simulator.profile import read
from hotbunk.study.described import described
from hotbunk.study.shapes import SHAPES
from hotbunk.traces.arrivals import Arrivals, Burst
from hotbunk.traces.draw import LogNormal, Popularity, Recipe, draw, named
from hotbunk.traces.trace import Trace

MODELS = 16
KINDS = ("qwen3-8b:Q4_K_M", "qwen2.5-3b:F16", "llama3-8b:Q4_0", "1b:F16", "qwen3-8b:F16", "half:F16")
BUDGET = 73 << 30  # what an H100 has for them: they do not all fit, and each second request meets an absent one
RATE = 2.0  # requests a second: the device is busy, but can carry it
_SECOND = 1e3


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", default="10000,100000,1000000", help="sizes of the traces")
    parser.add_argument("--policy", default="timeslice,priced", help="for the traces")
    parser.add_argument("--queued", type=int, default=10_000, help="requests in the queues where decisions are timed")
    arguments = parser.parse_args()
    print(f"{MODELS} models, budget {BUDGET >> 30} GiB, {RATE:g} requests a second")
    for policy, count in product(arguments.policy.split(","), map(int, arguments.requests.split(","))):
        _simulated(_trace(count), policy)
    print(f"50 models, {arguments.queued:,} requests in the queues, ms of a decision")
    for policy in sorted(POLICIES):
        _decided(policy, arguments.queued)


def _trace(count: int, models: int = MODELS) -> Trace:
    arrivals = Arrivals(RATE, cv=1.5, burst=Burst(60.0, 240.0, 3.0))
    lengths = LogNormal(400, 1.0, 6000), LogNormal(120, 0.9, 1500)
    return draw(Recipe(arrivals, Popularity(named(models), 1.0), lengths, requests=count), seed=1)


def _simulated(trace: Trace, policy: str) -> None:
    setting = Setting(read("h100"), _anatomies(trace.models), BUDGET)
    began = process_time()
    run = setting.run(policy, trace)
    seconds = process_time() - began
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    pace = f"{seconds:6.1f} s, {len(trace) / seconds:6.0f} a second"
    each = f"{run.usage.decisions / len(trace):.1f} decisions and {run.usage.loads / len(trace):.2f} loads a request"
    print(f"{policy:9} {len(trace):9,} requests ({run.duration / 3600:.1f} h): {pace}, {each}, {memory:.2f} GB")


def _anatomies(models: tuple[str, ...]) -> dict[str, Anatomy]:
    shapes = (kind.partition(":") for kind in cycle(KINDS))
    return {
        model: dissect(described(SHAPES[shape], kind), f"{shape}:{kind}")
        for model, (shape, _, kind) in zip(models, shapes, strict=False)
    }


def _decided(policy: str, queued: int) -> None:
    seconds = sorted(_decisions(policy, queued))
    cuts = quantiles(seconds, n=100)
    figures = ", ".join(f"{name} {cuts[place - 1] * _SECOND:.3f}" for name, place in (("p50", 50), ("p95", 95)))
    print(f"{policy:10} {figures}, most {seconds[-1] * _SECOND:.3f}")


def _decisions(policy: str, queued: int) -> Iterator[float]:
    """A device that holds a few of 50 models, with a queue for each; requests end and come in turn."""
    names, clock, number = named(50), 0.0, 0
    scheduler = Scheduler(BUDGET, POLICIES[policy](Bound(1e6, 2 * queued), 2.0))
    for subject in Setting(read("h100"), _anatomies(names), BUDGET).case(policy, _trace(1, len(names))).subjects:
        assert subject.bounds
        facts = events.Added(clock, subject.name, subject.placements, *subject.bounds, rates=subject.rates)
        scheduler.handle(facts)
    running: dict[int, str] = {}

    def tell(event: events.Event) -> float:
        began = perf_counter()
        decided = scheduler.handle(event)
        seconds = perf_counter() - began
        for action in decided:
            match action:
                case actions.Load(model, _, placement) | actions.Resize(model, _, placement):
                    waiting.append(events.Loaded(clock, model, placement, placement.device))
                case actions.Unload(model):
                    waiting.append(events.Unloaded(clock, model))
                case actions.Suspend(model, _, sequence):
                    running.pop(sequence)
                    waiting.append(events.Suspended(clock, model, sequence))
                case actions.Start(model, _, sequence) | actions.Resume(model, _, sequence):
                    running[sequence] = model
        return seconds

    waiting: list[events.Event] = []
    for name in cycle(names):
        clock, number = clock + 0.001, number + 1
        tell(events.Submitted(clock, name, number))
        while waiting:
            tell(waiting.pop(0))
        if number >= queued:
            break
    for name in cycle(names):
        clock, number = clock + 0.05, number + 1
        yield tell(events.Submitted(clock, name, number))
        if running:
            sequence = next(iter(running))
            yield tell(events.Finished(clock, running.pop(sequence), sequence))
        while waiting:
            yield tell(waiting.pop(0))
        if number >= queued + 2000:
            return


if __name__ == "__main__":
    main()
