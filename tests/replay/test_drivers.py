"""One scheduler, two drivers: what it decided live or in simulation, it decides again from the same events."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import Phase, given
from hypothesis import settings as hypothesis

from hotbunk.config import Config
from hotbunk.runtime import Runtime, driver
from hotbunk.scheduler import POLICIES, Bound, Scheduler, actions, events
from hotbunk.scheduler.policies import Policy
from hotbunk.simulator import case as cases
from hotbunk.traces import Trace
from tests.runtime.rig import finish, job, run, settings, some
from tests.simulator.invented import case, subject, traces

Decided = list[actions.Decision | actions.Wake]


class Recorded(Scheduler):
    """Keeps what it is told, and what it says to that."""

    def __init__(self, budget: int, policy: Policy, enduring: bool = False) -> None:
        super().__init__(budget, policy, enduring)
        self.budget, self.told = budget, list[tuple[events.Event, Decided]]()

    def handle(self, event: events.Event) -> Decided:
        decided = super().handle(event)
        self.told.append((event, decided))
        return decided


@contextmanager
def recording(where: ModuleType) -> Iterator[list[Recorded]]:
    """Every scheduler that a driver makes there, in order."""
    lives: list[Recorded] = []

    def make(budget: int, policy: Policy, enduring: bool = False) -> Recorded:
        lives.append(Recorded(budget, policy, enduring))
        return lives[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(where, "Scheduler", make)
        yield lives


def judge(recorded: Recorded, policy: Policy) -> set[type]:
    """Tell a new scheduler the same, with a policy of its own; the kinds of decisions that there were."""
    fresh = Scheduler(recorded.budget, policy)
    for event, decided in recorded.told:
        assert fresh.handle(event) == decided
    assert repr(fresh.snapshot) == repr(recorded.snapshot)
    return {type(action) for _, decided in recorded.told for action in decided}


@pytest.mark.parametrize("policy", sorted(POLICIES))
def test_live(policy: str, smollm2: Path, gemma3: Path) -> None:
    config = settings(smollm2, gemma3, policy=policy)

    async def body() -> None:
        async with Runtime(config) as runtime:
            await _serve(runtime)

    with recording(driver) as lives:
        run(body)
    recorded = lives[-1]  # the driver begins anew when it knows its budget
    kinds = judge(recorded, _policy(config))
    assert {actions.Load, actions.Unload, actions.Start} <= kinds
    if policy != "priced":  # which preempts where a promise needs it, and the machine decides that
        assert (policy == "timeslice") == ({actions.Suspend, actions.Resume} <= kinds)
    told = {type(event) for event, _ in recorded.told}
    assert {events.Added, events.Expected, events.Submitted, events.Loaded, events.Unloaded, events.Finished} <= told


async def _serve(runtime: Runtime) -> None:
    """Two models where one fits: a long answer is overtaken, others wait, one is given up."""
    long = runtime.submit(job("small", 300))
    await some(aiter(long), 1)
    runtime.expect("large")
    short = [runtime.submit(job("large", count)) for count in (4, 9)]
    given_up = runtime.submit(job("small", 400))
    await asyncio.gather(*map(finish, short))
    given_up.cancel()
    await asyncio.gather(finish(long), finish(runtime.submit(job("large", 2))))


@pytest.mark.parametrize("name", sorted(POLICIES))
@hypothesis(max_examples=30, deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate))
@given(trace=traces(["a", "b", "c"]))
def test_simulated(name: str, trace: Trace) -> None:
    config = Config(policy=name)
    with recording(cases) as lives:
        case(trace, [subject(each, 6) for each in trace.models]).run(name, _policy(config))
    [recorded] = lives
    judge(recorded, _policy(config))


def _policy(config: Config) -> Policy:
    return POLICIES[config.policy](Bound(config.max_wait, config.max_queue), config.quantum)
