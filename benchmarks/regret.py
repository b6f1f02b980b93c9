"""How far policies are from the offline optimum, on small cases: ``hotbunk.simulator.optimum`` says what that is.

    python benchmarks/regret.py --out FOLDER [--policies priced,fifo,lru+fast,...] [--cases 100] [--seed 1] [--jobs 2]

Draws cases of 2 or 3 models that do not all fit together (the largest of them just fits), and 4 to 7 requests that come
close upon each other; by turns on each profile and with each way to switch. Each is served by the contenders that
switch in that way, and by the best schedule that the search finds: for the mean latency, and for the SLO (requests
that miss it, then the latency). With ``--no-foresight`` it too loads nothing before there is a request for it.

- regret = (mean latency - optimum) / optimum; inf for who refuses a request.
- missed = requests that miss their SLO, less those of the optimum.

The search sets out from what it has by itself, not from what contenders do. Where it is cut short (``--most`` runs) the
case is marked, and its optimum is the best run known, of a contender too; ``gap`` is how far below the proven bound is.
Writes ``regret.csv`` (a row for each case and contender) and ``regret.txt``.
"""

from __future__ import annotations

import argparse
import csv
import random
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from hotbunk.costs.anatomy import Anatomy
from hotbunk.costs.dissect import dissect
from hotbunk.costs.price import price
from hotbunk.costs.rates import Promise
from hotbunk.outcomes.slo import Slos
from hotbunk.scheduler import POLICIES
from hotbunk.simulator.contest import WAYS, Setting
from hotbunk.simulator.floor import Score
from hotbunk.simulator.optimum import Optimum, optimum, score
from hotbunk.simulator.profile import read
from hotbunk.study.described import described
from hotbunk.study.shapes import SHAPES
from hotbunk.traces import Request, Trace

KINDS = ("qwen3-8b:Q4_K_M", "qwen3-8b:F16", "llama3-8b:Q4_0", "qwen2.5-14b:Q4_K_M", "qwen2.5-3b:F16")
POLICY = ",".join(f"{name}+{way}" for way in WAYS for name in (*sorted(POLICIES), "lru", "drain", "round-robin"))
CONTEXT, SLOTS = 4096, 4
SLO = Promise(2.0, 0.1)


@dataclass(frozen=True)
class Drawn:
    """A case to be: ``trace`` on a profile, switching in a ``way``, where the largest of the models just fits."""

    number: int
    profile: str
    way: str
    kinds: tuple[str, ...]
    trace: Trace

    def setting(self) -> Setting:
        """The contest on it."""
        anatomies = dict(zip(self.trace.models, map(_anatomy, self.kinds), strict=True))
        budget = max(price(each, len(each.layers), CONTEXT, SLOTS).device.total for each in anatomies.values())
        promises = dict.fromkeys(anatomies, SLO)
        return Setting(read(self.profile), anatomies, budget, CONTEXT, SLOTS, promises=promises)


