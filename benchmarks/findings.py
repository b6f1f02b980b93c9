"""The figures of docs/findings.md, worked out from the committed measurements alone.

    python benchmarks/findings.py

Nothing is measured here: it reads docs/measurements/ and the shapes' bytes, and fits ``hotbunk.study.lines``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import numpy as np
import records
from scipy.optimize import brentq

from hotbunk.costs.model import TERMS, Costs
from hotbunk.costs.price import price
from hotbunk.costs.record import Kind, Record
from hotbunk.study.described import described
from hotbunk.study.lines import Line, Sides, fit
from hotbunk.study.paper import KEPT
from hotbunk.study.report.sweep import Model, models
from hotbunk.study.results import Results, Row
from hotbunk.study.shapes import SHAPES, Shape
from hotbunk.study.stage import Subject

MEASUREMENTS = Path(__file__).parent.parent / "docs" / "measurements"
EIGHT = replace(SHAPES["qwen3-8b"], architecture="llama")
"""The suite's 8B."""
STUDIED = ("llama3-8b", "qwen3-32b", "llama2-70b")
NINETY = 0.9
CONTEXTS = (64, 512, 2048, 4096, 7400, 16384)
"""Tokens that a sequence has behind it, of what is measured."""
KV_LIMITS = (0.015, 0.05, 0.10)
"""Shares of a preemption from which on the KV cache might be said to count; the first is the study's largest."""


@dataclass(frozen=True)
class Sweep:
    """Tokens a second by layers on the device, as measured, of a shape in a type."""

    name: str
    shape: Shape
    kind: str
    speeds: Mapping[int, float]

    @property
    def sides(self) -> Sides:
        """What a token reads where."""
        return sides(self.shape, self.kind, sorted(self.speeds))

    @property
    def line(self) -> Line:
        """The line through time per token."""
        return fit(self.sides, [1 / self.speeds[count] for count in sorted(self.speeds)])


@dataclass(frozen=True)
class Preemption:
    """One preemption of the 8B: milliseconds of all of it, and of the KV cache's way out and back."""

    other: bool
    tokens: int
    layers: int
    whole: float
    cache: float


def sides(shape: Shape, kind: str, layers: list[int]) -> Sides:
    """The bytes that a token reads on either side, the head first to move."""
    subject = Subject(kind, Path(), described(shape, kind))
    each = [subject.read(count) for count in layers]
    return Sides(layers, [device for device, _ in each], [host for _, host in each], subject.row["head"])


def sweeps() -> Iterator[Sweep]:
    """All that were measured."""
    probes, suite = read("probes-h100.txt"), read("suite-h100.txt")
    (table,) = re.findall(r"of 33\n(.+)\n", probes)
    yield Sweep("llama3-8b Q4_0, first probes", SHAPES["llama3-8b"], "Q4_0", _speeds(table))
    (table,) = re.findall(r"8b F16, moved live: (.+)\n", probes)
    yield Sweep("8b F16, first probes", EIGHT, "F16", _speeds(table))
    for name, kind in (("8b", "F16"), ("8b-q4", "Q4_K_M")):
        found = re.findall(rf"^{name}, (\d+) of 37 layers, 15 threads +([\d.]+) against", suite, re.MULTILINE)
        yield Sweep(f"{name} {kind}, suite", EIGHT, kind, {int(layers): float(speed) for layers, speed in found})


def preemptions() -> Iterator[Preemption]:
    """Those of the suite's 8B, alone and with the 3B loaded in between."""
    pattern = r"^preempt 8b( for 3b)?(?:, (\d+) tokens of KV)? \((\d+) layers on the device\): ([\d.]+) .*$"
    for found in re.finditer(pattern, read("suite-h100.txt"), re.MULTILINE):
        cache = sum(float(each) for each in re.findall(r"kv_(?:out|in) ([\d.]+)", found[0]))
        yield Preemption(bool(found[1]), int(found[2] or 0), int(found[3]), float(found[4]), cache)


def read(name: str) -> str:
    """A committed measurement."""
    return (MEASUREMENTS / name).read_text()


def _speeds(text: str) -> dict[int, float]:
    return {int(layers): float(speed) for layers, speed in re.findall(r"(\d+): ([\d.]+)", text)}


# ---------------------------------------------------------------- what they say


