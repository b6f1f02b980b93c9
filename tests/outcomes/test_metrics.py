"""The figures: small cases by hand, and what holds of every run."""

from __future__ import annotations

from dataclasses import astuple
from math import isnan, nan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotbunk.outcomes import Fate, Outcomes, Run, Usage
from hotbunk.outcomes.metrics import Figures, Spread, Times, errors, jain, summarise
from hotbunk.outcomes.slo import Slo, Slos
from hotbunk.traces import Request, Trace
from tests.outcomes.runs import Row, run


def test_each_request_is_measured() -> None:
    times = Times(run(), Slos())
    np.testing.assert_allclose(times.ttft, [1, 3, 1, nan, nan, nan])
    np.testing.assert_allclose(times.tpot, [0.1, nan, 0.2, nan, nan, nan])
    np.testing.assert_allclose(times.latency, [2, 3, 5, nan, nan, nan])
    np.testing.assert_allclose(times.wait, [0.5, 2, 0, nan, nan, nan])
    assert times.came.tolist() == [True] * 5 + [False]
    assert times.met.tolist() == [True] + [False] * 5


def test_all_that_came_count() -> None:
    summary = summarise(run())
    whole = summary.all
    assert (whole.requests, whole.done, whole.refused, whole.failed, whole.open) == (5, 3, 1, 0, 1)
    assert whole.attainment == pytest.approx(1 / 5)
    assert (whole.goodput, whole.rate, whole.output, whole.prompt) == pytest.approx((0.1, 0.3, 3.9, 40))
    assert astuple(whole.ttft) == pytest.approx((5 / 3, 1, 2.8, 2.96, 3))
    assert (whole.preemptions, whole.preempted, summary.preemption_rate) == pytest.approx((2, 0.4, 12))


def test_the_device_and_the_models_apart() -> None:
    summary = summarise(run(), Slos(Slo(), {"b": Slo(ttft=3.0)}))
    assert (summary.computing, summary.moving, summary.idle) == pytest.approx((0.6, 0.1, 0.35))
    assert list(summary.models) == ["a", "b"]  # of c nothing came
    a, b = summary.models.values()
    assert (a.requests, a.attainment, b.requests, b.attainment) == pytest.approx((2, 1 / 2, 3, 1 / 3))
    assert (a.output, b.output) == pytest.approx((3.2, 0.7))
    assert isnan(b.tpot.mean)
    assert summary.worst == pytest.approx(1 / 3)
    assert summary.fairness == pytest.approx((1 / 2 + 1 / 3) ** 2 / (2 * (1 / 4 + 1 / 9)))


def test_models_served_by_one_are_one() -> None:
    served = run()
    trace = served.outcomes.trace.renamed({"b": "a"})
    merged = Run("one", Outcomes(trace, *list(vars(served.outcomes).values())[1:]), served.usage, served.duration)
    assert summarise(merged).models["a"] == summarise(merged).all


def test_what_is_not_known_stays_unknown() -> None:
    summary = summarise(run(usage=Usage(*[nan] * 10)))
    assert all(isnan(each) for each in (summary.all.preemptions, summary.preemption_rate, summary.idle, summary.moving))


def test_a_run_of_nothing_has_no_figures() -> None:
    summary = summarise(Run("none", Outcomes.empty(Trace.of("empty", [])), Usage(), 0.0))
    assert summary.all.requests == 0
    assert all(isnan(each) for each in (summary.all.attainment, summary.all.goodput, summary.fairness, summary.worst))


def test_jains_index() -> None:
    assert jain([0.5, 0.5, 0.5]) == pytest.approx(1)
    assert jain([0.9, 0, 0]) == pytest.approx(1 / 3)
    assert jain([0, 0]) == 1


def test_errors_of_a_simulation() -> None:
    late = [(model, *(time + 0.1 * n for n, time in enumerate(times)), 11, fate) for model, *times, _, fate in _rows()]
    found = errors(run(_rows()), run(late, usage=Usage(loads=6, suspends=2)))  # type: ignore[arg-type]
    assert found["ttft mean"] == pytest.approx(0.2 / 1.5)
    assert found["latency p95"] == pytest.approx(0.3 / 2.95)
    assert (found["loads"], found["preemptions"]) == (1, 0)
    assert list(found) == [
        f"{time} {part}" for time in ("ttft", "tpot", "latency") for part in ("mean", "p95")
    ] + ["loads", "preemptions"]  # fmt: skip
    nothing = Usage()
    assert isnan(errors(run(usage=nothing), run())["loads"])
    assert errors(run(usage=nothing), run(usage=nothing))["loads"] == 0


def _rows() -> list[Row]:
    return [("a", 0.0, 0.5, 1.0, 2.0, 11, Fate.DONE), ("a", 1.0, 1.5, 3.0, 4.0, 11, Fate.DONE)]


gap = st.floats(0, 100)
requests = st.lists(
    st.tuples(st.sampled_from("abc"), gap, gap, gap, gap, st.integers(0, 50), st.sampled_from(Fate)), max_size=30
)


@given(requests)
def test_what_holds_of_every_run(rows: list[tuple[str, float, float, float, float, int, Fate]]) -> None:
    summary = summarise(run([_made(row) for row in rows], duration=500.0) if rows else run())
    for each in (summary.all, *summary.models.values()):
        assert 0 <= each.attainment <= 1 or not each.requests
        assert each.goodput <= each.rate
        assert each.requests == each.done + each.refused + each.failed + each.open
        for spread in (each.ttft, each.tpot, each.latency, each.wait):
            assert _ordered(spread)
    parts = summary.models.values()
    for name in ("requests", "done", "refused", "failed", "open", "goodput", "rate", "output", "prompt", "preemptions"):
        assert sum(getattr(each, name) for each in parts) == pytest.approx(getattr(summary.all, name))
    assert not summary.models or 1 / len(summary.models) - 1e-9 <= summary.fairness <= 1 + 1e-9


def _made(row: tuple[str, float, float, float, float, int, Fate]) -> Row:
    model, arrived, *gaps, tokens, fate = row
    started, first, ended = np.cumsum([arrived, *gaps])[1:]
    if fate is Fate.DONE:
        return model, arrived, float(started), float(first), float(ended), max(tokens, 1), fate
    return model, arrived, float(started), nan, nan, 0, fate


def _ordered(spread: Spread) -> bool:
    if isnan(spread.mean):
        return True
    return 0 <= spread.p50 <= spread.p95 <= spread.p99 <= spread.most and spread.mean <= spread.most * (1 + 1e-9)


@given(st.floats(0.01, 10), st.floats(0.01, 10))
def test_whoever_promises_less_keeps_more(ttft: float, more: float) -> None:
    kept: list[Figures] = [summarise(run(), Slos(Slo(limit, limit))).all for limit in (ttft, ttft + more)]
    assert kept[0].attainment <= kept[1].attainment


def test_requests_keep_their_rows() -> None:
    """The trace's order does not matter to a model's figures."""
    trace = Trace.of("two", [Request(0, "b", 1, 2), Request(0, "a", 1, 2), Request(1, "b", 1, 2)])
    outcomes = Outcomes.empty(trace)
    outcomes.arrived[:], outcomes.first[:], outcomes.ended[:] = [0, 0, 1], [1, 5, 3], [2, 9, 4]
    outcomes.tokens[:], outcomes.fate[:] = 2, Fate.DONE
    found = summarise(Run("two", outcomes, Usage(), 9.0)).models
    assert (found["b"].ttft.mean, found["a"].ttft.mean) == (1.5, 5)