def main() -> int:
    """Draw, serve and search, and tell."""
    arguments = _arguments()
    names = arguments.policies.split(",")
    arguments.out.mkdir(parents=True, exist_ok=True)
    rows = list[dict[str, Any]]()
    limits = {"most": arguments.most, "tolerance": arguments.tolerance, "foresight": arguments.foresight}
    work = partial(judged, names=names, limits=limits)
    with ProcessPoolExecutor(arguments.jobs) as pool:
        for found in pool.map(work, drawn(arguments.cases, arguments.seed, arguments.profile.split(","))):
            rows += found
            print(".", end="", file=sys.stderr, flush=True)
    with (arguments.out / "regret.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows({key: f"{v:.6g}" if isinstance(v, float) else v for key, v in row.items()} for row in rows)
    command = shlex.join(["python", "benchmarks/regret.py", *sys.argv[1:]])
    text = "\n".join(told(rows))
    (arguments.out / "regret.txt").write_text(f"# {command}\n\n{text}\n")
    print(file=sys.stderr)
    print(text)
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--policies", default=POLICY, help="each counts in the cases of its way to switch")
    parser.add_argument("--profile", default="h100,a6000")
    parser.add_argument("--cases", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--most", type=int, default=1000, help="runs that a search may simulate")
    parser.add_argument("--tolerance", type=float, default=0.01, help="of the optimum's latencies")
    parser.add_argument("--foresight", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--jobs", type=int, default=2)
    return parser.parse_args()


def drawn(cases: int, seed: int, profiles: Sequence[str]) -> Iterator[Drawn]:
    """The same for the same seed."""
    for number in range(cases):
        dice = random.Random(f"{seed}/{number}")
        kinds = tuple(dice.sample(KINDS, dice.randint(2, 3)))
        pace = dice.choice((0.3, 1.0, 3.0))  # seconds from one request to the next
        names, rows, clock = "abc"[: len(kinds)], list[Request](), 0.0
        for _ in range(dice.randint(4, 7)):
            lengths = (
                min(2000, int(dice.lognormvariate(5.5, 1.0)) + 1),
                min(600, int(dice.lognormvariate(4.5, 0.9)) + 1),
            )
            rows.append(Request(clock, dice.choice(names), *lengths))
            clock += dice.expovariate(1 / pace)
        trace = Trace.of(f"small-{number}", rows, list(names))
        way = WAYS[number // len(profiles) % len(WAYS)]
        yield Drawn(number, profiles[number % len(profiles)], way, kinds, trace)


def judged(case: Drawn, names: Sequence[str], limits: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row for each contender that switches in the case's way."""
    setting, slos = case.setting(), Slos.read([f"ttft={SLO.ttft}s,tpot={SLO.tpot}s"], case.trace.models)
    runs = {name: setting.run(name, case.trace) for name in names if name.endswith(f"+{case.way}")}
    given = setting.case(f"{next(iter(POLICIES))}+{case.way}", case.trace)
    mean, promised = (optimum(given, each, **limits) for each in (None, slos))
    best = _best(mean, [score(run) for run in runs.values()])
    fewest = _best(promised, [score(run, slos) for run in runs.values()])
    about = {"case": case.number, "profile": case.profile, "way": case.way, "requests": len(case.trace)}
    return [
        {
            **about,
            "policy": name.partition("+")[0],
            "latency": score(run)[1] / len(case.trace),
            "optimum": best[1] / len(case.trace),
            "regret": score(run)[1] / best[1] - 1,
            "complete": mean.complete,
            "gap": best[1] / mean.least[1] - 1,
            "missed": score(run, slos)[0] - fewest[0],
            "fewest": fewest[0],
            "complete_slo": promised.complete,
            "runs": mean.runs + promised.runs,
        }
        for name, run in runs.items()
    ]


def _best(found: Optimum, others: Sequence[Score]) -> Score:
    """Of a search that was cut short it is the best score known."""
    return found.score if found.complete else min(found.score, *others)


def told(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """By way to switch and contender, over its cases; then over those of both ways."""
    cases = {row["case"]: row for row in rows}.values()
    for what in ("complete", "complete_slo"):
        yield f"{what}: {sum(row[what] for row in cases)} of {len(cases)} searches"
    gaps = [row["gap"] for row in cases]
    yield f"gap between the optimum and its proven bound: median {np.median(gaps):.1%}, most {max(gaps):.1%}"
    yield ""
    yield f"{'':8}{'':14}{'regret of mean latency':>26}{'':4}{'SLO misses beyond the optimum':>32}"
    yield f"{'way':8}{'policy':14}{'median':>8}{'p90':>9}{'most':>9}{'':4}{'mean':>12}{'none in':>10}{'most':>10}"
    groups = [(row["way"], row["policy"]) for row in rows] + [("both", row["policy"]) for row in rows]
    for way, policy in dict.fromkeys(groups):
        own = [row for row in rows if row["policy"] == policy and way in (row["way"], "both")]
        regret, missed = np.array([row["regret"] for row in own]), np.array([row["missed"] for row in own])
        middle, high = np.quantile(regret, [0.5, 0.9], method="higher")
        figures = f"{middle:8.1%}{high:9.1%}{regret.max():9.1%}"
        yield f"{way:8}{policy:14}{figures}{'':4}{missed.mean():12.2f}{np.mean(missed <= 0):10.0%}{missed.max():10d}"


@cache
def _anatomy(kind: str) -> Anatomy:
    shape, _, quantization = kind.partition(":")
    return dissect(described(SHAPES[shape], quantization), kind)


if __name__ == "__main__":
    sys.exit(main())
