"""How far off the cost models are where nothing was fitted to them, beside what is promised.

    python benchmarks/judged.py docs/measurements/costs-h100.csv

Of each model: by the roofline alone, fitted to the records of its quick profile, and to all of them. A quick profile is
judged by what was held out within what it measures, also by what was measured later. Of loads and states, of which few
are held out, each point is foretold by all others, too. Last, how far measurements of the same point are from their
mean, which no model can foretell. Exit status 1 if an error is larger than promised.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from math import log
from pathlib import Path
from statistics import fmean

from records import Measured, read
from report import Report

from hotbunk.costs.model import Costs, errors
from hotbunk.costs.record import Kind, Record
from hotbunk.costs.roofline import Roofline
from hotbunk.study.results import Row

__all__ = ["FEW", "FULL", "PRIOR", "QUICK", "SHORT", "judge"]

QUICK, FULL, PRIOR = "--quick", "--full", "roofline alone"
PROMISED = {QUICK: (0.08, 0.15), FULL: (0.05, 0.10), PRIOR: (0.30, 0.30)}
"""Mean absolute relative error: of decoding, and of the others."""
JUDGED = (Kind.DECODE, Kind.PREFILL, Kind.LOAD, Kind.KV_OUT, Kind.KV_IN)
SHORT, FEW = 8192, 8  # longest context and most sequences that a quick profile measures


def main() -> int:
    """Judge what a file of records tells."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("records", type=Path, help="a records.csv of benchmarks/costs.py")
    report = Report(None)
    line, models = read(parser.parse_args().records)
    for name, measured in models.items():
        report.title(f"{name}: {len(measured.records)} records, {measured.quick} of them quick")
        judge(report, measured, line, True)
    return int(report.failed > 0)


def judge(report: Report, measured: Measured, line: Roofline, judged: bool) -> list[Row]:
    """Report the errors, and return them: for each way to know the costs, and each kind, one."""
    held = [record for record in measured.records if record.check]
    near = [record for record in held if record.placement.context <= SHORT and record.sequences <= FEW]
    ways = {PRIOR: ([], held), QUICK: (measured.records[: measured.quick], near)}
    if len(measured.records) > measured.quick:
        ways[FULL] = measured.records, held
    rows = []
    for how, (known, points) in ways.items():
        found = errors(Costs.fitted(measured.anatomy, line, known), points)
        for kind in sorted(found, key=list(Kind).index):
            count = sum(point.kind is kind for point in points)
            limit = PROMISED[how][kind is not Kind.DECODE] if kind in JUDGED else None
            ok = found[kind] <= limit if limit and judged else None
            aim = f"<= {limit:.0%}" if limit else ""
            report.row(f"{how}, {kind}", f"{found[kind]:.1%} ({count})", aim, ok)
            rows.append({"how": how, "kind": str(kind), "error": found[kind], "points": count, "records": len(known)})
    for kind, off in others(Costs.prior(measured.anatomy, line), measured.records).items():
        report.row(f"each point by all others, {kind}", f"{fmean(off):.1%} ({len(off)})")
    for kind, off in sorted(again(measured.records).items(), key=lambda found: list(Kind).index(found[0])):
        report.row(f"the same point again, {kind}", f"{fmean(off):.1%} ({len(off)})")
    return rows


def others(costs: Costs, records: Iterable[Record]) -> dict[Kind, list[float]]:
    """Relative errors of moves, by kind: of each with the costs fitted to all other measurements of the kind."""
    found = {}
    for kind in (Kind.LOAD, Kind.KV_OUT, Kind.KV_IN):
        group = [record for record in records if record.kind is kind]
        fits = ((one, costs.refitted(kind, [each for each in group if each is not one])) for one in group)
        found[kind] = [errors(fit, [one])[kind] for one, fit in fits]
    return {kind: off for kind, off in found.items() if off}


def again(records: Iterable[Record]) -> dict[Kind, list[float]]:
    """Of each point that was measured more than once, how far off their mean each measurement has them."""
    times, found = defaultdict[Record, list[float]](list), defaultdict[Kind, list[float]](list)
    for each in records:
        tokens = round(10 * log(each.tokens + 256))  # to a tenth, if they are many
        times[replace(each, tokens=tokens, seconds=0.0, spread=0.0, repeats=1, check=False)].append(each.seconds)
    for point, seconds in times.items():
        if len(seconds) > 1:
            found[point.kind] += [abs(fmean(seconds) / one - 1) for one in seconds]
    return found


if __name__ == "__main__":
    sys.exit(main())