def cliff() -> Iterator[str]:
    """The line through time per token."""
    yield "Time per token is a line in the bytes on either side: rates, mean and greatest error of the line"
    for sweep in sweeps():
        yield _fitted(sweep.name, sweep.line, sweep.sides, [sweep.speeds[count] for count in sorted(sweep.speeds)])
    for model in studied():
        if model.line:
            yield _fitted(f"{_typed(model)}, study", model.line, model.sides, model.speed.middle)


def _fitted(name: str, line: Line, where: Sides, speeds: Sequence[float]) -> str:
    pairs = zip(where.layers, speeds, strict=True)
    off = [abs(line.seconds(*where.first(count)) * speed - 1) for count, speed in pairs]
    rates = f"device {1e-9 / line.device:5,.0f} GB/s, host {1e-9 / line.host:4.1f} GB/s"
    return f"  {name:29} {len(off):2} points  {rates}   {line.error:5.1%}  {max(off):5.1%}"


def studied() -> list[Model]:
    """The sweeps of the study, done again: in the order of what a token reads."""
    return sorted(models(Results(MEASUREMENTS / "study-h100")), key=lambda model: float(model.about["read"]))


def _typed(model: Model) -> str:
    return f"{model.name} {model.about['type']}"


def swept() -> Iterator[str]:
    """Speeds by residency, and what is left of the full one."""
    yield "Decode speed with so many of the layers on the device (study): tokens/s, and the share of the full speed"
    for model in studied():
        if kept := model.kept:
            cells = [
                f"{at} %: {model.speed.at(at) or 0:5.1f} {(kept.at(at) or 0) / 100:4.0%}" for at in (98, 90, 75, 50)
            ]
            yield f"  {_typed(model):21} 100 %: {model.whole:5.1f}   {'   '.join(cells)}"


def places() -> Iterator[str]:
    """What the head's place makes of nine in ten layers, and what the first two layers save."""
    yield "With 90 % of the layers on the device (study): kept as measured, by the line, and by it with the head last;"
    yield "  and what the first layer (the head) and the second (a block) save when they move, ms a token"
    for model in studied():
        if kept := model.kept_at(NINETY):
            saved = model.saved()
            told = f"head {1e3 * saved[0]:5.1f}   block {1e3 * saved[1]:5.1f}" if saved else "-"
            yield f"  {_typed(model):21} {' '.join(f'{share:4.0%}' for share in kept)}   {told}"


def crowd() -> Iterator[str]:
    """What several sequences at once make of the speed of all, by residency."""
    yield "Sequences at once (study): tokens/s of all of them together"
    rows = Results(MEASUREMENTS / "study-h100").rows("concurrency")
    for model in studied():
        mine = [row for row in rows if row["model"] == model.name]
        for residency in sorted({row["residency"] for row in mine}, reverse=True):
            steps: dict[int, list[float]] = {}
            for row in mine:
                if row["residency"] == residency:
                    steps.setdefault(row["sequences"], []).append(row["sequences"] / row["step"])
            cells = [f"{count}: {median(steps[count]):5,.0f}" for count in sorted(steps)]
            yield f"  {_typed(model):21} {residency:4.0%} on the device   {'   '.join(cells)}"


def ninety() -> Iterator[str]:
    """What is kept with nine in ten layers on the device, and what the head's place makes of it."""
    sweep = next(sweeps())
    most, near = max(sweep.speeds), min(sweep.speeds, key=lambda count: abs(count - NINETY * max(sweep.speeds)))
    kept = sweep.speeds[near] / sweep.speeds[most]
    yield f"Full speed kept with 90 % of the layers on the device, by the line of {sweep.name}"
    yield f"  (measured at {near} of {most} layers: {kept:.0%}; the study: 60 % for the 8B, 80 % for the 70B)"
    yield "  shape, as the study ran it    head, of all bytes   head first   head last"
    for name in STUDIED:
        shape = SHAPES[name]
        where = sides(shape, shape.type, list(range(shape.blocks + 2)))
        first, last = (sweep.line.kept(where, round(NINETY * where.all), last) for last in (False, True))
        yield f"  {name + ' ' + shape.type:29} {where.head / where.whole:18.1%} {first:12.0%} {last:11.0%}"


