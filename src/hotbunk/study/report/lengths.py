"""The report's part on output lengths, latency and memory while layers are offloaded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from hotbunk.report.curves import Band, band
from hotbunk.report.draw import Axes, Series, plot
from hotbunk.report.page import Block, Plot, Table, Text
from hotbunk.report.words import figure, listed, percent
from hotbunk.study import offload
from hotbunk.study.report.sweep import Model, reached
from hotbunk.study.results import Results, Row

__all__ = ["lengths", "memory"]

_MEMORY = {"device": "device, libllama's account", "used": "device, the driver's", "rss": "host, resident"}


def lengths(models: Sequence[Model], results: Results) -> Iterator[Block]:
    """Speed and latency against the length of the output."""
    series = []
    for model in models:
        most = max(row["layers"] for row in model.rows)
        series.append(Series(model.name, band(_at(model, most), "output", lambda row: 1 / _tpot(row))))
    if max(len(each.curve) for each in series) > 1:
        told = [f"{each.name} {_kept(each.curve)}" for each in series if len(each.curve) > 1]
        caption = (
            f"With most layers on the device, the speed of the longest output beside the shortest: {listed(told)}."
        )
        axes = Axes(
            "output, tokens", "decode, tokens/s", "x", ticks=sorted({x for each in series for x in each.curve.x})
        )
        yield Plot("Decode speed against output length", plot(series, axes), caption)
    yield from _alone(models, results)
    yield _latency(models)


def _kept(curve: Band) -> str:
    return f"{percent(curve.middle[-1] / curve.middle[0])} ({curve.x[-1]:,g} and {curve.x[0]:g} tokens)"


def _at(model: Model, layers: int) -> list[Row]:
    return [row for row in model.rows if row["layers"] == layers]


def _alone(models: Sequence[Model], results: Results) -> Iterator[Block]:
    off: list[float] = []
    for row in results.rows("offload", alone=True):
        same = results.rows("offload", model=row["model"], layers=row["layers"], output=row["output"], alone=False)
        off += [_tpot(row) / _tpot(other) - 1 for other in same]
    if off:
        mean = sum(map(abs, off)) / len(off)
        yield Text(
            f"Runs of one length alone differ from the same length within a longer run by {percent(mean)} on average "
            f"({len(off)} comparisons)."
        )
    elif any(offload.checked(model.asked) for model in models):
        yield Text(
            "No runs of one length alone were made, which would check that a longer run takes as long to get there."
        )


def _latency(models: Sequence[Model]) -> Table:
    outputs = reached(models)
    rows = []
    for model in models:
        for layers in offload.ladder(model.about["layers"], (1.0, 0.9, 0.5, 0.0)):
            whole = band(_at(model, layers), "output", lambda row: row["latency"])
            cells: Mapping[float, str] = {x: _span(whole, n) for n, x in enumerate(whole.x)}
            share = percent(layers / model.about["layers"], 0)
            rows.append([f"{model.name}, {share}", *(cells.get(output, "") for output in outputs)])
    caption = "Seconds from the request to the last token: median (least to greatest). Empty: no time to get there."
    if short := [f"{model.reached:,} tokens of {model.name}" for model in models if model.unreached]:
        caption += f" Where not all that was asked for was reached, the longest output is {listed(short)}."
    return Table("Latency by output length", ["residency", *(f"{n:,} tokens" for n in outputs)], rows, caption)


def _span(curve: Band, place: int) -> str:
    low, high = figure(curve.low[place]), figure(curve.high[place])
    return figure(curve.middle[place]) + (f" ({low} to {high})" if low != high else "")


# ---------------------------------------------------------------- memory


def memory(models: Sequence[Model], results: Results) -> Iterator[Block]:
    """Memory on both sides while the first repeat was made."""
    for model in models:
        rows = _clocked(results.rows("memory", model=model.name))
        if len(rows) < 2:
            continue
        series = [
            Series(title, band(rows, "clock", _gib(name)))
            for name, title in _MEMORY.items()
            if all(row[name] is not None for row in rows)
        ]
        most, least = (figure(_gib("device")(row)) for row in (rows[0], rows[-1]))
        caption = (
            f"From {rows[0]['layers']} layers on the device down to {rows[-1]['layers']}: {most} to {least} GiB there. "
            f"Host memory holds {figure(max(map(_gib('stored'), rows)))} GiB of weights in the host store all the time."
        )
        axes = Axes("time in the first pass over the residencies, s", "memory, GiB")
        yield Plot(f"{model.name}: memory over time", plot(series, axes), caption)


def _gib(name: str) -> Callable[[Row], float]:
    return lambda row: float(row[name]) / 2**30


def _clocked(rows: Sequence[Row]) -> list[Row]:
    """With the seconds since the first row; what lies between two runs of the study is left out."""
    clock, before, found = 0.0, None, []
    for row in sorted(rows, key=lambda row: float(row["at"])):
        clock += min(row["at"] - before, 10.0) if before is not None else 0.0
        before = row["at"]
        found.append({**row, "clock": clock})
    return found


def _tpot(row: Row) -> float:
    """Seconds a token."""
    return float(row["decode"] / (row["output"] - 1))
