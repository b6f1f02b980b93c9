"""Draw the share of requests that meet their SLO against the load, for all policies: a page of what policies.py wrote.

    python benchmarks/curves.py docs/measurements/policies-curves.csv --out docs/measurements/policies.html

Of the file (``curves.csv`` of ``benchmarks/policies.py --out``) these columns are read: trace, profile, gib, slo,
policy, speed, attainment, ttft_p99 (s), wait_max (s), capacity.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from hotbunk.outcomes.files import write_page
from hotbunk.report.curves import Band
from hotbunk.report.draw import COLOURS, Axes, Mark, Series, plot
from hotbunk.report.page import Block, Page, Plot, Section, Table
from hotbunk.report.render import html
from hotbunk.report.words import percent
from hotbunk.scheduler import POLICIES

SHARE = 0.9
INTRO = """Each trace is served at several speeds, in simulation, by hotbunk's policies and by its peers' as baselines.
A baseline pays for a switch what its peer does, a process restart, unless its name ends in +fast: then it switches as
hotbunk does. Capacity is the highest speed at which 90 % of the requests meet their SLO; 0: not even at 1/64."""
SPEEDS = tuple(2.0**power for power in range(-6, 5))


class Run(NamedTuple):
    """A row: a case, a contender and a speed, and what came of it."""

    case: str
    policy: str
    speed: float
    attainment: float
    ttft_p99: float
    wait_max: float
    capacity: float


def main() -> None:
    """Read, draw, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("curves", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    with asked.curves.open(newline="", encoding="utf-8") as file:
        runs = [_run(row) for row in csv.DictReader(file)]
    sections = [
        Section(case.replace(" ", "-"), case, "", list(_blocks(list(group))))
        for case, group in groupby(runs, key=lambda run: run.case)
    ]
    page = Page(
        "policies", "How much load each policy carries", INTRO, sections, beside=f"Made of {asked.curves.name}."
    )
    write_page(html(page), asked.out)
    print(f"{asked.out}: {len(sections)} cases, {asked.out.stat().st_size / 1e3:.0f} kB")


def _run(row: dict[str, str]) -> Run:
    case = f"{row['trace']} in {row['gib']} GiB, {row['profile']}, {row['slo']}"
    figures = (float(row[name]) for name in ("speed", "attainment", "ttft_p99", "wait_max", "capacity"))
    return Run(case, row["policy"], *figures)


def _blocks(runs: list[Run]) -> Iterator[Block]:
    names = list(dict.fromkeys(run.policy for run in runs))
    own = [name for name in names if name in POLICIES]
    tried = [run.speed for run in runs]
    ticks = [speed for speed in SPEEDS if min(tried) <= speed <= max(tried)]
    axes = Axes("speed of the trace", "requests that meet their SLO, %", log="x", ticks=ticks)
    for title, others in (
        ("with hotbunk's switch cost", [name for name in names if name.endswith("+fast")]),
        ("with their peers' restarts", [name for name in names if name not in own and not name.endswith("+fast")]),
    ):
        if others:
            drawn = [_series(runs, name, at, "-") for at, name in enumerate(own)]
            drawn += [_series(runs, name, at + len(own), "--") for at, name in enumerate(others)]
            image = plot(drawn, axes, [Mark("90 %", 100 * SHARE)])
            yield Plot(f"Baselines {title}", image, "The farther to the right a curve falls below 90 %, the better.")
    rows = [_row(runs, name) for name in sorted(names, key=lambda name: -_at_capacity(runs, name).capacity)]
    columns = (
        "",
        "capacity",
        "SLO met there",
        "p99 TTFT there, s",
        "longest wait there, s",
        "longest wait at any speed, s",
    )
    yield Table("Capacities", columns, rows)


def _series(runs: list[Run], policy: str, place: int, line: str) -> Series:
    points = sorted((run.speed, 100 * run.attainment) for run in runs if run.policy == policy)
    speeds, shares = [list(column) for column in zip(*points, strict=True)]
    return Series(policy, Band(speeds, shares, shares, shares), line, COLOURS[place % len(COLOURS)])


def _row(runs: list[Run], policy: str) -> list[str]:
    best = _at_capacity(runs, policy)
    longest = max(run.wait_max for run in runs if run.policy == policy)
    if not best.capacity:
        return [policy, "0", "-", "-", "-", f"{longest:.0f}"]
    return [
        policy,
        f"{best.capacity:.3f}",
        percent(best.attainment, 1),
        f"{best.ttft_p99:.1f}",
        f"{best.wait_max:.1f}",
        f"{longest:.0f}",
    ]


def _at_capacity(runs: list[Run], policy: str) -> Run:
    mine = [run for run in runs if run.policy == policy]
    return next((run for run in mine if run.speed == run.capacity), mine[0])


if __name__ == "__main__":
    main()