def order() -> Iterator[str]:
    """Whether the head alone gives the study's order: from what one model kept, what the others should."""
    where = {name: sides(SHAPES[name], SHAPES[name].type, list(range(SHAPES[name].blocks + 2))) for name in STUDIED}
    ratio = brentq(lambda ratio: _kept(where["llama3-8b"], ratio) - KEPT["llama3-8b"], 1.0, 100.0)
    yield f"Where the 8B keeps 60 % with its head last, the device reads {ratio:.1f} x as fast as the host. Then keep,"
    yield "  head last: " + ", ".join(f"{name} {_kept(each, ratio):.0%}" for name, each in where.items())
    yield "  head first: " + ", ".join(f"{name} {_kept(each, ratio, last=False):.0%}" for name, each in where.items())


def slower() -> Iterator[str]:
    """What the ratio of the sides' speeds makes of it."""
    where = sides(SHAPES["llama3-8b"], "Q4_0", list(range(SHAPES["llama3-8b"].blocks + 2)))
    yield "What the 8B keeps at 90 %, head last, where the device reads so many times as fast as the host"
    yield "  " + ", ".join(f"{ratio} x: {_kept(where, ratio):.0%}" for ratio in (30, 20, 10, 5, 2))


def _kept(where: Sides, ratio: float, last: bool = True) -> float:
    return Line(1.0, ratio, 0.0).kept(where, round(NINETY * where.all), head_last=last)


def constant() -> Iterator[str]:
    """Whether a preemption's cost depends on the point of interruption."""
    yield "A preemption of the 8B F16 (suite): ms by tokens behind it, and the KV cache's share of that"
    found = list(preemptions())
    for other in (False, True):
        for layers in (37, 30, 20):
            cells = [
                f"{each.tokens:5,}: {each.whole:5.0f} ms {each.cache / each.whole:5.1%}"
                for each in sorted(found, key=lambda each: each.tokens)
                if (each.other, each.layers) == (other, layers)
            ]
            yield f"  {'B loaded in between' if other else 'alone':19} {layers} of 37 layers   {'   '.join(cells)}"


def negligible() -> Iterator[str]:
    """From how many tokens on the KV cache counts."""
    yield "Tokens from which on the KV cache is more than such a share of the preemption, A alone"
    for layers in (37, 30, 20):
        mine = [each for each in preemptions() if each.layers == layers and not each.other]
        base = next(each.whole for each in mine if not each.tokens)
        slope = float(np.polyfit([each.tokens for each in mine], [each.cache for each in mine], 1)[0])
        cells = [f"{limit:.1%}: {limit / (1 - limit) * base / slope:6,.0f}" for limit in KV_LIMITS]
        yield f"  {layers} of 37 layers   {'   '.join(cells)}"


def pairs() -> Iterator[str]:
    """The study's pairs, preempted with either loader in one run."""
    yield "A preempted for B (study): ms at the first and the last point of interruption, and medians of all points"
    for (model, other, way), rows in _preempted().items():
        once = [row for row in rows if row["times"] == 1]
        whole = [1e3 * row["overhead"] for row in once]
        cache = [(row["kv_out"] + row["kv_in"]) / row["overhead"] for row in once]
        ends = [f"at {row['tokens']:5,}: {1e3 * row['overhead']:5,.0f}" for row in (once[0], once[-1])]
        loads = f"all: {median(whole):5,.0f}, B's load {median(1e3 * row['load_other'] for row in once):5,.0f}"
        yield f"  {f'{model} for {other}':24} {way:8}  {'  '.join([*ends, loads])}, KV cache {max(cache):.1%} at most"


def several() -> Iterator[str]:
    """One job preempted again and again."""
    yield "One job with 1,000 tokens behind it, preempted again and again (study): ms of each"
    for (model, other, way), rows in _preempted().items():
        if (most := max(row["times"] for row in rows)) > 1:
            each = [f"{1e3 * row['overhead']:.0f}" for row in rows if row["times"] == most]
            yield f"  {model} for {other}, {way}: {', '.join(each)}"


def _preempted() -> dict[tuple[str, str, str], list[Row]]:
    """What the study measured, by model, other and way, the least tokens first."""
    found: dict[tuple[str, str, str], list[Row]] = {}
    for row in Results(MEASUREMENTS / "study-h100").rows("preemption"):
        found.setdefault((row["model"], row["other"], row["way"]), []).append(row)
    return {key: sorted(rows, key=lambda row: (row["tokens"], row["nth"])) for key, rows in found.items()}


