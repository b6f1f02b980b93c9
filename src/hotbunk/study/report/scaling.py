"""The report's parts on concurrency, context and the bus."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from statistics import median

from hotbunk.report.curves import Band, band, groups
from hotbunk.report.draw import COLOURS, Axes, Series, plot
from hotbunk.report.page import Block, Plot, Section, Table
from hotbunk.report.words import figure, listed, percent, seconds
from hotbunk.study import bus, concurrency, context
from hotbunk.study.report.made import measured, numbers, often, residencies
from hotbunk.study.results import Results, Row
from hotbunk.units import brief_size

__all__ = ["bandwidth", "contexts", "together"]

_TOKENS = "tokens in the sequence"


def together(results: Results) -> Section | None:
    """Concurrency; None if nothing was measured."""
    models = groups(results.rows("concurrency"), lambda row: str(row["model"]))
    if not models:
        return None
    blocks = [block for model, rows in models.items() for block in _together(model, rows)]
    rows = results.rows("concurrency")
    made = f"{numbers(row['sequences'] for row in rows)} sequences at {residencies(map(_placed, rows))}"
    how = measured(concurrency.__doc__, f"{made}, {often(rows, 'model', 'layers', 'sequences')}")
    return Section("concurrency", "Concurrency", how, blocks)


def _together(model: str, rows: Sequence[Row]) -> Iterator[Block]:
    placed = groups(rows, lambda row: percent(row["residency"], 0))
    speeds = {share: band(part, "sequences", lambda row: row["speed"]) for share, part in placed.items()}
    steps = {share: band(part, "sequences", lambda row: 1e3 * row["step"]) for share, part in placed.items()}
    ticks = sorted({float(row["sequences"]) for row in rows})
    told = [
        f"{figure(c.middle[-1] / c.middle[0])} times at {name} on the device{_ends(c, ticks)}"
        for name, c in speeds.items()
    ]
    caption = f"From {ticks[0]:g} to {ticks[-1]:g} sequences the total speed grows {listed(told)}."
    axes = Axes("sequences at once", "all sequences together, tokens/s", "xy", ticks)
    yield Plot(f"{model}: total decode speed", plot(_named(speeds), axes), caption)
    told = [
        f"{figure(c.middle[0])} to {figure(c.middle[-1])} ms at {name}{_ends(c, ticks)}" for name, c in steps.items()
    ]
    axes = Axes("sequences at once", "time per step, ms", "xy", ticks)
    yield Plot(f"{model}: time per decode step", plot(_named(steps), axes), f"A step takes {listed(told)}.")
    each = {name: band(part, "sequences", lambda row: row["speed"] / row["sequences"]) for name, part in placed.items()}
    columns = ("residency", *(f"{tick:g}" for tick in ticks))
    lines = [[name, *_cells(curve, ticks)] for name, curve in each.items()]
    yield Table(f"{model}: tokens a second of each sequence, by how many there are", columns, lines)


def _ends(curve: Band, ticks: Sequence[float]) -> str:
    """Where a curve begins and ends, if not where all of them together do."""
    first, last = curve.x[0], curve.x[-1]
    return "" if (first, last) == (ticks[0], ticks[-1]) else f" (from {first:g} to {last:g})"


def _cells(curve: Band, ticks: Sequence[float]) -> list[str]:
    """The value at each of these; empty where it was not measured."""
    known = dict(zip(curve.x, map(figure, curve.middle), strict=True))
    return [known.get(tick, "") for tick in ticks]


def _placed(row: Row) -> tuple[str, float]:
    return row["model"], row["residency"]


def _named(curves: dict[str, Band]) -> list[Series]:
    return [Series(f"{name} on the device", curve) for name, curve in curves.items()]


# ---------------------------------------------------------------- context


def contexts(results: Results) -> Section | None:
    """Context; None if nothing was measured."""
    rows = results.rows("context")
    if not rows:
        return None
    ticks = _thinned(sorted({float(row["tokens"]) for row in rows}))
    views = (
        ("Decode", "time per decode step, ms", _milliseconds("step")),
        ("Prefill", "prefill, tokens/s", lambda row: float(row["prefilled"] / row["prefill"])),
        ("KV cache out", "KV cache to host memory, ms", _milliseconds("kv_out")),
        ("KV cache in", "KV cache to the device, ms", _milliseconds("kv_in")),
    )
    blocks: list[Block] = [
        Plot(f"{title} against the length of the sequence", *_against(rows, value, Axes(_TOKENS, axis, "xy", ticks)))
        for title, axis, value in views
    ]
    made = f"sequences of {numbers(row['tokens'] for row in rows)} tokens at {residencies(map(_placed, rows))}"
    how = measured(context.__doc__, f"{made}, {often(rows, 'model', 'layers', 'tokens')}")
    return Section("context", "Context", how, [*blocks, _transfers(rows)])


def _against(rows: Sequence[Row], value: Callable[[Row], float], axes: Axes) -> tuple[str, str]:
    """The plot and its caption: a colour for each model, dashed where not all layers are on the device."""
    series, told = [], []
    for number, (model, part) in enumerate(groups(rows, lambda row: str(row["model"])).items()):
        for share, some in groups(part, lambda row: float(row["residency"])).items():
            curve, colour = band(some, "tokens", value), COLOURS[number % len(COLOURS)]
            series.append(Series(model if share == 1 else "", curve, "-" if share == 1 else "--", colour))
            told.append(f"{model} at {percent(share, 0)} {figure(curve.middle[0])} to {figure(curve.middle[-1])}")
    unit = axes.y.rpartition(", ")[2]
    caption = f"From the shortest sequence to the longest, in {unit}: {listed(told)}. Dashed: not all on the device."
    return plot(series, axes), caption


def _transfers(rows: Sequence[Row]) -> Table:
    lines = []
    for (model, share), part in groups(rows, lambda row: (row["model"], row["residency"])).items():
        longest = max(row["tokens"] for row in part)
        moves = [row for row in part if row["tokens"] == longest]
        rates = [median(row["kv_bytes"] / row[key] for row in moves) / 1e9 for key in ("kv_out", "kv_in")]
        size = brief_size(moves[0]["kv_bytes"])
        times = [seconds(median(row[key] for row in moves)) for key in ("kv_out", "kv_in")]
        tier = moves[0].get("tier", "")
        lines.append([f"{model}, {percent(share, 0)}", f"{longest:,}", size, tier, *times, *map(figure, rates)])
    columns = ("residency", "tokens", "KV cache", "kept in", "out", "in", "out, GB/s", "in, GB/s")
    return Table("The KV cache of the longest sequence", columns, lines)


def _milliseconds(key: str) -> Callable[[Row], float]:
    return lambda row: 1e3 * float(row[key])


def _thinned(ticks: list[float]) -> list[float]:
    return ticks[:: -(-len(ticks) // 9)]


# ---------------------------------------------------------------- bus


def bandwidth(results: Results) -> Section | None:
    """The bus and pinning; None if nothing was measured."""
    rows, pinned = results.rows("bus"), results.rows("pinning")
    blocks = [*_copies(rows), *_pinning(pinned)]
    sizes = listed([brief_size(size) for size in sorted({row["size"] for row in rows})])
    made = [f"blocks of {sizes}, {often(rows, 'size', 'direction', 'memory')}"] if rows else []
    made += [f"pinning of {listed([row['model'] for row in pinned])}"] if pinned else []
    return Section("bus", "The bus", measured(bus.__doc__, "; ".join(made)), blocks) if blocks else None


def _copies(rows: Sequence[Row]) -> Iterator[Block]:
    ways = {"h2d": "to the device", "d2h": "to the host"}
    found = groups(rows, lambda row: f"{ways[row['direction']]}, {row['memory']}")
    if not found:
        return
    mib = [{**row, "mib": row["size"] / 2**20} for row in rows]
    series = [
        Series(name, band((r for r in mib if f"{ways[r['direction']]}, {r['memory']}" == name), "mib", _gigabytes))
        for name in found
    ]
    told = [f"{figure(max(each.curve.middle))} GB/s {each.name}" for each in series]
    axes = Axes("size of a copy, MiB", "bandwidth, GB/s", "x", ticks=sorted({row["mib"] for row in mib}))
    yield Plot("Copies between host and device", plot(series, axes), f"At best {listed(told)}.")


def _gigabytes(row: Row) -> float:
    return float(row["speed"]) / 1e9


def _pinning(rows: Sequence[Row]) -> Iterator[Block]:
    if rows:
        lines = [
            [row["model"], brief_size(row["size"]), figure(row["seconds"]), figure(row["size"] / row["seconds"] / 1e9)]
            for row in rows
        ]
        caption = "Copying a model's weights into the host store and locking them, once, in the background."
        yield Table("Pinning", ("model", "size", "seconds", "GB/s"), lines, caption)
