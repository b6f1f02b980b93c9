"""The report's part on preemption."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import mean, median

import numpy as np

from hotbunk.report.curves import Band, band, groups, spread
from hotbunk.report.draw import Axes, Mark, Series, bars, plot
from hotbunk.report.page import Block, Plot, Section, Table
from hotbunk.report.words import figure, listed, percent, seconds
from hotbunk.study import paper, preemption
from hotbunk.study.job import STEPS
from hotbunk.study.report.made import measured, numbers, often
from hotbunk.study.results import Results, Row

__all__ = ["section"]

_NAMES = {
    "kv_out": "KV out",
    "unload": "unload A",
    "load_other": "load B",
    "unload_other": "unload B",
    "load": "load A",
    "kv_in": "KV in",
    "between": "between",
}
_WAYS = {"fast": "moving weights", "ordinary": "ordinary load"}
_RELOAD = ("unload", "load_other", "unload_other", "load")
_KV = ("kv_out", "kv_in")


@dataclass(frozen=True)
class Case:
    """One pair, one way."""

    model: str
    other: str
    way: str
    rows: Sequence[Row]

    @property
    def name(self) -> str:
        """In a few words."""
        return f"{self.model} for {self.other}"

    @cached_property
    def single(self) -> list[Row]:
        """One preemption at each point."""
        return [row for row in self.rows if row["repeat"] >= 0]

    @cached_property
    def series(self) -> list[Row]:
        """Jobs that were preempted several times."""
        return [row for row in self.rows if row["repeat"] < 0]

    @property
    def overhead(self) -> Band:
        """Seconds, over the point of interruption."""
        return band(self.single, "tokens", lambda row: row["overhead"])

    def share(self, steps: Sequence[str]) -> Band:
        """What of the overhead these steps are, in per cent."""
        return band(self.single, "tokens", lambda row: 100 * sum(row[step] for step in steps) / row["overhead"])

    def part(self, steps: Sequence[str]) -> float:
        """The same over all points."""
        whole = sum(row["overhead"] for row in self.single)
        return float(sum(row[step] for row in self.single for step in steps) / whole)


def section(results: Results) -> Section | None:
    """All about preemption; None if nothing was measured."""
    found = groups(results.rows("preemption"), lambda row: (row["model"], row["other"], row["way"]))
    cases = [case for key, rows in found.items() if (case := Case(*key, rows)).single]
    if not cases:
        return None
    blocks: list[Block] = [_table(cases, results)]
    for way in _WAYS:
        if mine := [case for case in cases if case.way == way]:
            blocks += [_steps(way, mine), _overheads(way, mine), _cache(way, mine), *_several(way, mine)]
    return Section("preemption", "Preemption", measured(preemption.__doc__, _made(cases)), blocks)


def _made(cases: Sequence[Case]) -> str:
    single = [row for case in cases for row in case.single]
    answers = {min(row["run_tokens"] for row in single), max(row["run_tokens"] for row in single)}
    made = [
        f"preemptions at {numbers(row['tokens'] for row in single)} tokens, "
        f"{often(single, 'model', 'other', 'way', 'tokens')}",
        f"answers of {' to '.join(map(numbers, ([each] for each in sorted(answers))))} tokens",
    ]
    if times := [row["times"] for case in cases for row in case.series]:
        made.append(f"jobs preempted {numbers(times)} times")
    return "; ".join(made)


def _table(cases: Sequence[Case], results: Results) -> Table:
    columns = (
        "A for B",
        "how",
        "overhead, s",
        "of it B's load",
        "of a 7,000-token job",
        "weights, share",
        "KV, share",
        "the study, s",
        "the study, share",
    )
    rows = []
    for case in cases:
        middle, low, high = spread([row["overhead"] for row in case.single])
        job = _job(results.rows("preemption", model=case.model))
        rows.append(
            [
                case.name,
                _WAYS[case.way],
                f"{figure(middle)} ({figure(low)} to {figure(high)})",
                figure(median(row["load_other"] for row in case.single)),
                percent(middle / job),
                percent(case.part(_RELOAD)),
                percent(case.part(_KV)),
                *_study(case.model),
            ]
        )
    caption = (
        "Median over all points of interruption (least to greatest). The study's overheads, and their shares of such a "
        "job, on an RTX 5000 Ada and on an A6000, seem to leave out B's own load; it puts over 98 % down to reloading, "
        "0.6 to 1.5 % to the KV cache."
    )
    return Table("The price of one preemption", columns, rows, caption)


def _study(model: str) -> tuple[str, str]:
    """The study's overhead of a model, in seconds and as a share of a job, on both of its GPUs."""
    if (found := paper.overhead(model)) is None:
        return "", ""
    return f"{found.ada:g} and {found.a6000:g}", f"{percent(found.ada_share)} and {percent(found.a6000_share)}"


