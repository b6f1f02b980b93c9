"""The offline optimum: what reasoning says of small cases, no contender better, and bounds that nobody is below."""

import random
from collections.abc import Sequence
from math import inf

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from hotbunk.costs.dissect import dissect
from hotbunk.costs.price import price
from hotbunk.errors import ConfigError
from hotbunk.outcomes.slo import Slos
from hotbunk.scheduler import POLICIES, Bound
from hotbunk.scheduler.actions import Refuse
from hotbunk.scheduler.baselines import BASELINES
from hotbunk.scheduler.policies import Policy, Verdict
from hotbunk.scheduler.snapshot import Model, Snapshot
from hotbunk.simulator.case import Case
from hotbunk.simulator.floor import srpt
from hotbunk.simulator.moving import Live, Moving, Restart
from hotbunk.simulator.optimum import optimum, score
from hotbunk.simulator.outlook import Outlook, lowest
from hotbunk.simulator.pace import Delays
from hotbunk.simulator.profile import names, read
from hotbunk.simulator.simulation import Simulation
from hotbunk.study.described import described
from hotbunk.study.shapes import SHAPES
from hotbunk.traces import Request, Trace
from tests.simulator.invented import LIVE, Everything, subject

NONE = Delays(0.0, 0.0)
PATIENT = Bound(1e6, 1000)
"""Refuses nobody."""
STEP = 0.01 + 0.001 + 0.002 * 256 / 1000
"""Of one sequence with fewer than 256 tokens behind it."""


def case(rows: Sequence[Request], moving: Moving = LIVE, delays: Delays = NONE, **sizes: int) -> Case:
    """On a device of 10 bytes; each model takes all of it unless said otherwise."""
    models = sorted({row.model for row in rows})
    subjects = tuple(subject(model, sizes.get(model, 10), 4) for model in models)
    return Case(Trace.of("rows", rows, models), subjects, 10, lambda: moving, delays)


def test_the_short_one_goes_first() -> None:
    found = optimum(case([Request(0.0, "a", 100, 101), Request(0.0, "b", 100, 11)]))
    out = found.run.outcomes
    short = 0.5 + 0.01 + 10 * STEP
    assert out.ended[1] == pytest.approx(short)
    assert out.ended[0] == pytest.approx(short + 0.05 + 0.5 + 0.01 + 100 * STEP)
    assert found.complete
    assert found.score[1] == pytest.approx(out.ended.sum())
    assert found.least[1] == pytest.approx(found.score[1])


def test_who_asks_for_the_same_model_is_served_together() -> None:
    rows = [Request(0.0, model, 100, 50) for model in ("a", "b", "a")]
    out = optimum(case(rows)).run
    assert out.usage.loads == 2
    assert max(out.outcomes.ended[[0, 2]]) < out.outcomes.first[1]


def test_it_waits_for_who_is_about_to_come() -> None:
    rows = [Request(0.0, "a", 100, 11), Request(0.01, "b", 100, 200), Request(0.7, "a", 100, 11)]
    out = optimum(case(rows)).run
    assert out.usage.loads == 2
    assert out.outcomes.ended[2] == pytest.approx(0.7 + 0.01 + 10 * STEP)


def test_a_long_one_makes_way_and_comes_back_if_that_pays() -> None:
    long = Request(0.0, "a", 100, 1500)
    out = optimum(case([long, Request(1.0, "b", 100, 11)]), foresight=False).run
    assert list(out.outcomes.preemptions) == [1, 0]
    # in the middle of a turn; then KV out, a off, b on
    assert out.outcomes.first[1] == pytest.approx(1.0 + 0.02 + 0.05 + 0.5 + 0.01, abs=STEP)
    soon = optimum(case([Request(0.0, "a", 100, 100), Request(1.0, "b", 100, 11)]), foresight=False).run
    assert list(soon.outcomes.preemptions) == [0, 0]


def test_who_knows_what_comes_may_load_before() -> None:
    rows = [Request(0.0, "a", 100, 11), Request(5.0, "b", 100, 11)]
    before, after = (optimum(case(rows), foresight=each).run.outcomes for each in (True, False))
    assert before.first[1] == pytest.approx(5.0 + 0.01)
    assert after.first[1] == pytest.approx(5.0 + 0.05 + 0.5 + 0.01)


def test_promises_come_before_latencies() -> None:
    rows = [Request(0.0, "a", 100, 50), Request(0.0, "b", 100, 100)]
    slos = Slos.read(["ttft=30s", "b:ttft=1s"], ["a", "b"])
    mean, kept = optimum(case(rows)), optimum(case(rows), slos)
    assert mean.run.outcomes.started[0] < mean.run.outcomes.started[1]
    assert kept.run.outcomes.started[1] < kept.run.outcomes.started[0]
    assert score(mean.run, slos)[0] == 1
    assert kept.score[0] == 0
    assert kept.score[1] > mean.score[1]


def test_a_search_that_is_cut_short_says_so() -> None:
    rows = [Request(0.1 * n, "abc"[n % 3], 100, 30 * n + 1) for n in range(6)]
    short, whole = (optimum(case(rows), most=most) for most in (1, 10_000))
    assert (short.complete, short.runs, whole.complete) == (False, 1, True)
    assert short.least <= whole.score <= short.score
    known = optimum(case(rows), most=0, known=[short.run])
    assert (known.run, known.score) == (short.run, short.score)


