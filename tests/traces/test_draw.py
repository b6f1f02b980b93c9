"""Drawn traces: what was asked for is what comes, and the same seed gives the same."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from hotbunk.traces import Request, Trace
from hotbunk.traces.arrivals import Arrivals, Burst, Swing
from hotbunk.traces.draw import Chains, LogNormal, Popularity, Recipe, draw, named
from hotbunk.traces.trace import Floats

LENGTHS = LogNormal(500, 1.0, 8192), LogNormal(150, 0.8, 2048)
RECIPE = Recipe(Arrivals(2.0), Popularity(named(4)), LENGTHS, requests=20_000)
SEED = 5


def gaps(times: Floats) -> tuple[float, float]:
    """Their mean and coefficient of variation."""
    found = np.diff(times)
    return float(found.mean()), float(found.std() / found.mean())


# ---------------------------------------------------------------- arrivals


@pytest.mark.parametrize("cv", [0.3, 1.0, 3.0])
def test_rate_and_variation(cv: float) -> None:
    mean, variation = gaps(Arrivals(4.0, cv).times(SEED, 50_000, None))
    assert mean == pytest.approx(1 / 4, rel=0.04)
    assert variation == pytest.approx(cv, rel=0.04)


def test_equal_intervals() -> None:
    assert np.allclose(Arrivals(4.0, 0.0).times(SEED, 5, None), [0.25, 0.5, 0.75, 1.0, 1.25])


def test_bursts_keep_the_mean_rate() -> None:
    """Within ON eight times as many come as within OFF, so that counts spread."""
    times = Arrivals(5.0, burst=Burst(10, 50, 8)).times(SEED, None, 50_000)
    assert len(times) == pytest.approx(250_000, rel=0.05)
    counts = np.bincount(times.astype(np.intp), minlength=50_000)
    low = 60 / (8 * 10 + 50)  # of the mean rate
    assert np.median(counts) == pytest.approx(5 * low, abs=1)
    assert np.mean(counts > 10) == pytest.approx(10 / 60, rel=0.15)


def test_without_off_arrivals_there_is_silence() -> None:
    _, variation = gaps(Arrivals(1.0, 0.0, Burst(1, 99, 1e6)).times(SEED, 20_000, None))
    assert variation > 3


def test_day_and_night() -> None:
    times = Arrivals(10.0, swing=Swing(100, 0.8)).times(SEED, None, 10_000)
    assert len(times) == pytest.approx(100_000, rel=0.02)
    counts, _ = np.histogram(times % 100, 4, (0, 100))
    share = 0.8 * 2 / np.pi  # the mean of a sine's half is 2/pi; quarters of a period are alike in pairs
    assert counts / len(times) == pytest.approx(np.array([1 + share, 1 + share, 1 - share, 1 - share]) / 4, rel=0.03)


@pytest.mark.parametrize(
    "shape",
    [{}, {"cv": 2.0}, {"burst": Burst(3, 7, 5)}, {"swing": Swing(20, 1.0)}, {"burst": Burst(3, 7, 0), "cv": 0.0}],
)
def test_more_of_the_same(shape: dict[str, Any]) -> None:
    """However many are asked for, and whether by number or by time, they begin alike."""
    arrivals = Arrivals(3.0, **shape)
    long, short = (arrivals.times(SEED, count, None) for count in (2000, 500))
    timed = arrivals.times(SEED, None, float(long[999]) + 1e-9)
    assert np.allclose(long[:500], short)
    assert np.allclose(timed, long[: len(timed)])
    assert abs(len(timed) - 1000) <= 1
    assert np.allclose(arrivals.times(SEED, 500, float(long[99]) + 1e-9), long[:100])


@given(
    seed=some.integers(0, 2**32),
    cv=some.floats(0, 3),
    burst=some.none() | some.builds(Burst, some.floats(0.5, 100), some.floats(0.5, 100), some.floats(0, 100)),
    swing=some.none() | some.builds(Swing, some.floats(10, 1e5), some.floats(0, 1)),
    few=some.integers(1, 50),
    more=some.integers(0, 500),
)
def test_the_first_are_the_same_however_many_come(
    seed: int, cv: float, burst: Burst | None, swing: Swing | None, few: int, more: int
) -> None:
    arrivals = Arrivals(3.0, cv, burst, swing)
    first, all_of_them = (arrivals.times(seed, count, None) for count in (few, few + more))
    np.testing.assert_allclose(first, all_of_them[:few], rtol=1e-9, atol=1e-9)
    in_time = arrivals.times(seed, None, float(first[-1]))
    np.testing.assert_allclose(in_time, first[: len(in_time)], rtol=1e-9, atol=1e-9)


# ---------------------------------------------------------------- whole traces


def test_the_same_seed_gives_the_same_trace() -> None:
    recipe = replace(RECIPE, requests=500, chains=Chains(0.5, 2.0))
    assert list(draw(recipe, 1)) == list(draw(recipe, 1))
    assert list(draw(recipe, 1)) != list(draw(recipe, 2))


def test_popularity() -> None:
    trace = draw(RECIPE, 3)
    assert trace.models == ("model-1", "model-2", "model-3", "model-4")
    shares = np.bincount(trace.model) / len(trace)
    assert shares == pytest.approx(np.array([1, 1 / 2, 1 / 3, 1 / 4]) / (25 / 12), rel=0.05)
    alike = draw(replace(RECIPE, popularity=Popularity(("a", "b"), 0.0)), 3)
    assert np.bincount(alike.model) / len(alike) == pytest.approx([0.5, 0.5], rel=0.05)


def test_lengths() -> None:
    trace = draw(RECIPE, 3)
    assert np.median(trace.prompt) == pytest.approx(500, rel=0.03)
    assert np.log(trace.output).std() == pytest.approx(0.8, rel=0.03)
    assert trace.prompt.max() == 8192
    fixed = draw(replace(RECIPE, lengths=(LogNormal(7, 0, 7), LogNormal(1, 0, 10))), 3)
    assert (set(fixed.prompt), set(fixed.output)) == ({7}, {1})


def test_lengths_of_another_trace() -> None:
    """Together, and of the model of that name; whoever has none there gets any."""
    given = Trace.of("given", [Request(0.0, "a", 10, 1), Request(1.0, "a", 20, 2), Request(2.0, "b", 30, 3)])
    trace = draw(replace(RECIPE, lengths=given, popularity=Popularity(("a", "b", "new"), 0.0)), 3)
    pairs = {name: {(row.prompt, row.output) for row in trace if row.model == name} for name in trace.models}
    assert pairs == {"a": {(10, 1), (20, 2)}, "b": {(30, 3)}, "new": {(10, 1), (20, 2), (30, 3)}}


def test_agents() -> None:
    trace = draw(replace(RECIPE, chains=Chains(0.75, 2.0)), 3)
    followers = np.flatnonzero(trace.after >= 0)
    assert len(trace) == 20_000
    assert len(followers) / len(trace) == pytest.approx(0.75, rel=0.03)
    assert trace.arrival[followers].mean() == pytest.approx(2.0, rel=0.05)
    assert gaps(trace.arrival[trace.roots])[0] == pytest.approx(0.5, rel=0.05)
    before = trace.after[followers]
    said = trace.prompt[before].astype(int) + trace.output[before]
    assert np.all(trace.prompt[followers] >= np.minimum(said + 1, 8192))
    assert trace.prompt.max() == 8192
    pairs = set(zip(trace.model[followers].tolist(), trace.model[before].tolist(), strict=True))
    assert len(pairs) == 12  # from any to any other


def test_agents_ask_other_models_by_their_shares() -> None:
    trace = draw(replace(RECIPE, chains=Chains(0.75, 2.0)), 3)
    followers = np.flatnonzero(trace.after >= 0)
    shares = np.array([1, 1 / 2, 1 / 3, 1 / 4]) / (25 / 12)
    for place in range(4):
        asked = trace.model[followers[trace.model[trace.after[followers]] == place]]
        others = np.where(np.arange(4) == place, 0.0, shares)
        assert np.bincount(asked, minlength=4) / len(asked) == pytest.approx(others / others.sum(), abs=0.02)
    alone = draw(replace(RECIPE, popularity=Popularity(("only",)), chains=Chains(0.5, 1.0), requests=100), 3)
    assert set(alone.model) == {0}


@pytest.mark.parametrize("exponent", [0.0, 20.0])
def test_no_agent_asks_the_same_model_twice_in_a_row(exponent: float) -> None:
    recipe = replace(RECIPE, popularity=Popularity(named(2), exponent), chains=Chains(0.9, 1.0), requests=2000)
    trace = draw(recipe, 3)
    followers = np.flatnonzero(trace.after >= 0)
    assert np.all(trace.model[followers] != trace.model[trace.after[followers]])


def test_agents_within_a_time() -> None:
    """Chains are whole; those that begin too late are not there."""
    recipe = replace(RECIPE, chains=Chains(0.5, 2.0), requests=None, duration=1000.0)
    trace = draw(recipe, 3)
    assert len(trace.roots) == pytest.approx(2000, rel=0.1)
    assert len(trace) / len(trace.roots) == pytest.approx(2, rel=0.1)
    assert 990 < trace.duration < 1000
    assert not len(draw(replace(recipe, duration=0.001), 3))


@given(
    seed=some.integers(0, 2**32),
    rate=some.floats(1e-3, 1e3),
    cv=some.floats(0, 5),
    burst=some.none() | some.builds(Burst, some.floats(0.5, 1e3), some.floats(0.5, 1e3), some.floats(0, 1e3)),
    swing=some.none() | some.builds(Swing, some.floats(10, 1e4), some.floats(0, 1)),
    chance=some.floats(0, 0.9),
    requests=some.integers(1, 50),
)
def test_any_recipe_gives_a_trace(
    seed: int, rate: float, cv: float, burst: Burst | None, swing: Swing | None, chance: float, requests: int
) -> None:
    arrivals = Arrivals(rate, cv, burst, swing)
    recipe = Recipe(arrivals, Popularity(named(3)), LENGTHS, Chains(chance, 1.0), requests)
    assert len(draw(recipe, seed)) == requests
