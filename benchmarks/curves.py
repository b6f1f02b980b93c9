"""Draw the share of requests that meet their SLO against the load, for all policies: a page of what policies.py wrote.

    python benchmarks/curves.py docs/measurements/policies-curves.csv --out docs/measurements/policies.html

Of the file (``curves.csv`` of ``benchmarks/policies.py --out``) these columns are read: trace, profile, gib, slo,
policy, speed, attainment, ttft_p99 (s), wait_max (s), capacity.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from policies import SHARE

from hotbunk.outcomes.files import write_page
from hotbunk.report.curves import band, groups
from hotbunk.report.draw import Axes, Mark, Series, plot
from hotbunk.report.page import Block, Page, Plot, Section, Table
from hotbunk.report.render import html
from hotbunk.report.words import percent
from hotbunk.scheduler import POLICIES

INTRO = """Each trace is served at several speeds, in simulation, by hotbunk's policies and by its peers' as baselines.
A baseline pays for a switch what its peer does, a process restart, unless its name ends in +fast: then it switches as
hotbunk does. Capacity is the highest speed at which 90 % of the requests meet their SLO; 0: not even at 1/64."""
SPEEDS = tuple(2.0**power for power in range(-6, 5))
FIGURES = ("speed", "attainment", "ttft_p99", "wait_max", "capacity")
COLUMNS = (
    "",
    "capacity",
    "SLO met there",
    "p99 TTFT there, s",
    "longest wait there, s",
    "longest wait at any speed, s",
)

Row = Mapping[str, Any]


def main() -> None:
    """Read, draw, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("curves", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    with asked.curves.open(newline="", encoding="utf-8") as file:
        rows = [{**row, **{name: float(row[name]) for name in FIGURES}} for row in csv.DictReader(file)]
    sections = [
        Section(case.replace(" ", "-"), case, "", list(_blocks(groups(mine, lambda row: str(row["policy"])))))
        for case, mine in groups(rows, _case).items()
    ]
    page = Page(
        "policies", "How much load each policy carries", INTRO, sections, beside=f"Made of {asked.curves.name}."
    )
    write_page(html(page), asked.out)
    print(f"{asked.out}: {len(sections)} cases, {asked.out.stat().st_size / 1e3:.0f} kB")


def _case(row: Row) -> str:
    return f"{row['trace']} in {row['gib']} GiB, {row['profile']}, {row['slo']}"


def _blocks(runs: dict[str, list[dict[str, Any]]]) -> Iterator[Block]:
    """Of a case; ``runs`` by policy."""
    own = [policy for policy in runs if policy in POLICIES]
    fast = [policy for policy in runs if policy.endswith("+fast")]
    tried = [row["speed"] for rows in runs.values() for row in rows]
    ticks = [speed for speed in SPEEDS if min(tried) <= speed <= max(tried)]
    axes = Axes("speed of the trace", "requests that meet their SLO, %", log="x", ticks=ticks)
    for title, others in (
        ("with hotbunk's switch cost", fast),
        ("with their peers' restarts", [policy for policy in runs if policy not in (*own, *fast)]),
    ):
        if others:
            drawn = [_series(runs, policy, "-") for policy in own] + [_series(runs, policy, "--") for policy in others]
            image = plot(drawn, axes, [Mark("90 %", 100 * SHARE)])
            yield Plot(f"Baselines {title}", image, "The farther to the right a curve falls below 90 %, the better.")
    ranked = sorted(runs, key=lambda policy: -runs[policy][0]["capacity"])
    yield Table("Capacities", COLUMNS, [_told(policy, runs[policy]) for policy in ranked])


def _series(runs: Mapping[str, list[dict[str, Any]]], policy: str, line: str) -> Series:
    return Series(policy, band(runs[policy], "speed", lambda row: 100 * float(row["attainment"])), line)


def _told(policy: str, rows: list[dict[str, Any]]) -> list[str]:
    longest = f"{max(row['wait_max'] for row in rows):.0f}"
    best = next((row for row in rows if row["speed"] == row["capacity"]), None)
    if not best:
        return [policy, "0", "-", "-", "-", longest]
    there = percent(best["attainment"], 1), f"{best['ttft_p99']:.1f}", f"{best['wait_max']:.1f}"
    return [policy, f"{best['capacity']:.3f}", *there, longest]


if __name__ == "__main__":
    main()
