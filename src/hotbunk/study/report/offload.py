"""The report's part on offloading: speed against residency, the line that explains it, and the head's place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hotbunk.report.curves import Band
from hotbunk.report.draw import COLOURS, Axes, Mark, Series, plot
from hotbunk.report.page import Block, Plot, Section, Table
from hotbunk.report.words import figure, listed, percent
from hotbunk.study import offload, paper
from hotbunk.study.lines import Line
from hotbunk.study.report.lengths import lengths, memory
from hotbunk.study.report.made import measured, numbers, often, residencies
from hotbunk.study.report.sweep import Model, models, reached
from hotbunk.study.results import Results

__all__ = ["section"]

_SHARE = "layers on the device, %"
_MOST = 0.9  # of the layers: where the study's models differ most


def section(results: Results) -> Section | None:
    """All about offloading; None if nothing was measured."""
    found = models(results)
    if not found:
        return None
    blocks = [*_speeds(found), *_lines(found), *_head(found), *lengths(found, results), *memory(found, results)]
    return Section("offload", "Offloading", measured(offload.__doc__, _made(found)), blocks)


def _made(models: Sequence[Model]) -> str:
    rows = [row for model in models for row in model.rows]
    outputs = numbers(reached(models))
    shares = residencies((model.name, row["layers"] / model.about["layers"]) for model in models for row in model.rows)
    return f"outputs of {outputs} tokens at {shares}, {often(rows, 'model', 'layers', 'output')}"


def _speeds(models: Sequence[Model]) -> Iterator[Block]:
    speeds = [Series(model.name, model.speed) for model in models]
    spans = [f"{m.name} from {figure(m.speed.middle[0])} to {figure(m.speed.middle[-1])}" for m in models]
    caption = f"Tokens a second with the fewest and the most layers on the device: {listed(spans)}."
    yield Plot("Decode speed", plot(speeds, Axes(_SHARE, "decode, tokens/s", "y")), caption)
    kept = [Series(model.name, model.kept) for model in models if model.kept]
    if not kept:
        return
    marks = [
        Mark(f"the study, {name}", 100 * share, 90, _colour(models, name))
        for name, share in paper.KEPT.items()
        if any(model.name.startswith(name) for model in models)
    ]
    told = [f"{each.name} keeps {percent((each.curve.at(90) or 0) / 100)}" for each in kept]
    caption = f"Of its full speed, with nine in ten layers on the device, {listed(told)}."
    axes = Axes(_SHARE, "share of the full speed, %")
    yield Plot("Decode speed against that of full residency", plot(kept, axes, marks), caption)


def _colour(models: Sequence[Model], name: str) -> str:
    return next(COLOURS[n % len(COLOURS)] for n, model in enumerate(models) if model.name.startswith(name))


def _lines(models: Sequence[Model]) -> Iterator[Block]:
    for model in models:
        if line := model.line:
            fitted = [1e3 * line.seconds(*model.sides.first(n)) for n in model.sides.layers]
            drawn = Band(model.time.x, fitted, fitted, fitted)
            series = [Series("measured", model.time), Series("fitted line", drawn, "--", "#333333")]
            caption = f"{_told(line)} (mean error {percent(line.error)}); the cliff in speed is this line's reciprocal."
            yield Plot(f"{model.name}: time per token", plot(series, Axes(_SHARE, "time per token, ms")), caption)


def _told(line: Line) -> str:
    rates = {"device": line.device, "host": line.host}
    told = [f"{figure(1e-9 / slope)} GB/s on the {side}" for side, slope in rates.items() if slope > 0]
    return "Bytes that a token reads take their time at " + listed(told)


# ---------------------------------------------------------------- the head's place


def _head(models: Sequence[Model]) -> Iterator[Block]:
    rows = [cells for model in models if (cells := _places(model))]
    if not rows:
        return
    columns = ("model", "head, share of bytes", "measured", "line, head first", "line, head last")
    caption = (
        "Share of the full speed kept with 90 % of the layers on the device. libllama moves the head first; the "
        "study's Ollama moved it last, which the fitted line says with the bytes of that order."
    )
    yield Table("The output head's place", columns, rows, caption)
    steps = [cells for model in models if (cells := _steps(model))]
    if steps:
        caption = "What the first layer (the head) and the second (a block) save when they move, by token and by byte."
        columns = ("model", "head, ms", "block, ms", "head, ms/GB", "block, ms/GB")
        yield Table("The first two layers, measured", columns, steps, caption)


def _places(model: Model) -> list[str] | None:
    if (kept := model.kept_at(_MOST)) is None:
        return None
    return [model.name, percent(model.sides.head / model.sides.whole), *map(percent, kept)]


def _steps(model: Model) -> list[str] | None:
    if (seconds := model.saved()) is None:
        return None
    saved = [1e3 * each for each in seconds]
    sizes = [model.sides.first(n + 1)[0] - model.sides.first(n)[0] for n in range(2)]
    each = [1e9 * ms / size if size else 0.0 for ms, size in zip(saved, sizes, strict=True)]
    return [model.name, *map(figure, saved), *map(figure, each)]
