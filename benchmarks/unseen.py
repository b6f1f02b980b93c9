"""What load policies carry on traces that nobody has looked at before: drawn by seed, of all kinds.

    python benchmarks/unseen.py --out FOLDER [--seeds 1-40] [--policies priced,lru+fast,...] [--profile h100] ...

Each seed draws a workload: how many models and which, how popular each is, how requests come (evenly, in bursts, by day
and by night), how long they are, and whether answers are followed by other requests. Its capacity is found for each
contender as ``policies.py`` does. Writes traces, ``capacity.csv`` and ``unseen.txt``: by budget, how many times the
load of the best other contender the first one carries, and all capacities. Cases in which no other one carries anything
are left out of the ratios, and told.
"""

from __future__ import annotations

import argparse
import csv
import shlex
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from policies import MODELS, OTHERS, SLOS, Case, capacity

from hotbunk.traces.arrivals import Arrivals, Burst, Swing
from hotbunk.traces.draw import Chains, LogNormal, Popularity, Recipe, draw
from hotbunk.traces.trace import Trace
from hotbunk.traces.write import write

SECONDS = 1800.0
"""Of a trace at its own speed."""
NAMES = [*(name for name in MODELS if not name.startswith("azure")), *(f"other-{n}" for n in range(2 * len(OTHERS)))]
"""What a workload's models are taken from: those that ``policies.py`` knows by name, and others."""
OUR = ("trace", "gib", "policy", "capacity", "attainment", "ttft_p99", "wait_max", "requests")


def workload(seed: int) -> Trace:
    """One of all kinds. Rates, times, lengths and factors are drawn evenly in their logarithm."""
    random = Random(seed)

    def between(low: float, high: float) -> float:
        return float(low * (high / low) ** random.random())

    models = tuple(random.sample(NAMES, random.randint(2, len(NAMES))))
    burst = Burst(between(5, 60), between(20, 240), between(3, 20)) if random.random() < 0.4 else None
    swing = Swing(between(300, SECONDS), random.uniform(0.3, 0.9)) if random.random() < 0.3 else None
    arrivals = Arrivals(between(0.3, 1.0), random.choice([1.0, between(1, 4)]), burst, swing)
    prompts = LogNormal(between(80, 2000), random.uniform(0.4, 1.3), 6500)
    outputs = LogNormal(between(20, 500), random.uniform(0.4, 1.1), 1500)
    chains = Chains(random.uniform(0.3, 0.85), between(0.5, 20)) if random.random() < 0.4 else Chains(0.0, 0.0)
    popularity = Popularity(models, random.uniform(0.0, 1.5))
    return draw(Recipe(arrivals, popularity, (prompts, outputs), chains, duration=SECONDS), seed, f"seed-{seed}")


def main() -> int:
    """Draw, find the capacities, compare."""
    arguments = _arguments()
    arguments.out.mkdir(parents=True, exist_ok=True)
    policies = arguments.policies.split(",")
    jobs = [(case, policy) for case in _cases(arguments) for policy in policies]
    rows: list[dict[str, Any]] = []
    with ProcessPoolExecutor(arguments.jobs) as pool:
        for found in pool.map(capacity, *zip(*jobs, strict=True)):
            rows.append(found[-1])
            print("{trace:8} {gib:3} GiB {policy:22} {capacity:7.3f}".format(**rows[-1]), file=sys.stderr)
    with (arguments.out / "capacity.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, OUR, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    told = "\n".join([*_compared(rows, policies), "", *_capacities(rows, policies)])
    command = shlex.join(["python", "benchmarks/unseen.py", *sys.argv[1:]])
    (arguments.out / "unseen.txt").write_text(f"# {command}\n\n{told}\n")
    print(told)
    return 0


def _cases(arguments: argparse.Namespace) -> Iterator[Case]:
    first, _, last = arguments.seeds.partition("-")
    for seed in range(int(first), int(last or first) + 1):
        path = arguments.out / f"seed-{seed}.csv"
        write(workload(seed), path, force=True)
        for gib in map(int, arguments.budgets.split(",")):
            yield Case(path.stem, (str(path),), arguments.profile, gib, arguments.slo, arguments.most)


def _compared(rows: Iterable[dict[str, Any]], policies: list[str]) -> Iterator[str]:
    """By budget: the first contender's capacity over that of the best other one, and over each of them."""
    by_case: dict[int, dict[str, dict[str, float]]] = {}
    for row in rows:
        by_case.setdefault(row["gib"], {}).setdefault(row["trace"], {})[row["policy"]] = row["capacity"]
    first, *others = policies
    yield f"{first + ' over':28} cases    0.98 up    least      10 %    median      90 %      most"
    for gib, cases in by_case.items():
        for name, rivals in [("the best of them", others), *((other, [other]) for other in others)]:
            pairs = [(case[first], max((case[rival] for rival in rivals), default=0.0)) for case in cases.values()]
            ratios = np.array([ours / theirs for ours, theirs in pairs if theirs])
            alone = sum(ours > 0 for ours, theirs in pairs if not theirs)
            if not len(ratios):
                continue
            five = "".join(f"{np.quantile(ratios, share):10.2f}" for share in (0, 0.1, 0.5, 0.9, 1))
            note = f"   and {alone} that only {first} carries" if alone else ""
            yield f"{f'{name}, {gib} GiB':28} {len(ratios):5} {np.mean(ratios >= 0.98):10.0%}{five}{note}"


def _capacities(rows: Iterable[dict[str, Any]], policies: list[str]) -> Iterator[str]:
    """A line for each trace and budget."""
    yield f"{'capacity':17}" + "".join(f"{policy:>18}" for policy in policies)
    by_case: dict[tuple[str, int], list[float]] = {}
    for row in rows:
        by_case.setdefault((row["trace"], row["gib"]), []).append(row["capacity"])
    for (trace, gib), found in by_case.items():
        yield f"{trace:8} {gib:3} GiB " + "".join(f"{each:18.3f}" for each in found)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", default="1-40", help="FIRST-LAST")
    parser.add_argument("--policies", default="priced,timeslice,fifo,lru+fast,round-robin+fast,router-bytes+fast")
    parser.add_argument("--profile", default="h100")
    parser.add_argument("--budgets", default="24,40", help="GiB")
    parser.add_argument("--slo", default="interactive", choices=SLOS)
    parser.add_argument("--most", type=int, default=1000, help="requests of a run")
    parser.add_argument("--jobs", type=int, default=2)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