def _job(rows: Sequence[Row]) -> float:
    """Seconds of an uninterrupted job: the integral of a decode step that is linear in the context."""
    steps = band(rows, "tokens", lambda row: row["step"])
    slope, start = np.polyfit(steps.x, steps.middle, 1) if len(steps) > 1 else (0.0, steps.middle[0])
    length = preemption.LENGTH
    return float(start * length + max(slope, 0.0) * length**2 / 2)


def _steps(way: str, cases: Sequence[Case]) -> Plot:
    parts = {_NAMES[step]: [mean(row[step] for row in case.single) for case in cases] for step in STEPS}
    told = [
        f"{case.name}: {percent(case.part(_RELOAD))} weights, {percent(case.part(_KV))} KV cache, "
        f"{percent(case.part(['between']))} between the steps"
        for case in cases
    ]
    image = bars(parts, [case.name for case in cases], Axes("seconds, mean over all points", ""))
    return Plot(f"Where the time goes, {_WAYS[way]}", image, f"Shares of the overhead; {'; '.join(told)}.")


def _overheads(way: str, cases: Sequence[Case]) -> Plot:
    series = [Series(case.name, case.overhead) for case in cases]
    marks = []
    for model in dict.fromkeys(case.model for case in cases):
        if way == "ordinary" and (found := paper.overhead(model)):
            marks.append(Mark(f"the study, {model}, A6000", found.a6000))
    told = [f"{case.name} {_growth(case.overhead)}" for case in cases]
    caption = f"Overhead from the first point of interruption to the last: {listed(told)}."
    axes = Axes("tokens behind A when it is interrupted", "overhead of one preemption, s")
    return Plot(f"Overhead against the point of interruption, {_WAYS[way]}", plot(series, axes, marks), caption)


def _growth(curve: Band) -> str:
    first, last = curve.middle[0], curve.middle[-1]
    return f"{seconds(first)} to {seconds(last)} ({percent(last / first - 1)})"


def _cache(way: str, cases: Sequence[Case]) -> Plot:
    curves = {case.name: case.share(_KV) for case in cases}
    told = [f"{percent(c.middle[-1] / 100)} for {name} ({c.x[-1]:,.0f})" for name, c in curves.items()]
    low, high = (100 * share for share in paper.KV_SHARE)
    caption = (
        f"At the last point of interruption (in tokens) the KV cache is {listed(told)}. Grey: the study's {low:g} to "
        f"{high:g} %."
    )
    series = [Series(name, curve) for name, curve in curves.items()]
    axes = Axes("tokens behind A when it is interrupted", "KV cache, share of the overhead, %", shaded=(low, high))
    return Plot(f"The KV cache's share, {_WAYS[way]}", plot(series, axes), caption)


def _several(way: str, cases: Sequence[Case]) -> Iterator[Block]:
    rows, curves = [], []
    for case in (case for case in cases if case.series):
        means = {times: mean(r["overhead"] for r in part) for times, part in _by_times(case).items()}
        most = max(means)
        last = [{**row, "nth": row["nth"] + 1} for row in case.series if row["times"] == most]
        curves.append(Series(case.name, band(last, "nth", lambda row: row["overhead"])))
        rows.append([case.name, *(figure(means[times]) if times in means else "" for times in preemption.TIMES)])
    if not rows:
        return
    columns = ("A for B", *(f"{times} times" for times in preemption.TIMES))
    caption = "Mean overhead of each preemption, in seconds, of a job that is preempted so many times."
    yield Table(f"Several preemptions of one job, {_WAYS[way]}", columns, rows, caption)
    told = [f"{each.name} {_growth(each.curve)}" for each in curves]
    caption = f"From the first preemption of a job to its last: {listed(told)}."
    image = plot(curves, Axes("preemption of the same job", "overhead, s"))
    yield Plot(f"One preemption after the other, {_WAYS[way]}", image, caption)


def _by_times(case: Case) -> dict[int, list[Row]]:
    return groups(case.series, lambda row: int(row["times"]))
