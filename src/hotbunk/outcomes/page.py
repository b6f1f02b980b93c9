"""Runs as a page: tables, how the times are distributed, and a timeline of each run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import isnan

import numpy as np

from hotbunk.extras import needs
from hotbunk.outcomes.activity import busiest, queues, stays, waits
from hotbunk.outcomes.metrics import Times, summarise
from hotbunk.outcomes.outcome import Run, Stay
from hotbunk.outcomes.slo import Slos
from hotbunk.outcomes.table import TIMES, device, models, service, times
from hotbunk.report.curves import Band
from hotbunk.report.draw import Axes, Mark, Series, plot
from hotbunk.report.page import Block, Page, Plot, Section
from hotbunk.report.render import html
from hotbunk.report.timeline import Bar, timeline
from hotbunk.report.words import percent
from hotbunk.traces.trace import Floats

__all__ = ["WINDOW", "page"]

WINDOW = 600.0
"""Seconds of a timeline, unless told otherwise."""
_POINTS = 6000
"""Of all timelines together, so that the page stays small."""
_SHOWN = 6000  # stays of all timelines together; beyond that the shortest are left out
_QUANTILES = np.concatenate([np.linspace(0.005, 0.9, 180), np.linspace(0.902, 1, 50)])
_TIMES = {"ttft": "Time to first token", "tpot": "Time per output token", "latency": "Latency"}
_ANSWERED = "How many took at most how long, of all requests that came; where a curve ends, the rest was not answered."
_GENERATED = "How many took at most how long, of the requests that were answered with more than one token."
_TIMELINES = """Who was on the device, whom requests waited for, and how many waited and ran meanwhile. A bar is as high
as the share of the model's layers that is on the device; a line above it is where somebody waited for the model."""
_INTRO = "What became of the same requests, run by run. Waiting is part of all times but TPOT."


def page(
    runs: Sequence[Run],
    slos: Slos,
    window: tuple[float, float] | None = None,
    about: Sequence[tuple[str, str]] = (),
    title: str = "Requests served, and how",
) -> str:
    """Make it, as one file of HTML that needs nothing else.

    Args:
        runs: of one trace; each has a name of its own.
        slos: what is promised.
        window: the seconds that the timelines show; none for all, or for the busiest part of the longest run.
        about: how the runs were made, by name.
        title: the page's.

    Raises:
        ConfigError: matplotlib is missing.
    """
    needs("matplotlib")
    summaries = [summarise(run, slos) for run in runs]
    window = window or busiest(max(runs, key=lambda run: run.duration), WINDOW)
    sections = [
        Section("times", "Times", "", list(_distributions(runs, slos))),
        Section("timelines", "Timelines", _TIMELINES, [_timeline(run, window, len(runs)) for run in runs]),
    ]
    if apart := [models(each) for each in summaries if len(each.models) > 1]:
        sections.append(Section("models", "Models", "", apart))
    top = [service(summaries, slos), times(summaries), device(summaries)]
    return html(Page("hotbunk", title, _INTRO, sections, about, top, beside=""))


def _distributions(runs: Sequence[Run], slos: Slos) -> Iterator[Plot]:
    found = [(run.name, Times(run, slos)) for run in runs]
    for key, name in _TIMES.items():
        parts = [(run, getattr(each, key), int(each.came.sum())) for run, each in found]
        series = [Series(run, curve) for run, values, came in parts if (curve := _quantiles(values, came, key))]
        if not series:
            continue
        limit = getattr(slos.default, key, None)
        marks = [Mark("SLO", limit)] if limit else []
        image = plot(series, Axes("share of requests, %", f"{TIMES[key]}, s", log="y"), marks)
        yield Plot(name, image, _ANSWERED if key != "tpot" else _GENERATED)


def _quantiles(values: Floats, came: int, key: str) -> Band | None:
    """Which share of the requests took how long."""
    known = values[~np.isnan(values)]
    if not len(known):
        return None
    share = 100.0 if key == "tpot" else 100.0 * len(known) / came
    # a logarithm needs something to take it of
    taken = np.maximum(np.quantile(known, _QUANTILES), 1e-5).tolist()
    return Band((share * _QUANTILES).tolist(), taken, taken, taken)


def _timeline(run: Run, window: tuple[float, float], runs: int) -> Block:
    begin, end = window
    found = stays(run, window)
    count, most = sum(map(len, found.values())), _SHOWN // max(runs, 3)
    least = (end - begin) / most
    waited = waits(run, window, least)
    shown = [model for model in run.outcomes.trace.models if model in found or model in waited]
    lanes = {model: [_bar(stay, begin, end) for stay in found.get(model, ())] for model in shown}
    if count > most:
        lanes = {model: [bar for bar in bars if bar.end - bar.begin > least] for model, bars in lanes.items()}
    steps = queues(run, window, _POINTS // max(runs, 3))
    curves = [_steps("waiting", steps.times, steps.waiting), _steps("running", steps.times, steps.running)]
    image = timeline(lanes, waited, curves, window, ("loading or resizing", "on the device", "somebody waits"))
    return Plot(run.name, image, " ".join(_told(run, window, curves, lanes, count)), wide=True)


def _told(
    run: Run, window: tuple[float, float], curves: Sequence[Series], lanes: dict[str, list[Bar]], count: int
) -> Iterator[str]:
    """What the timeline shows, in words."""
    part = (window[1] - window[0]) / run.duration if run.duration else 1.0
    if part < 0.995:
        yield f"Seconds {window[0]:,.0f} to {window[1]:,.0f}, {percent(part)} of the run."
    waiting, running = (max(each.curve.middle, default=0.0) for each in curves)
    yield f"Requests at once: at most {waiting:,.0f} waiting, {running:,.0f} running."
    if not count:
        yield "Who was on the device is not known."
    elif left := count - sum(map(len, lanes.values())):
        yield f"{left:,} stays too short to be seen are left out."


def _bar(stay: Stay, begin: float, end: float) -> Bar:
    """What of it lies within the window."""
    ready = stay.end if isnan(stay.ready) else stay.ready
    at, there, gone = (min(max(moment, begin), end) for moment in (stay.begin, ready, stay.end))
    return Bar(at, there, gone, stay.layers / stay.of if stay.of else 0.0)


def _steps(name: str, times: Floats, values: Floats) -> Series:
    taken = values.tolist()
    return Series(name, Band(times.tolist(), taken, taken, taken))
