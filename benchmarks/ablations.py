"""What each part of ``priced`` is worth, and how much is lost where what it is told is wrong.

    python benchmarks/ablations.py --out FOLDER servegen=TRACE azure=CONV,CODE ... [--budgets 24,40]

For each case (as in ``policies.py``) the speed is sought at which ``priced`` just meets the SLO of 90 % of the
requests. At that speed the trace is served again by ``priced`` in other forms:

- without splitting (offered but the best placement of a model), preemption (a busy model leaves, and a slot is given
  up, only when the bound on waiting demands it), the cost model (all models are taken for average), or prediction
  (lengths of answers and rates of requests are taken for not known);
- with all costs told twice or half of what they are, and answers four times as long or short;
- where every ten minutes each model's requests go to the next one: there the best baseline of ``--beside`` is told too.

Writes ``ablations.csv`` (each case and form) and prints, for each form, the points of attainment that it has more than
the whole, over the cases: the mean, the least and the most.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from math import inf
from pathlib import Path

import numpy as np
from policies import Case, capacity

from hotbunk.costs.rates import Rates
from hotbunk.outcomes.metrics import summarise
from hotbunk.scheduler import Model, Priced, Snapshot
from hotbunk.scheduler.actions import Decision
from hotbunk.scheduler.agenda import Agenda
from hotbunk.scheduler.policies import Turns, Verdict
from hotbunk.scheduler.room import Room
from hotbunk.simulator.case import Case as Served
from hotbunk.simulator.simulation import Subject
from hotbunk.traces.trace import Trace

SHIFT = 600.0
"""Seconds after which requests go to the next model."""


class Unpreempting(Priced):
    """Nobody who runs makes way, unless the bound on waiting demands it."""

    def ends(self, model: Model) -> float:
        """When it has nothing left to do."""
        return inf if model.running or model.suspending else Priced.ends(self, model)

    def _entering(self, snapshot: Snapshot, rooms: list[Room], owed: Agenda, forced: bool) -> list[Decision]:
        return Turns._entering(self, snapshot, rooms, owed, forced)


@dataclass(frozen=True)
class Mistaken(Priced):
    """Told that answers are ``times`` as long, or (0) nothing of answers and rates."""

    times: float = 0.0

    def decide(self, snapshot: Snapshot) -> Verdict:
        """What ``priced`` would."""
        told = (
            m.but(answers=self.times * m.answers, rate=m.rate if self.times else 0.0) for m in snapshot.models.values()
        )
        return Priced.decide(self, snapshot.but(models={m.id: m for m in told}))


def scaled(times: float) -> Callable[[Subject], Subject]:
    """All costs told so many times as high."""

    def tell(subject: Subject) -> Subject:
        wrong = (Rates(*(times * value for value in asdict(each).values())) for each in subject.rates)
        return replace(subject, rates=tuple(wrong))

    return tell


def best(subject: Subject) -> Subject:
    """Offered the best placement alone."""
    return replace(subject, placements=subject.placements[:1], rates=subject.rates[:1])


def same(subject: Subject) -> Subject:
    """As it is."""
    return subject


FORMS: dict[str, tuple[Callable[..., Priced], Callable[[Subject], Subject]]] = {
    "whole": (Priced, same),
    "without splitting": (Priced, best),
    "without preemption": (Unpreempting, same),
    "without the cost model": (Priced, lambda subject: replace(subject, rates=())),
    "without prediction": (Mistaken, same),
    "costs told x 2": (Priced, scaled(2.0)),
    "costs told x 1/2": (Priced, scaled(0.5)),
    "answers told x 4": (lambda *bound: Mistaken(*bound, times=4.0), same),
    "answers told x 1/4": (lambda *bound: Mistaken(*bound, times=0.25), same),
}
"""By name: the policy, and what it is told of a model."""


def main() -> int:
    """Serve all of them, and tell."""
    arguments = _arguments()
    traces = dict(each.split("=", 1) for each in arguments.traces)
    jobs = [
        (Case(name, tuple(files.split(",")), profile, gib, slo, arguments.most), way, arguments.beside.split(","))
        for name, files in traces.items()
        for profile in arguments.profile.split(",")
        for gib in map(int, arguments.budgets.split(","))
        for slo in arguments.slos.split(",")
        for way in arguments.ways.split(",")
    ]
    arguments.out.mkdir(parents=True, exist_ok=True)
    rows = list[dict[str, object]]()
    with ProcessPoolExecutor(arguments.jobs) as pool:
        for found in pool.map(judged, *zip(*jobs, strict=True)):
            rows += found
            print(".", end="", file=sys.stderr, flush=True)
    with (arguments.out / "ablations.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    print(file=sys.stderr)
    for form in dict.fromkeys(row["form"] for row in rows):
        more = np.array([row["more"] for row in rows if row["form"] == form])
        print(f"{form:32} mean {more.mean():+6.1f}   least {more.min():+6.1f}   most {more.max():+6.1f}")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("traces", nargs="+", help="NAME=FILE[,FILE]")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--profile", default="h100")
    parser.add_argument("--budgets", default="24,40", help="GiB")
    parser.add_argument("--slos", default="interactive")
    parser.add_argument("--ways", default="fast", help="what a switch costs: fast, restart")
    parser.add_argument("--beside", default="lru,round-robin", help="baselines where requests shift")
    parser.add_argument("--most", type=int, default=2000, help="requests of a run")
    parser.add_argument("--jobs", type=int, default=2)
    return parser.parse_args()


def judged(case: Case, way: str, beside: list[str]) -> list[dict[str, object]]:
    """A row for each form; none where ``priced`` itself carries nothing."""
    speed = capacity(case, f"priced+{way}")[-1]["capacity"]
    if not speed:
        return []
    trace = case.loaded(speed)
    setting, slos = case.setting(trace.models)

    def attained(served: Served, policy: Turns) -> float:
        return 100 * summarise(served.run("", policy), slos).all.attainment

    def serve(form: str, over: Trace) -> float:
        policy, told = FORMS[form]
        given = setting.case(f"priced+{way}", over)
        return attained(
            replace(given, subjects=tuple(map(told, given.subjects))), policy(setting.bound, setting.quantum)
        )

    found = {form: serve(form, trace) for form in FORMS}
    moved = shifted(trace)
    found["requests shift"] = serve("whole", moved)
    found["requests shift: best baseline"] = max(
        100 * summarise(setting.run(f"{name}+{way}", moved), slos).all.attainment for name in beside
    )
    about = {
        "trace": case.trace,
        "profile": case.profile,
        "gib": case.gib,
        "slo": case.slo,
        "way": way,
        "speed": f"{speed:.4g}",
    }
    return [
        {**about, "form": form, "attainment": round(value, 1), "more": round(value - found["whole"], 1)}
        for form, value in found.items()
    ]


def shifted(trace: Trace) -> Trace:
    """Every ten minutes each model's requests go to the next one; who follows an answer stays with its model."""
    turns = np.zeros(len(trace), dtype=int)
    turns[trace.roots] = trace.arrival[trace.roots] // SHIFT
    for row in range(len(trace)):
        if trace.after[row] >= 0:
            turns[row] = turns[trace.after[row]]
    return replace(trace, model=((trace.model + turns) % len(trace.models)).astype(trace.model.dtype))


if __name__ == "__main__":
    sys.exit(main())
