"""The line through time per token: it finds the rates that made it, and says what the head's place does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotbunk.study.lines import Sides, fit
from tests.study.machine import MODELS, read

GB = 1e9


def sides(model: str) -> Sides:
    layers = range(MODELS[model][0] + 1)
    each = [read(model, count) for count in layers]
    return Sides(list(layers), [device for device, _ in each], [host for _, host in each], MODELS[model][2])


@given(st.floats(100, 4000), st.floats(5, 400))
def test_finds_the_rates(device: float, host: float) -> None:
    wanted = sides("llama3-8b")
    seconds = [d / device / GB + h / host / GB for d, h in zip(wanted.device, wanted.host, strict=True)]
    line = fit(wanted, seconds)
    assert 1e-9 / line.device == pytest.approx(device)
    assert 1e-9 / line.host == pytest.approx(host)
    assert line.error < 1e-6


def test_a_large_head_that_moves_last_costs_more_than_a_small_one() -> None:
    kept = {}
    for model in ("llama3-8b", "llama2-70b"):
        wanted = sides(model)
        line = fit(wanted, [d / 2000e9 + h / 80e9 for d, h in zip(wanted.device, wanted.host, strict=True)])
        count = round(0.9 * wanted.all)
        kept[model] = line.kept(wanted, count) / line.kept(wanted, count, head_last=True)
    assert kept["llama3-8b"] > 1.4
    assert kept["llama2-70b"] == pytest.approx(1, abs=0.05)


def test_orders_differ_in_bytes_but_not_in_their_sum() -> None:
    wanted = sides("qwen3-8b")
    for count in (0, 1, 20, 36, 37):
        assert sum(wanted.first(count)) == pytest.approx(wanted.whole)
        assert sum(wanted.last(count)) == pytest.approx(wanted.whole)
    assert wanted.last(0)[0] == 0
    assert wanted.last(37) == wanted.first(37)
    assert wanted.last(36)[1] == pytest.approx(wanted.head)
    assert wanted.first(1)[0] == wanted.head
