"""Learning: costs follow what requests take, forget at a known pace, and notice when the machine has changed."""

from collections.abc import Callable
from dataclasses import replace
from math import exp

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hotbunk.costs.drift import Watch
from hotbunk.costs.learning import HALF_LIFE, KEPT, Learner
from hotbunk.costs.model import Costs
from hotbunk.costs.record import Kind, Record
from hotbunk.costs.tiles import OPEN, SECOND, Tiles
from tests.costs.test_model import LARGE, MACHINE, invented, place

WHOLE, HALF = place(LARGE, 37), place(LARGE, 20)
PROFILE = invented(0, 40, 0.03)
TRUTH = Costs.fitted(LARGE, MACHINE, PROFILE)


class Machine:
    """What takes ``factor`` times what the profile says, give or take ``noise``."""

    def __init__(self, seed: int = 0, noise: float = 0.03) -> None:
        self.factor, self.noise, self.now = 1.0, noise, 0.0
        self._random = np.random.default_rng(seed)

    def measure(self, point: Record) -> Record:
        self.now += 1
        scatter = exp(self.noise * float(self._random.standard_normal()))
        return replace(point, seconds=TRUTH.estimate(point).seconds * self.factor * scatter)

    def teach(self, learner: Learner, points: int, shape: Record | None = None) -> None:
        for number in range(points):
            point = shape or Record(Kind.PREFILL, WHOLE, 0.0, tokens=100 + 37 * (number % 50))
            learner.hear(self.measure(point), self.now)


PREFILL = Record(Kind.PREFILL, WHOLE, 0.0, tokens=1000)


def off(learner: Learner, point: Record) -> float:
    """What is foretold by what the profile's machine takes."""
    return learner.costs.estimate(point).seconds / TRUTH.estimate(point).seconds


def test_without_live_measurements_the_stored_ones_hold() -> None:
    learner = Learner(LARGE, MACHINE, [*PROFILE, replace(PREFILL, seconds=1.0, check=True)])
    assert learner.costs.fits == TRUTH.fits
    assert learner.source(Kind.DECODE) == "profile"
    assert Learner(LARGE, MACHINE).costs.fits == Costs.prior(LARGE, MACHINE).fits


@pytest.mark.parametrize("factor", [0.6, 1.3, 2.0])
def test_a_changed_truth_is_learnt_at_the_pace_of_forgetting(factor: float) -> None:
    learner, machine = Learner(LARGE, MACHINE, PROFILE), Machine()
    machine.teach(learner, 100, PREFILL)
    assert off(learner, PREFILL) == pytest.approx(1, rel=0.03)
    machine.factor = factor
    machine.teach(learner, 2, PREFILL)
    assert off(learner, PREFILL) == pytest.approx(1, rel=0.1)  # might be chance yet
    machine.teach(learner, int(HALF_LIFE) - 2, PREFILL)
    for lives in range(1, 6):
        left = (off(learner, PREFILL) - factor) / (1 - factor)
        assert left <= 1.5 * 2**-lives + 0.03
        machine.teach(learner, int(HALF_LIFE), PREFILL)


def test_what_is_not_measured_anew_is_not_forgotten() -> None:
    learner, machine = Learner(LARGE, MACHINE, PROFILE), Machine()
    split = Record(Kind.DECODE, HALF, 0.0, 1, 3000)
    known = learner.costs.deviation(split)
    for _ in range(400):
        step = machine.measure(Record(Kind.DECODE, WHOLE, 0.0, 1, 500))
        learner.hear(step, machine.now)
        machine.now += 60
    assert learner.lessons[Kind.DECODE].count >= 200
    assert off(learner, split) == pytest.approx(1, rel=0.05)
    assert learner.costs.deviation(split) < 1.5 * known


def test_a_model_never_measured_is_known_after_some_requests() -> None:
    learner, machine = Learner(LARGE, MACHINE), Machine()
    assert learner.source(Kind.PREFILL) == "roofline"
    before = abs(off(learner, PREFILL) - 1)
    machine.teach(learner, 1, PREFILL)
    assert abs(off(learner, PREFILL) - 1) < before / 2
    machine.teach(learner, 30)
    assert off(learner, PREFILL) == pytest.approx(1, rel=0.03)
    assert learner.source(Kind.PREFILL) == "learned"


@settings(max_examples=25, deadline=None)
@given(st.floats(0.02, 50.0), st.integers(20, 120))
def test_an_outlier_hardly_moves_it(factor: float, points: int) -> None:
    learner, machine = Learner(LARGE, MACHINE, PROFILE), Machine()
    machine.teach(learner, points)
    plain = learner.costs.estimate(PREFILL).seconds
    wrong = machine.measure(PREFILL)
    learner.hear(replace(wrong, seconds=wrong.seconds * factor), machine.now)
    machine.teach(learner, 5)  # so that it is fitted anew
    assert learner.costs.estimate(PREFILL).seconds == pytest.approx(plain, rel=0.04)
    assert not learner.drifts


