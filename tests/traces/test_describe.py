"""Figures of traces of which they are known, and the page that shows them."""

import base64
import re
from dataclasses import replace

import numpy as np
import pytest

from hotbunk.report.render import html, text
from hotbunk.traces import Request, Trace
from hotbunk.traces.arrivals import Arrivals
from hotbunk.traces.describe import describe, exponent
from hotbunk.traces.draw import Chains, LogNormal, Popularity, Recipe, draw, named
from hotbunk.traces.page import page

LENGTHS = LogNormal(500, 1.0, 8192), LogNormal(150, 0.8, 2048)


def test_a_known_trace() -> None:
    """Two requests at once every 10 s, and an answer that is followed."""
    rows = [Request(10.0 * (number // 2), "ab"[number % 2], 100 + number, 10) for number in range(40)]
    rows.append(Request(3.0, "a", 1000, 50, after=39))
    found = describe(Trace.of("known", rows))
    assert (found.requests, found.duration) == (41, 190.0)
    assert found.rate == pytest.approx(39 / 190)
    assert found.cv == pytest.approx(np.std([0, 10] * 19 + [0]) / np.mean([0, 10] * 19 + [0]))
    assert found.dispersion == {1: pytest.approx(2 * 171 / 190), 10: 0, 60: 0}  # 19 of 190 seconds have 2, the others 0
    assert found.peak == 12 / 60
    assert found.following == 1 / 41
    first, second = found.models
    assert (first.model, first.requests, second.requests) == ("a", 21, 20)
    assert first.share == 21 / 41
    assert first.rate == pytest.approx(21 / 190)
    assert (first.cv, second.cv) == (0, 0)
    assert (first.prompt.most, first.output.most, first.output.p50) == (1000, 50, 10)
    assert second.prompt.mean == 120
    assert found.zipf == pytest.approx(np.log2(21 / 20), abs=0.001)


def test_windows_lie_side_by_side() -> None:
    times = [0.0, 0.1, 0.2, 0.3, 1.5, 3.5]  # counts of 4, 1, 0 in whole seconds
    found = describe(Trace.of("windows", [Request(at, "a", 1, 1) for at in times]))
    assert found.dispersion[1] == pytest.approx(np.var([4, 1, 0]) / np.mean([4, 1, 0]))
    assert found.dispersion[10] is None


@pytest.mark.parametrize("late", [1.7e9, 1e18])
def test_a_date_among_small_numbers(late: float) -> None:
    trace = Trace.of("mixed", [Request(at, "a", 1, 1) for at in (0.0, 0.5, late)])
    found = describe(trace)
    assert found.rate == pytest.approx(2 / late)
    assert found.dispersion[1] == pytest.approx(2.0)  # two in one second, and none in the others
    assert "mean rate" in text(page(trace))


def test_too_little_to_say() -> None:
    found = describe(Trace.of("one", [Request(5.0, "a", 7, 3)]))
    assert (found.rate, found.cv, found.zipf, found.dispersion) == (None, None, None, {1: None, 10: None, 60: None})
    assert found.peak == 1 / 60
    assert found.prompt.p99 == 7
    at_once = describe(Trace.of("at once", [Request(0.0, "a", 7, 3), Request(0.0, "a", 7, 3)]))
    assert (at_once.rate, at_once.cv) == (None, None)
    assert "too few to say" in text(page(Trace.of("one", [Request(5.0, "a", 7, 3)])))


def test_models_that_nobody_asks_for_are_left_out() -> None:
    found = describe(Trace.of("some", [Request(0.0, "b", 1, 1)], models=["a", "b", "c"]))
    assert [asked.model for asked in found.models] == ["b"]


@pytest.mark.parametrize("given", [0.0, 0.7, 1.3, 3.0])
def test_the_exponent_is_found_again(given: float) -> None:
    counts = (1e9 * Popularity(named(30), given).shares).astype(int)
    assert exponent(counts.tolist()) == pytest.approx(given, abs=0.001)


def test_a_drawn_trace_is_described_as_it_was_drawn() -> None:
    recipe = Recipe(Arrivals(5.0, 2.0), Popularity(named(10), 1.2), LENGTHS, Chains(0.3, 1.0), requests=30_000)
    found = describe(draw(recipe, 1))
    assert found.rate == pytest.approx(5.0, rel=0.05)
    assert found.cv == pytest.approx(2.0, rel=0.05)
    assert found.zipf
    assert found.zipf < 1.15  # who follows is for another model, so the most asked has less than its share
    assert describe(draw(replace(recipe, chains=Chains(0.0, 0.0)), 1)).zipf == pytest.approx(1.2, rel=0.03)
    assert found.following == pytest.approx(0.3, rel=0.05)
    assert found.dispersion[60] == pytest.approx(4.0, rel=0.2)  # of a renewal process: towards the CV's square


def test_the_page() -> None:
    recipe = Recipe(Arrivals(5.0), Popularity(named(25)), LENGTHS, Chains(0.3, 1.0), requests=2000)
    trace = draw(recipe, 1, name="<drawn>")
    made = html(page(trace))
    images = [base64.b64decode(image).decode() for image in re.findall(r'"data:image/svg\+xml;base64,([^"]+)"', made)]
    assert len(images) == 4
    assert "&lt;drawn&gt;" in made
    over_time, popularity, prompts, outputs = images
    assert "requests/s" in over_time
    assert len(set(re.findall(r"model-\d+", popularity))) == 20
    assert "The 5 others have" in made
    assert len(set(re.findall(r"model-\d+", prompts))) == 6
    assert "tokens" in outputs
    assert html(page(trace)) == made


def test_the_text_has_the_same_tables() -> None:
    rows = [Request(float(number), "only", 10, 5) for number in range(100)]
    said = text(page(Trace.of("steady", rows), plots=False))
    assert "requests  100 for only" in said
    assert re.search(r"mean rate, requests/s +1\.00", said)
    assert re.search(r"only, prompt +10 +10 +10 +10 +10", said)
    assert "Rate over time" not in said
    assert "follow" not in said
