"""When to switch, to split or to wait, against figures reckoned by hand."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hotbunk.costs.crossover import Contest, Outcome, segments
from hotbunk.costs.plan import rungs
from tests.costs.invented import Invented, candidate

PROMPT = 1000
A = Invented(device=0.02, host=0.3, layer=0.2, kv=1e-5)
B = Invented(device=0.01, host=0.1, layer=0.1, kv=1e-5)


def contest(budget: int, a: Invented = A, b: Invented = B, prompt: int = PROMPT) -> Contest:
    """Two models that take 110 bytes each."""
    first, second = candidate("a", a), candidate("b", b)
    found = [(each, rungs(each, prompt, budget)) for each in (first, second)]
    return Contest(found[0], found[1], prompt, budget)


def ways(found: list[Outcome]) -> dict[str, Outcome]:
    return {outcome.way: outcome for outcome in found}


def test_waiting_and_switching_by_hand() -> None:
    found = ways(contest(110).outcomes(300, 50))
    alone_a, alone_b = 300 * 0.02, 10 * 0.01 + 50 * 0.01
    wait, switch = found["wait"], found["switch"]
    assert (wait.other, wait.end) == pytest.approx((alone_a, alone_a + 0.01 + 1.0 + alone_b))
    assert wait.delay == pytest.approx(alone_a + 0.01 + 1.0)
    assert switch.end == pytest.approx(0.01 + 0.01 + 1.0 + alone_b)
    assert switch.other == pytest.approx(switch.end + 0.01 + 2.0 + 0.02 + alone_a)
    assert switch.delay == pytest.approx(2 * 1.02 + 0.6 + 2.03)
    assert {each.layers for each in switch.placements} == {10}


def test_models_that_fit_together_whole_need_not_leave() -> None:
    found = contest(220).best(500, 100)
    assert (found.way, [place.layers for place in found.placements]) == ("split", [10, 10])
    # B is loaded, both take turns for 100 tokens, A goes on alone
    assert found.end == pytest.approx(1.0 + 10 * 0.01 + 2 * 0.02 + 100 * 0.03)
    assert found.other == pytest.approx(found.end + (500 - 2 - 100) * 0.02)


def test_without_room_for_both_there_is_no_split() -> None:
    assert set(ways(contest(20).outcomes(100, 100))) == {"wait", "switch", "split"}
    assert set(ways(contest(19).outcomes(100, 100))) == {"wait", "switch"}


@settings(deadline=None)
@given(st.integers(1, 60), st.integers(1, 60))
def test_a_split_is_taking_turns(left: int, output: int) -> None:
    # so slow to load that nobody grows at the end
    a, b = Invented(0.02, 0.3, layer=50.0, kv=1e-5), Invented(0.01, 0.1, layer=50.0, kv=1e-5)
    found = ways(contest(120, a, b).outcomes(left, output))["split"]
    layers = found.placements[0].layers, found.placements[1].layers
    rounds, chunks = min(max(left - 2, 0), output), min(2, left)
    step_a, step_b = 0.3 - 0.028 * layers[0], 0.1 - 0.009 * layers[1]
    start = 50.0 * (10 - layers[0]) + 50.0 * layers[1] + (0.03 if layers[0] < 10 else 0.0)
    prefilled = start + 10 * step_b + chunks * step_a
    shared = prefilled + rounds * (step_a + step_b)
    assert found.end == pytest.approx(shared + (output - rounds) * step_b)
    assert found.other == pytest.approx(shared + (left - chunks - rounds) * step_a)


def test_who_is_left_takes_the_device_if_that_is_sooner() -> None:
    subject = contest(190, Invented(0.02, 0.03, layer=0.2, kv=1e-5), Invented(0.01, 1.0))
    found = ways(subject.outcomes(2000, 10))["split"]
    assert [place.layers for place in found.placements] == [5, 10]
    grown = 0.01 + 3e-5 * (PROMPT + 2 + 10) + 5 * 0.2 + (2000 - 2 - 10) * 0.02
    assert found.other - found.end == pytest.approx(grown)


@settings(deadline=None)
@given(st.integers(1, 5000), st.integers(1, 5000), st.sampled_from([60, 110, 120, 150, 220]))
def test_no_way_is_better_than_having_the_device_alone(left: int, output: int, budget: int) -> None:
    subject = contest(budget)
    best = subject.best(left, output)
    for outcome in subject.outcomes(left, output):
        assert best.delay <= outcome.delay
        assert outcome.delay > 0
        assert outcome.end > 0
        assert outcome.other > 0


@settings(deadline=None)
@given(st.integers(1, 4000), st.sampled_from([60, 110, 120, 150]), st.integers(1, 7192))
def test_segments_say_what_is_best(left: int, budget: int, output: int) -> None:
    subject = contest(budget)
    found = segments(subject, left)
    assert found[0][0] == 1
    assert [begin for begin, _ in found] == sorted({begin for begin, _ in found})
    way = [way for begin, way in found if begin <= output][-1]
    outcomes = ways(subject.outcomes(left, output))
    assert outcomes[way].delay <= subject.best(left, output).delay * 1.01


def test_a_long_answer_to_b_had_better_wait_for_a_short_one_of_a() -> None:
    subject = contest(110)
    assert [way for _, way in segments(subject, 1000)][-1] == "wait"
    assert subject.best(1000, 10).way == "switch"
    assert {way for _, way in segments(subject, 10)} == {"wait"}


def test_contexts_count() -> None:
    """Steps take longer the more tokens lie behind them: the mean one is that of the middle."""
    found = contest(110, b=Invented(device=0.01, behind=1e-5)).outcomes(1, 400)
    plain = contest(110, b=Invented(device=0.01)).outcomes(1, 400)
    assert found[0].end - plain[0].end == pytest.approx(400 * 1e-5 * (PROMPT + 200))
