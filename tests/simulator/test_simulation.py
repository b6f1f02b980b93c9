"""The simulated server: times that can be reckoned by hand, and what must hold for any trace and policy."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from hotbunk.outcomes import Fate, Run
from hotbunk.placement import Footprint, Placement
from hotbunk.scheduler import POLICIES, Bound, Scheduler, Snapshot, actions, events
from hotbunk.scheduler.baselines import BASELINES
from hotbunk.scheduler.policies import Policy, Timeslice, Verdict
from hotbunk.simulator import case as cases
from hotbunk.simulator import device
from hotbunk.simulator.moving import Live, Moving, Restart
from hotbunk.simulator.pace import Delays, Pace
from hotbunk.simulator.simulation import Subject
from hotbunk.traces import Request, Trace
from tests.simulator.invented import LIVE, Everything, Invented, case, subject, subjects, traces

NONE = Delays(0.0, 0.0)


def serve(rows: list[Request], policy: str = "timeslice", moving: Moving = LIVE, **sizes: int) -> Run:
    """By a device of 10 bytes."""
    subjects = [subject(name, size) for name, size in sizes.items()]
    trace = Trace.of("rows", rows, list(sizes))
    return case(trace, subjects, moving, NONE).run(policy, POLICIES[policy](Bound(), 2.0))


def test_a_request_alone() -> None:
    run = serve([Request(1.0, "a", 600, 11)], a=10)
    out = run.outcomes
    # the promotion hides the making of the context; then two chunks, and ten steps: at 601 to 610 tokens, in one tile
    assert out.first[0] == pytest.approx(1.0 + 0.5 + 600 * 0.0001)
    assert out.ended[0] - out.first[0] == pytest.approx(10 * (0.01 + 0.001 + 0.002 * 768 / 1000))
    assert (out.arrived[0], out.started[0], out.fate[0], out.tokens[0]) == (1.0, 1.5, Fate.DONE, 11)
    assert run.duration == out.ended[0]
    [stay] = run.stays
    assert (stay.model, stay.begin, stay.ready, stay.size) == ("a", 1.0, 1.5, 10)


def test_pageable_weights_stop_everything_and_a_restart_stops_nothing() -> None:
    rows = [Request(0.0, "a", 1, 400), Request(3.0, "b", 1, 2)]
    pinned = serve(rows, a=5, b=5).outcomes
    pageable = serve(rows, moving=Live(Everything(False)), a=5, b=5).outcomes
    apart = serve(rows, moving=Restart(1.0, 10.0), a=5, b=5).outcomes
    alone = serve(rows[:1], a=5, b=5).outcomes
    # while b's context is made nothing is computed, and b takes a few turns for its own
    assert pinned.ended[0] - pinned.first[0] == pytest.approx(alone.ended[0] - alone.first[0] + 0.1, abs=0.03)
    assert pageable.ended[0] - pageable.first[0] == pytest.approx(alone.ended[0] - alone.first[0] + 2.1, abs=0.03)
    assert apart.ended[0] - apart.first[0] == pytest.approx(alone.ended[0] - alone.first[0], abs=0.03)
    assert apart.started[1] == pytest.approx(3.0 + 1.0 + 0.5, abs=0.02)


def test_a_preempted_sequence_goes_on_where_it_was() -> None:
    run = serve([Request(0.0, "a", 100, 1000), Request(1.0, "b", 100, 10)], a=10, b=10)
    out = run.outcomes
    assert list(out.preemptions) == [1, 0]
    assert (run.usage.loads, run.usage.suspends) == (3, 1)
    # a has had its two seconds when b comes: KV out, a off, b on
    assert out.first[1] == pytest.approx(2.5 + 0.02 + 0.05 + 0.5 + 0.01, abs=0.03)
    alone = serve([Request(0.0, "a", 100, 1000)], a=10, b=10).outcomes
    away = 0.02 + 0.05 + 0.5 + 0.01 + 9 * 0.0115 + 0.05 + 0.5 + 0.02
    assert out.ended[0] == pytest.approx(alone.ended[0] + away, abs=0.03)


def test_the_oldest_prompt_goes_first_also_when_it_comes_back() -> None:
    told: list[events.Event] = []
    worker = device.Device({"a": Invented()}, LIVE, NONE, lambda at, event: told.append(event))
    [place] = subject("a").placements
    for number in (1, 2):
        worker.add(device.Job(number, "a", 2048, 1))
    commands: list[tuple[float, device.Command]] = [
        (0.0, actions.Load("a", "", place)),
        (0.6, actions.Start("a", "", 1)),
        (0.6, actions.Start("a", "", 2)),
        (0.61, actions.Suspend("a", "", 1)),  # a chunk takes 51 ms
        (0.70, actions.Resume("a", "", 1)),
    ]
    for at, command in commands:
        worker.order(at, command)
    while not worker.idle:
        worker.run(10.0)
    assert [(type(event).__name__, getattr(event, "sequence", 0)) for event in told] == [
        ("Loaded", 0),
        ("Suspended", 1),
        ("Finished", 1),
        ("Finished", 2),
    ]


def test_what_hotbunk_itself_takes_of_each_step_counts() -> None:
    trace = Trace.of("two", [Request(0.0, "a", 1, 11), Request(0.0, "a", 1, 11)])
    plain, slow = (
        case(trace, [subject("a")], LIVE, delays).run("t", POLICIES["fifo"]()).outcomes
        for delays in (NONE, Delays(0.0, 0.0, 0.003, 0.0005))
    )
    # ten steps for each of both; the first of the first is taken alone
    more = (slow.ended - slow.first) - (plain.ended - plain.first)
    assert list(more) == pytest.approx([10 * 0.003 + 19 * 0.0005, 10 * 0.003 + 19 * 0.0005], abs=0.0005)


@pytest.mark.parametrize("tokens", [2, 3, 4, 700])
def test_the_first_steps_of_a_new_batch_take_longer(tokens: int) -> None:
    trace = Trace.of("one", [Request(0.0, "a", 1, tokens)])
    plain, slow = (
        case(trace, [subject("a")], LIVE, delays).run("t", POLICIES["fifo"]()).outcomes
        for delays in (NONE, Delays(0.0, 0.0, change=0.3))
    )
    took = (slow.ended - slow.first) - (plain.ended - plain.first)
    assert took[0] == pytest.approx(0.1 if tokens == 2 else 0.3)


def test_a_batch_is_new_whenever_somebody_comes_or_goes() -> None:
    trace = Trace.of("two", [Request(0.0, "a", 1, 200), Request(1.0, "a", 1, 20)])
    plain, slow = (
        case(trace, [subject("a")], LIVE, delays).run("t", POLICIES["fifo"]())
        for delays in (NONE, Delays(0.0, 0.0, change=0.03))
    )
    # one begins, another comes, and goes
    assert slow.usage.computing - plain.usage.computing == pytest.approx(3 * 0.03)


def worked(*commands: tuple[float, device.Command], **models: Subject) -> list[tuple[str, int, float]]:
    """What a device that was told so reports: of which sequence, and when. Three of ``a``: 1 token, 11 to generate."""
    told: list[tuple[str, int, float]] = []

    def hear(at: float, event: events.Event) -> None:
        told.append((type(event).__name__, getattr(event, "sequence", 0), at))

    worker = device.Device({name: each.costs for name, each in models.items()}, LIVE, NONE, hear)
    for number in (1, 2, 3):
        worker.add(device.Job(number, "a", 1, 11))
    for at, command in commands:
        worker.order(at, command)
    while not worker.idle:
        worker.run(10.0)
    return told


def test_empty_slots_between_busy_ones_are_evaluated_along() -> None:
    made = subject("a", slots=4)
    [place] = made.placements
    load = (0.0, actions.Load("a", "", place))
    starts = [(1.0, actions.Start("a", "", number)) for number in (1, 2, 3)]

    def last(gone: int) -> float:
        told = worked(load, *starts, (1.05, actions.Suspend("a", "", gone)), a=made)
        return next(at for name, number, at in told if (name, number) == ("Finished", 3))

    assert last(2) > last(1) + 0.004  # five or six steps, a millisecond for each slot


@pytest.mark.parametrize(
    ("decoding", "prefilling", "groups"),
    [
        ({0}, {1}, (1,)),
        ({2, 3}, set(), (2,)),
        ({0, 2}, set(), (3,)),
        ({0, 2}, {1}, (1, 1)),
        ({0, 1, 7}, set(), (2, 1)),
        ({0, 1, 3, 6}, {4}, (4, 2)),
    ],
)
def test_slots_are_evaluated_in_as_few_goes_as_gaps_allow(
    decoding: set[int], prefilling: set[int], groups: tuple[int, ...]
) -> None:
    assert device._groups(decoding, prefilling) == groups


def test_a_state_that_comes_back_fits_between_the_slices_of_a_promotion() -> None:
    a, b = subject("a", 5), subject("b", 5)
    commands: list[tuple[float, device.Command]] = [
        (0.0, actions.Load("a", "", a.placements[0])),
        (1.0, actions.Start("a", "", 1)),
        (1.05, actions.Suspend("a", "", 1)),
        (2.2, actions.Resume("a", "", 1)),
    ]
    alone = worked(*commands, a=a, b=b)
    load = (2.0, actions.Load("b", "", b.placements[0]))  # its context until 2.1, its bytes until 2.5
    beside = worked(*commands[:3], load, *commands[3:], a=a, b=b)
    assert [name for name, _, _ in alone] == ["Loaded", "Suspended", "Finished"]
    assert [name for name, _, _ in beside] == ["Loaded", "Suspended", "Finished", "Loaded"]
    assert beside[2][2] - alone[2][2] == pytest.approx(Pace(a.costs, a.placements[0], NONE).between)


def test_calling_for_a_promotion_stops_the_loop() -> None:
    rows = [Request(0.0, "a", 1, 400), Request(3.0, "b", 1, 2)]

    def lasted(costs: Invented) -> float:
        trace = Trace.of("rows", rows, ["a", "b"])
        out = case(trace, [subject("a", 5), subject("b", 5, costs=costs)], LIVE, NONE).run("t", POLICIES["fifo"]())
        return float(out.outcomes.ended[0] - out.outcomes.first[0])

    assert lasted(Invented(calling=0.2)) == pytest.approx(lasted(Invented()) + 0.2, abs=0.02)


def test_who_follows_an_answer_comes_after_it() -> None:
    run = serve([Request(0.0, "a", 10, 5), Request(3.0, "b", 10, 5, after=0)], a=5, b=5)
    assert run.outcomes.arrived[1] == run.outcomes.ended[0] + 3.0


def test_what_fits_no_slot_is_refused_and_answers_end_with_their_slot() -> None:
    rows = [Request(0.0, "a", 5000, 5), Request(0.0, "a", 4000, 500), Request(0.0, "a", 1, 1, after=0)]
    out = serve(rows, a=10).outcomes
    assert [Fate(fate) for fate in out.fate] == [Fate.REFUSED, Fate.DONE, Fate.OPEN]
    assert list(out.tokens) == [0, 96, 0]


@pytest.mark.parametrize(("announced", "limits"), [(False, [4086, 96]), (True, [500, 96])])
def test_the_length_of_an_answer_is_known_where_it_is_announced(announced: bool, limits: list[int]) -> None:
    told: list[int] = []

    class Told(Scheduler):
        def handle(self, event: events.Event) -> list[actions.Decision | actions.Wake]:
            told.extend([event.limit] if isinstance(event, events.Submitted) else [])
            return super().handle(event)

    rows = [Request(0.0, "a", 10, 500), Request(0.0, "a", 4000, 500)]  # in a slot of 4096
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cases, "Scheduler", Told)
        made = replace(case(Trace.of("rows", rows, "a"), [subject("a")]), announced=announced)
        made.run("fifo", POLICIES["fifo"]())
    assert told == limits


def test_moves_at_the_same_time_are_one_time_of_moving() -> None:
    one = [Request(0.0, "a", 1, 1)]
    # the context is made while the promotion goes on
    assert serve(one, a=10).usage.moving == pytest.approx(0.5)
    assert serve(one, moving=Live(Everything(False)), a=10).usage.moving == pytest.approx(4 * 0.5 + 0.1)
    four = [Request(0.1 * place, name, 1, 1) for place, name in enumerate("abcd")]
    # one promotion after the other, and all processes beside each other
    assert serve(four, a=2, b=2, c=2, d=2).usage.moving == pytest.approx(4 * 0.5)
    assert serve(four, moving=Restart(1.0, 10.0), a=2, b=2, c=2, d=2).usage.moving == pytest.approx(0.3 + 1.2)


def test_bounds_follow_whole_loads_from_nothing_and_unloads_that_suspended_somebody() -> None:
    bounds: list[tuple[float, float] | None] = []
    whole, part = Placement(10, 4096, 2, Footprint(10)), Placement(4, 4096, 2, Footprint(4), cached=4)

    class Scripted:
        def __init__(self, budget: int, policy: Policy) -> None:
            course: list[list[actions.Decision | actions.Wake]] = [
                [actions.Load("a", "", part)],
                [actions.Resize("a", "", whole)],
                [actions.Unload("a", "")],  # idle
                [actions.Load("a", "", whole)],
                [actions.Start("a", "", 0), actions.Wake(10.0)],
                [actions.Suspend("a", "", 0), actions.Unload("a", "")],
            ]
            self.course = iter(course)

        def handle(self, event: events.Event) -> list[actions.Decision | actions.Wake]:
            match event:
                case events.Loaded() | events.Unloaded():
                    bounds.append(event.bounds)
                case events.Submitted() | events.Tick():
                    pass
                case _:
                    return []
            return next(self.course, [])

    foretold = Subject("a", Invented(), (whole, part), bounds=(9.0, 1.0))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cases, "Scheduler", Scripted)
        case(Trace.of("one", [Request(0.0, "a", 1, 4000)]), [foretold]).run("scripted", POLICIES["fifo"]())
    came, left = 1.5 * 0.5 + 0.05, 1.5 * (0.02 + 0.05) + 0.05
    assert bounds[:3] == [(9.0, 1.0)] * 3
    assert bounds[3:] == [(pytest.approx(came, abs=0.01), 1.0), pytest.approx((came, left), abs=0.05)]


def test_bounds_forget_pageable_loads_once_the_weights_are_pinned() -> None:
    bounds: list[float] = []

    class Told(Scheduler):
        def handle(self, event: events.Event) -> list[actions.Decision | actions.Wake]:
            match event:
                case events.Loaded(model="a", bounds=(load, _)):
                    bounds.append(load)
            return super().handle(event)

    class Filling(Everything):
        def has(self, model: str, now: float) -> bool:
            return now > 10.0

    rows = [Request(at, name, 1, 1) for at, name in ((0.0, "a"), (5.0, "b"), (20.0, "a"))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cases, "Scheduler", Told)
        serve(rows, "fifo", Live(Filling()), a=10, b=10)
    # pageable, it takes four times as long, and the context is made after that
    assert bounds == pytest.approx([1.5 * (4 * 0.5 + 0.1) + 0.05, 1.5 * 0.5 + 0.05], abs=0.01)


def test_tokens_that_were_never_made_do_not_count() -> None:
    never = subject("a", 20)  # for which the device is too small
    trace = Trace.of("two", [Request(0.0, "a", 10, 500), Request(0.0, "b", 10, 7)], "ab")
    out = case(trace, [never, subject("b")]).run("lru", BASELINES["lru"]()).outcomes
    assert [Fate(fate) for fate in out.fate] == [Fate.OPEN, Fate.DONE]
    assert list(out.tokens) == [0, 7]


def test_delays_count() -> None:
    trace = Trace.of("one", [Request(0.0, "a", 1, 1)])
    late = case(trace, [subject("a")], LIVE, Delays(0.25, 0.125)).run("t", POLICIES["fifo"]())
    soon = case(trace, [subject("a")], LIVE, NONE).run("t", POLICIES["fifo"]())
    # the load and the start each cross the socket
    assert late.outcomes.first[0] - soon.outcomes.first[0] == pytest.approx(0.25 + 2 * 0.125)


@pytest.mark.parametrize("quantum", [0.5, 1.0, 2.0])
def test_turns_count_from_the_first_token_where_loads_stop_the_loop(quantum: float) -> None:
    """Each load takes 2.1 s, in which nobody computes, and for each of the four another one has to leave."""
    rows = [Request(0.1 * place, model, 50, 200) for place, model in enumerate("abcd")]
    few = case(Trace.of("rows", rows, "abcd"), [subject(name, 5) for name in "abcd"], Live(Everything(False)))

    def hear(now: float, action: actions.Decision) -> None:
        assert now < 200.0, "turns pass, and nobody makes a token"

    few.simulation("turns", POLICIES["timeslice"](Bound(), quantum), hear).run()


class Restless(Timeslice):
    """Gives a model another of its placements after each answer."""

    def decide(self, snapshot: Snapshot) -> Verdict:
        verdict = Timeslice.decide(self, snapshot)
        if verdict.actions or snapshot.moving:
            return verdict
        for model in snapshot.residents:
            place = model.placements[model.answered % len(model.placements)]
            if place != model.placement and place.device.total <= snapshot.free + model.bytes:
                return Verdict([actions.Resize(model.id, "", place)])
        return verdict


WAIT = 30.0
WAYS: list[Moving] = [LIVE, Live(Everything(False)), Live(Everything(), False), Restart(0.5, 20)]
OURS: dict[str, Callable[[], Policy]] = {name: partial(kind, Bound(WAIT), 1.0) for name, kind in POLICIES.items()}
CONTENDERS: dict[str, Callable[[], Policy]] = {**OURS, **BASELINES, "restless": partial(Restless, Bound(WAIT), 1.0)}

ODD = Invented(0.0101237, 0.0009871, 0.0019973, 0.0001013, 0.5012347, 0.0031234, 0.1001239, 0.0512343, 0.0201237)
"""No two sums of which are ever the same."""


Serving = tuple[Trace, tuple[Subject, ...], str, Moving]


@st.composite
def servings(draw: st.DrawFn) -> Serving:
    names = sorted(draw(st.sets(st.sampled_from("abcd"), min_size=1)))
    who, moving = draw(st.sampled_from(sorted(CONTENDERS))), draw(st.sampled_from(WAYS))
    return draw(traces(names)), draw(subjects(names, ODD)), who, moving


def run(serving: Serving) -> Run:
    trace, models, who, moving = serving
    return case(trace, models, moving).run(who, CONTENDERS[who]())


@settings(max_examples=300, deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate))
@given(servings())
def test_every_request_ends_exactly_once_and_tokens_are_conserved(
    serving: Serving,
) -> None:
    made = run(serving)
    out, trace = made.outcomes, made.outcomes.trace
    done = out.fate == Fate.DONE
    for row in range(len(trace)):
        after = trace.after[row]
        lost = after >= 0 and out.fate[after] != Fate.DONE
        assert (out.fate[row] == Fate.OPEN) == lost
    assert np.all(out.arrived[done] <= out.started[done])
    assert np.all(out.started[done] < out.first[done])
    assert np.all(out.first[done] <= out.ended[done])
    if serving[2] in OURS:
        assert np.all(out.started[done] - out.arrived[done] <= WAIT + Delays().latency + 1e-9)
    assert np.array_equal(out.tokens[done], trace.output[done])
    usage = made.usage
    assert usage.busy <= made.duration + 1e-6
    assert max(usage.computing, usage.moving) - 1e-6 <= usage.busy <= usage.computing + usage.moving + 1e-6
    # no device computes faster than each token alone, or slower than with nobody beside it
    least = ODD.token * trace.prompt[done].sum() + ODD.step * (trace.output[done] - 1).max(initial=0)
    most = (ODD.token * trace.prompt + (ODD.step + ODD.each + ODD.thousand * 2.048) * trace.output)[done].sum()
    assert least - 1e-9 <= usage.computing <= most + 1e-9
    # nobody is on the device twice, and never more than fits
    for stay in made.stays:
        there = [s for s in made.stays if s.begin <= stay.begin < s.end]
        assert len({s.model for s in there}) == len(there)
        assert sum(s.size for s in there) <= 10


@settings(max_examples=60, deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate))
@given(servings())
def test_steps_taken_together_are_the_steps_taken_one_by_one(
    serving: Serving,
) -> None:
    together = run(serving)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(device._Runner, "same", lambda _: 0)
        apart = run(serving)
    for name in ("started", "first", "ended"):
        np.testing.assert_allclose(getattr(together.outcomes, name), getattr(apart.outcomes, name), rtol=1e-9)
    assert together.usage.suspends == apart.usage.suspends


@settings(max_examples=20, deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate))
@given(servings())
def test_the_same_again_is_the_same(serving: Serving) -> None:
    one, other = run(serving), run(serving)
    for name in ("arrived", "started", "first", "ended", "tokens", "preemptions", "fate"):
        assert getattr(one.outcomes, name).tobytes() == getattr(other.outcomes, name).tobytes()
    assert one.stays == other.stays


def test_costs_of_invented_models_are_as_said() -> None:
    assert Invented().decode(subject("a").placements[0], [1000, 2000]).seconds == pytest.approx(0.01 + 0.002 + 0.004096)
