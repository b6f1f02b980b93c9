"""What fits, how fast it is there, and what a switch costs."""

from itertools import product
from math import prod

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hotbunk.costs.plan import Rung, ladder, rungs, sets, switches, together
from hotbunk.errors import ConfigError
from tests.costs.invented import Invented, candidate

PROMPT = 1000


def test_the_ladder_has_every_step_once() -> None:
    assert ladder(37) == [37, 33, 28, 18, 9, 0]
    assert ladder(3) == [3, 2, 1, 0]
    assert ladder(1) == [1, 0]


def test_rungs_are_what_fits_and_what_it_costs() -> None:
    found = rungs(candidate("a", Invented(behind=1e-5, kv=1e-6)), PROMPT, 90)
    assert [rung.placement.layers for rung in found] == [8, 5, 2, 0]
    best = found[0]
    assert best.device == 90
    assert best.speed == pytest.approx(1 / (0.8 * 0.01 + 0.2 * 0.1 + 0.01))
    assert best.throughput == pytest.approx(2 / (0.028 + 0.02))
    assert best.load.seconds == pytest.approx(0.8)
    assert best.arrival.seconds == pytest.approx(0.8 + best.prefill.seconds)
    assert best.arrival.low < best.arrival.seconds < best.arrival.high
    assert (best.out.seconds, best.back.seconds) == pytest.approx((1e-3, 2e-3))


def test_the_fastest_comes_first_even_if_it_takes_least() -> None:
    """A device may be slower than the host."""
    found = rungs(candidate("a", Invented(device=0.2)), PROMPT, 200)
    assert [rung.placement.layers for rung in found] == [0, 2, 5, 8, 10]


@pytest.mark.parametrize(
    ("budget", "prompt", "said"),
    [
        (9, PROMPT, "--budget 9 B: a needs 10 B of device memory with 0 layers there; give more, a shorter --context"),
        (200, 8192, "--prompt 8192: a slot of a has 8192 tokens of context; give a shorter prompt or a longer"),
    ],
)
def test_what_cannot_be_planned(budget: int, prompt: int, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        rungs(candidate("a", Invented()), prompt, budget)
    assert str(error.value).startswith(said)


def ways(*sizes: int, budget: int = 300) -> list[tuple[str, tuple[Rung, ...]]]:
    """Models with layers of these sizes, the later the slower on the host."""
    models = (candidate(str(n), Invented(host=0.05 * (n + 1)), size) for n, size in enumerate(sizes))
    return [(model.name, rungs(model, PROMPT, budget)) for model in models]


@settings(deadline=None)
@given(st.lists(st.integers(1, 20), min_size=1, max_size=4), st.integers(1, 400))
def test_models_stand_together_as_fast_as_they_can(sizes: list[int], budget: int) -> None:
    given_ways = ways(*sizes)
    found = together(given_ways, budget)
    fitting = [
        prod(rung.speed / choices[0].speed for rung, (_, choices) in zip(chosen, given_ways, strict=True))
        for chosen in product(*(choices for _, choices in given_ways))
        if sum(rung.device for rung in chosen) <= budget
    ]
    assert (found is None) == (not fitting)
    if found:
        assert found.kept == pytest.approx(max(fitting) ** (1 / len(sizes)))
        assert found.device == sum(rung.device for _, rung in found.rungs) <= budget
        assert [name for name, _ in found.rungs] == [name for name, _ in given_ways]


def test_every_set_is_looked_at() -> None:
    found = list(sets(ways(10, 10, 10), 130))
    assert [names for names, _ in found] == [("0", "1"), ("0", "2"), ("1", "2"), ("0", "1", "2")]
    assert [each is not None for _, each in found] == [True] * 4
    assert not any(each for _, each in sets(ways(10, 10), 19))
    assert len(list(sets(ways(*[10] * 6), 999))) == 15 + 1


def test_a_switch_takes_all_sequences_along() -> None:
    slow = candidate("slow", Invented(kv=1e-4, layer=0.3))
    quick = candidate("quick", Invented(kv=1e-5))
    there, back = switches([(each.name, rungs(each, PROMPT, 200)) for each in (slow, quick)])
    assert (there.leaves, there.comes) == ("slow", "quick")
    assert there.total.seconds == pytest.approx(2 * 0.1 + 0.01 + 1.0 + 2 * 0.02)
    assert back.total.seconds == pytest.approx(2 * 0.01 + 0.01 + 3.0 + 2 * 0.2)
    assert there.total.low < there.total.seconds < there.total.high