def test_moments_between_events_are_more_to_choose_from() -> None:
    rows = [Request(0.0, "a", 100, 150), Request(0.5, "b", 100, 11), Request(1.0, "a", 100, 11)]
    plain, finer = (optimum(case(rows), grid=grid) for grid in (inf, 0.5))
    assert finer.score <= plain.score


@pytest.mark.parametrize(("seed", "size"), [*((seed, 7) for seed in range(8)), (8, 4), (9, 4)])
def test_no_contender_is_better(seed: int, size: int) -> None:
    """Neither where no two models fit together nor, with fewer requests, where two do."""
    dice = random.Random(seed)
    moving: Moving = Restart(0.5, 20) if seed % 3 == 2 else LIVE
    models, clock, rows = "abc"[: 2 + seed % 2], 0.0, list[Request]()
    for _ in range(4 if size > 5 else 3):
        rows.append(Request(clock, dice.choice(models), dice.randint(50, 1500), dice.randint(2, 200)))
        clock += dice.expovariate(1.5)
    small = case(rows, moving, Delays(), **dict.fromkeys(models, size))
    slos = Slos.read(["ttft=1s"], models)
    policies: dict[str, Policy] = {name: make(PATIENT) for name, make in POLICIES.items()}
    policies |= {name: make() for name, make in BASELINES.items()}
    runs = [small.run(name, policy) for name, policy in policies.items()]
    for each in (None, slos):
        best = optimum(small, each, most=3000)
        assert best.complete
        assert lowest(small, each) <= best.least
        for run in runs:
            missed, latency = score(run, each)
            assert best.score <= (missed, latency + 1e-6), run.name


# ---------------------------------------------------------------- bounds


class Watched:
    """A policy, and what was expected of its run at each moment."""

    def __init__(self, policy: Policy, outlooks: Sequence[Outlook]) -> None:
        self._policy, self._outlooks = policy, outlooks
        self.run: Simulation | None = None
        self.expected: list[tuple[int, float]] = []

    def admit(self, snapshot: Snapshot, model: Model, sequence: int) -> Refuse | None:
        return self._policy.admit(snapshot, model, sequence)

    def least(self, model: Model) -> float:
        return self._policy.least(model)

    def decide(self, snapshot: Snapshot) -> Verdict:
        assert self.run
        self.expected += [outlook.of(self.run, snapshot) for outlook in self._outlooks]
        return self._policy.decide(snapshot)


WAYS: list[Moving] = [LIVE, Live(Everything(False)), Live(Everything(), False), Restart(0.5, 20)]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Of up to 10 requests for up to 3 models."""
    rows, clock = list[Request](), 0.0
    for _ in range(draw(st.integers(1, 10))):
        clock += draw(st.floats(0.0, 2.0))
        rows.append(Request(clock, draw(st.sampled_from("abc")), draw(st.integers(1, 1500)), draw(st.integers(1, 300))))
    sizes = {name: draw(st.integers(2, 10)) for name in "abc"}
    return case(rows, draw(st.sampled_from(WAYS)), draw(st.sampled_from([NONE, Delays()])), **sizes)


@settings(max_examples=25, deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate))
@given(
    cases(), st.sampled_from(sorted(POLICIES)), st.sampled_from([None, ["ttft=1s,tpot=15ms"], ["ttft=5s,tpot=40ms"]])
)
def test_no_run_is_below_what_was_expected_of_it(drawn: Case, name: str, promised: list[str] | None) -> None:
    slos = Slos.read(promised, drawn.trace.models) if promised else None
    outlooks = [Outlook(drawn, slos, foresight) for foresight in (True, False)]
    watched = Watched(POLICIES[name](PATIENT, 1.0), outlooks)
    watched.run = drawn.simulation(name, watched)
    missed, latency = score(watched.run.run(), slos)
    for late, seconds in [lowest(drawn, slos), *watched.expected]:
        assert late <= missed
        assert seconds <= latency + 1e-6 or late < missed


@pytest.mark.parametrize("machine", names())
@pytest.mark.parametrize("kind", ["qwen3-8b:Q4_K_M", "qwen2.5-3b:F16", "qwen3-30b-a3b:Q4_K_M"])
def test_steps_grow_as_bounds_assume(machine: str, kind: str) -> None:
    shape, _, quantization = kind.partition(":")
    costs = read(machine).costs(dissect(described(SHAPES[shape], quantization), kind))
    place = price(costs.anatomy, len(costs.anatomy.layers), 4096, 4)
    steps = np.array(
        [[costs.decode(place, [256 * tiles] * count).seconds for count in range(1, 5)] for tiles in range(1, 17)]
    )
    assert np.all(np.diff(steps, axis=0) >= 0)
    assert np.all(np.diff(steps, axis=1) >= 0)
    assert np.all(np.diff(steps - steps[:, :1], axis=0) >= -1e-12)


def test_one_machine_does_what_has_least_left() -> None:
    # the second is interrupted by the third, and what is to be done before has been done by then
    assert srpt([(0.0, 2.0), (0.0, 5.0), (4.0, 1.0)], 0.0) == [2.0, 5.0, 8.0]
    assert srpt([(0.0, 2.0), (0.0, 5.0), (4.0, 1.0)], 4.0) == [5.0, 7.0, 12.0]


def test_cases_without_an_optimum() -> None:
    with pytest.raises(ConfigError, match="requests follow answers"):
        optimum(case([Request(0.0, "a", 1, 1), Request(0.0, "a", 1, 1, after=0)]))
    with pytest.raises(ConfigError, match="row 0: 5000 tokens are too many for a, its slots have 4096; leave it out"):
        lowest(case([Request(0.0, "a", 5000, 1)]))