def ordinary() -> Iterator[str]:
    """The same preemption with a loader that takes seconds."""
    (low, high) = re.findall(r"living process, mmap: ([\d.]+) to ([\d.]+);", read("probes-h100.txt"))[0]
    cache = next(each.cache for each in preemptions() if (each.other, each.tokens, each.layers) == (False, 6000, 37))
    shares = sorted(cache / (1e3 * float(seconds) + cache) for seconds in (low, high))
    yield f"With an ordinary load of {low} to {high} s (first probes) the same 6,000 tokens of KV cache would be"
    yield f"  {shares[0]:.1%} to {shares[1]:.1%} of the preemption (the study: 0.6 to 1.5 % at up to 5,000 tokens)"


def together() -> Iterator[str]:
    """What more sequences, and more tokens behind one, make of a step with all layers on the device."""
    _, models = records.read(MEASUREMENTS / "costs-h100.csv")
    whole = {
        name: [
            record
            for record in measured.records
            if record.kind is Kind.DECODE and record.placement.layers == len(measured.anatomy.layers)
        ]
        for name, measured in models.items()
    }
    yield "A step with all layers on the device (profile): ms by sequences at once, each with less than 100 tokens"
    for name, steps in whole.items():
        few = [record for record in steps if record.tokens < 100]
        yield f"  {name + ' ' + SHAPES[name].type:16} {_by(few, lambda record: record.sequences)}"
    yield "  and of one sequence: ms by tokens behind it, about"
    for name, steps in whole.items():
        alone = [record for record in steps if record.sequences == 1]
        yield f"  {name + ' ' + SHAPES[name].type:16} {_by(alone, _behind)}"


def corrected() -> Iterator[str]:
    """What the fits make of terms that are far from the roofline, or that nobody would have looked for."""
    yield "What the fits say (profile, H100): attention of the host, times what the roofline had measured"
    for name, costs in _profiled("costs-h100.csv"):
        factors = {(each.kind, each.term.name): each.factor for each in costs.parameters()}
        yield f"  {name}{factors[Kind.DECODE, 'kv_host']:.1f} times"
    yield "What holds up the copies of a load of all layers but one, after an unload (profile, H200): until the context"
    yield "  of 8 slots of 8,192 tokens has its memory, and while what was given back is cleared"
    beside, cleared = ([term.name for term in TERMS[Kind.LOAD]].index(name) for name in ("beside", "cleared"))
    for name, costs in _profiled("costs-h200-fourth.csv"):
        place = price(costs.anatomy, len(costs.anatomy.layers) - 1, 8192, 8)
        load = Record(Kind.LOAD, place, 0.0, moved=place.device.weights, pieces=place.layers, freed=place.device.total)
        waits = 1e3 * costs.row(load) * costs.fits[Kind.LOAD].factors
        alone = 1e3 * costs.estimate(replace(load, anew=False, freed=0)).seconds
        yield f"  {name}{waits[beside]:.0f} ms, {waits[cleared]:.0f} ms; the load without them takes {alone:.0f} ms"


def _profiled(name: str) -> Iterator[tuple[str, Costs]]:
    line, models = records.read(MEASUREMENTS / name)
    for model, measured in models.items():
        yield f"{model + ' ' + SHAPES[model].type:16} ", Costs.fitted(measured.anatomy, line, measured.records)


def _behind(record: Record) -> int:
    return min(CONTEXTS, key=lambda tokens: abs(tokens - record.tokens))


def _by(found: Sequence[Record], which: Callable[[Record], int]) -> str:
    """Medians in milliseconds."""
    groups: dict[int, list[float]] = {}
    for record in found:
        groups.setdefault(which(record), []).append(1e3 * record.seconds)
    return "   ".join(f"{key:,}: {median(groups[key]):.2f}" for key in sorted(groups))


def main() -> None:
    """Print all of them."""
    parts = (
        cliff,
        swept,
        places,
        ninety,
        order,
        slower,
        together,
        corrected,
        crowd,
        constant,
        pairs,
        several,
        negligible,
        ordinary,
    )
    print("\n\n".join("\n".join(part()) for part in parts))


if __name__ == "__main__":
    main()
