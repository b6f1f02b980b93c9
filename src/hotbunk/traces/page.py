"""A trace as a report: tables for the terminal, and with plots a page that needs nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil

import numpy as np

from hotbunk.report.curves import Band
from hotbunk.report.draw import COLOURS, Axes, Series, bars, plot
from hotbunk.report.page import Block, Page, Plot, Section, Table
from hotbunk.report.words import figure, listed, percent, seconds
from hotbunk.traces.describe import MINUTE, Figures, Lengths, describe
from hotbunk.traces.trace import Floats, Integers, Trace

__all__ = ["page"]

_BINS = 200  # of the plot over time, at most
_LINES = 6  # models that have lines of their own
_BARS = 20  # models that have bars
_QUANTILES = np.linspace(0, 1, 101)
_INTRO = "Who asks what when: arrivals, the popularity of models, and the lengths of prompts and outputs."


def page(trace: Trace, plots: bool = True) -> Page:
    """The page of a trace, which has at least one request. Without ``plots``, Matplotlib is not needed."""
    figures = describe(trace)
    sections = [
        Section("arrivals", "Arrivals", "", [*_arrivals(figures), *(_over_time(trace, figures) if plots else ())]),
        Section("models", "Models", "", [_models(figures), *(_popularity(figures) if plots else ())]),
        Section("lengths", "Lengths", "", [_lengths(figures), *(_spread(trace, figures) if plots else ())]),
    ]
    return Page("hotbunk trace", trace.name, _INTRO, sections, [("trace", trace.name), *_about(figures)])


def _about(figures: Figures) -> list[tuple[str, str]]:
    found = [
        ("requests", f"{figures.requests:,} for {_models_in_words(figures)}"),
        ("duration", _time(figures.duration)),
        ("tokens", f"prompts of {figure(figures.prompt.mean)}, outputs of {figure(figures.output.mean)} on average"),
    ]
    if figures.following:
        found.append(("agents", f"{percent(figures.following)} of the requests follow an answer"))
    return found


def _models_in_words(figures: Figures) -> str:
    return figures.models[0].model if len(figures.models) == 1 else f"{len(figures.models)} models"


# ---------------------------------------------------------------- arrivals


def _arrivals(figures: Figures) -> Iterator[Block]:
    known = " (of what follows no answer)" if figures.following else ""
    rows = [
        ["mean rate, requests/s", _or_none(figures.rate)],
        ["peak over a minute, requests/s", figure(figures.peak)],
        ["CV of the intervals", _or_none(figures.cv)],
        *([f"dispersion in {window} s", _or_none(factor)] for window, factor in figures.dispersion.items()),
    ]
    caption = "Dispersion: variance of the counts in such windows by their mean. Poisson arrivals have 1, like the CV."
    yield Table(f"Rate and burstiness{known}", ("", "value"), rows, caption)


def _over_time(trace: Trace, figures: Figures) -> Iterator[Block]:
    width = _width(trace.duration)
    edges: Floats = np.arange(0.0, ceil(trace.duration / width) + 1) * width
    if len(edges) < 3:
        return
    names = [asked.model for asked in figures.models[:_LINES]]
    series = [Series("all", _rate(trace.arrival[trace.roots], edges), colour="#333333")]
    if len(figures.models) > 1:
        roots = trace.roots
        for name, colour in zip(names, COLOURS, strict=False):
            mine = roots[trace.model[roots] == trace.models.index(name)]
            series.append(Series(name, _rate(trace.arrival[mine], edges), colour=colour))
    most = max(series[0].curve.middle)
    caption = f"Arrivals that are known beforehand, in steps of {_time(width)}: at most {figure(most)} requests/s."
    yield Plot("Rate over time", plot(series, Axes("time, s", "requests/s")), caption)


def _width(duration: float) -> float:
    """Of a step in time, so that there are not too many: 1, 2 or 5 times a power of ten."""
    least = max(duration / _BINS, 1e-6)
    power = 10.0 ** np.floor(np.log10(least))
    return float(next(power * step for step in (1, 2, 5, 10) if power * step >= least * (1 - 1e-9)))


def _rate(times: Floats, edges: Floats) -> Band:
    counts, _ = np.histogram(times, edges)
    values = (counts / (edges[1] - edges[0])).tolist()
    return Band(((edges[1:] + edges[:-1]) / 2).tolist(), values, values, values)


# ---------------------------------------------------------------- models


def _models(figures: Figures) -> Table:
    rows = [
        [
            asked.model,
            f"{asked.requests:,}",
            percent(asked.share),
            figure(asked.rate),
            figure(60 * asked.rate),
            "" if asked.cv is None else figure(asked.cv),
        ]
        for asked in figures.models
    ]
    zipf = "" if figures.zipf is None else f"Zipf's law with an exponent of {figure(figures.zipf)} comes nearest."
    return Table("Requests by model", ("model", "requests", "share", "a second", "a minute", "CV"), rows, zipf)


def _popularity(figures: Figures) -> Iterator[Block]:
    if len(figures.models) < 2:
        return
    shown, others = figures.models[:_BARS], figures.models[_BARS:]
    image = bars(
        {"requests": [100 * asked.share for asked in shown]},
        [asked.model for asked in shown],
        Axes("share of all requests, %", ""),
    )
    rest = f" The {len(others)} others have {percent(sum(each.share for each in others))}." if others else ""
    top = f"{shown[0].model} has {percent(shown[0].share)} of the requests."
    yield Plot("Popularity", image, top + rest)


# ---------------------------------------------------------------- lengths


def _lengths(figures: Figures) -> Table:
    parts = [(asked.model, asked.prompt, asked.output) for asked in figures.models]
    if len(parts) > 1:
        parts.insert(0, ("all", figures.prompt, figures.output))
    rows = [
        [f"{name}, {what}", *_cells(lengths)]
        for name, prompt, output in parts
        for what, lengths in (("prompt", prompt), ("output", output))
    ]
    return Table("Tokens", ("", "mean", "p50", "p95", "p99", "most"), rows)


def _cells(lengths: Lengths) -> list[str]:
    return [f"{value:,.0f}" for value in (lengths.mean, lengths.p50, lengths.p95, lengths.p99, lengths.most)]


def _spread(trace: Trace, figures: Figures) -> Iterator[Block]:
    names = [asked.model for asked in figures.models[:_LINES]]
    for what, tokens in (("Prompts", trace.prompt), ("Outputs", trace.output)):
        series = [Series(name, _shares(tokens[trace.model == trace.models.index(name)])) for name in names]
        told = [f"{name} {curve.x[50]:,.0f}" for name, curve in ((each.name, each.curve) for each in series)]
        most = int(tokens.max())
        ticks = [tick for tick in (4**power for power in range(16)) if tick <= 4 * most]
        axes = Axes("tokens", "share of requests with at most that, %", "x", ticks)
        yield Plot(f"{what}: lengths", plot(series, axes), f"Half of the requests have at most: {listed(told)} tokens.")


def _shares(tokens: Integers) -> Band:
    values = (100 * _QUANTILES).tolist()
    return Band(np.quantile(tokens, _QUANTILES).tolist(), values, values, values)


# ---------------------------------------------------------------- words


def _or_none(value: float | None) -> str:
    return "too few to say" if value is None else figure(value)


def _time(value: float) -> str:
    """Seconds, and what that is in minutes or hours."""
    text = seconds(value)
    if value < 2 * MINUTE:
        return text
    return f"{text} ({value / 3600:.3g} h)" if value >= 2 * 3600 else f"{text} ({value / 60:.3g} min)"