def test_it_remembers_no_more_than_it_may_and_fits_rarely(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    real = Costs.refitted

    def counted(self: Costs, kind: Kind, records: list[Record], weights: np.ndarray) -> Costs:
        sizes.append(len(records))
        return real(self, kind, records, weights)

    learner, machine = Learner(LARGE, MACHINE), Machine()
    monkeypatch.setattr(Costs, "refitted", counted)
    machine.teach(learner, 600)
    assert max(sizes) <= KEPT
    assert len(sizes) < 600 / 4


def test_every_prediction_is_kept_beside_what_was_then_measured() -> None:
    learner, machine = Learner(LARGE, MACHINE, PROFILE), Machine()
    machine.factor = 2.0
    machine.teach(learner, 1, PREFILL)
    lesson = learner.lessons[Kind.PREFILL]
    assert lesson.predicted.seconds == TRUTH.estimate(PREFILL).seconds  # before it had learnt from it
    assert lesson.measured == pytest.approx(2 * lesson.predicted.seconds, rel=0.1)
    assert list(lesson.errors) == pytest.approx([0.5], rel=0.1)
    assert (lesson.count, lesson.expected, lesson.taken) == (1, lesson.predicted.seconds, lesson.measured)


def test_what_took_no_time_teaches_nothing() -> None:
    learner = Learner(LARGE, MACHINE)
    learner.hear(replace(PREFILL, seconds=0.0), 0.0)
    assert not learner.lessons


# ---------------------------------------------------------------- drift


def until(learner: Learner, machine: Machine, true: Callable[[], bool], shape: Record = PREFILL) -> int:
    """Points until it is true."""
    for count in range(1, 200):
        machine.teach(learner, 1, shape)
        if true():
            return count
    raise AssertionError("it never was")


@pytest.mark.parametrize("spread", [0.003, 0.05, 0.15, 0.4])
def test_no_false_alarm_in_ten_thousand_points(spread: float) -> None:
    random, watch = np.random.default_rng(3), Watch()
    for at, ratio in enumerate(np.exp(spread * random.standard_normal(10_000))):
        watch.hear(float(ratio), spread, 0.0, at)
        assert not watch.drift


@pytest.mark.parametrize(("factor", "most"), [(1.5, 4), (1.25, 12), (0.7, 4)])
def test_a_slowdown_is_noticed_and_its_end_too(factor: float, most: int) -> None:
    learner, machine = Learner(LARGE, MACHINE, PROFILE), Machine()
    machine.teach(learner, 300, PREFILL)
    began = machine.now
    machine.factor = factor
    assert until(learner, machine, lambda: bool(learner.drifts)) <= most
    machine.teach(learner, 300, PREFILL)  # by now it has learnt it, and yet it is not what was profiled
    assert off(learner, PREFILL) == pytest.approx(factor, rel=0.03)
    drift = learner.drifts[Kind.PREFILL]
    assert drift.factor == pytest.approx(factor, rel=0.05)
    assert began < drift.since <= began + most
    assert drift.count >= 300
    machine.factor = 1.0
    assert until(learner, machine, lambda: not learner.drifts) <= 6


def test_a_model_never_profiled_is_held_against_its_beginning() -> None:
    learner, machine = Learner(LARGE, MACHINE), Machine()
    machine.factor = 1.7  # the roofline is wrong by that, which is no drift
    machine.teach(learner, 300, PREFILL)
    assert not learner.drifts
    machine.factor *= 1.5
    assert until(learner, machine, lambda: bool(learner.drifts)) <= 5
    assert learner.drifts[Kind.PREFILL].factor == pytest.approx(1.5, rel=0.1)


def test_where_the_profile_is_unsure_it_is_not_contradicted_by_little() -> None:
    watch = Watch()
    for at in range(100):
        watch.hear(1.3, 0.05, 0.15, at)
    assert not watch.drift


# ---------------------------------------------------------------- steps


def test_steps_are_gathered_into_measurements_of_a_second() -> None:
    tiles, step = Tiles(), Record(Kind.DECODE, WHOLE, 0.01, 2, 300)
    found = [tiles.add(replace(step, tokens=300 + n % 100, seconds=0.01 if n % 5 else 0.5), 0.0) for n in range(1000)]
    whole = [record for record in found if record]
    assert 1000 * 0.108 / 2 / SECOND < len(whole) < 1000 * 0.108 / SECOND
    assert all(record.seconds == 0.01 and 300 <= record.tokens < 400 and record.repeats > 1 for record in whole)


def test_slow_steps_teach_alone_and_few_ones_at_last() -> None:
    tiles, step = Tiles(), Record(Kind.DECODE, WHOLE, 0.0, 1, 10)
    assert tiles.add(replace(step, seconds=1.5), 0.0) == replace(step, seconds=1.5)
    assert tiles.add(replace(step, seconds=0.1), 100.0) is None
    late = tiles.add(replace(step, seconds=0.3), 200.0)
    assert late and (late.seconds, late.repeats) == (0.2, 2)


def test_tiles_left_open_are_bounded() -> None:
    tiles = Tiles()
    for tile in range(3 * OPEN):
        tiles.add(Record(Kind.DECODE, WHOLE, 0.6, 1, 256 * tile), 0.0)
    assert tiles.add(Record(Kind.DECODE, WHOLE, 0.6, 1, 0), 0.0) is None  # its first step is forgotten
    assert tiles.add(Record(Kind.DECODE, WHOLE, 0.6, 1, 256 * (3 * OPEN - 1)), 0.0)
