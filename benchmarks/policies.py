"""Policies against each other, over traces, budgets and loads: how much load each carries, and what happens at it.

    python benchmarks/policies.py --out FOLDER servegen=TRACE azure=CONV,CODE [--policies ...] [--profile h100] ...
    python benchmarks/policies.py --out FOLDER servegen=TRACE --speeds 0.25,0.5,1        # no search: these alone
    python benchmarks/policies.py --out FOLDER ... --profile h100,a6000 --slos interactive,strict,relaxed    # all sets

A *case* is a trace with its models (below), a budget and an SLO. For each case and contender the trace is served at
growing speeds; the **capacity** is the highest speed up to which 90 % of the requests meet their SLO, found by
bisection between the last speed that is carried and the first that is not. Writes ``curves.csv`` (every run that was
made) and ``capacity.csv``, and tells of each as it goes; prints all capacities side by side, and how long requests wait
with the default policy and with the best baseline, at the speed that this one just carries.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from hotbunk.costs.dissect import dissect
from hotbunk.costs.rates import Promise
from hotbunk.outcomes.metrics import Summary, summarise
from hotbunk.outcomes.slo import Slos
from hotbunk.scheduler import POLICIES
from hotbunk.scheduler.baselines import BASELINES
from hotbunk.simulator.contest import Setting
from hotbunk.simulator.profile import read
from hotbunk.study.described import described
from hotbunk.study.shapes import SHAPES
from hotbunk.traces.read import read_all
from hotbunk.traces.trace import Trace

GIB = 1 << 30
SHARE = 0.9
"""Of the requests that must meet their SLO."""
FINE = 1.06  # capacities are found this finely
SLOWEST, FASTEST = 1 / 64, 16.0
OURS = "priced"
SECONDS = 1800.0  # of a trace at its own speed that are served at least: bursts and lulls are both in it
MOST = 6000  # requests of a run

MODELS = {
    "chat-8b": "qwen3-8b:Q4_K_M",
    "reason-8b": "llama3-8b:Q4_0",
    "code-14b": "qwen2.5-14b:Q4_K_M",
    "extract-3b": "qwen2.5-3b:Q8_0",
    "agent-30b": "qwen3-30b-a3b:Q4_K_M",
    "chat-32b": "qwen3-32b:Q4_K_M",
    "azure-2023-conv": "qwen3-8b:F16",
    "azure-2023-code": "qwen2.5-14b:Q8_0",
}
"""What the traces' models stand for; others take turns among ``OTHERS``."""
SMALLER = {
    "code-14b": "llama3-8b:Q4_0",
    "chat-32b": "qwen2.5-14b:Q4_K_M",
    "agent-30b": "qwen2.5-14b:Q4_K_M",
    "azure-2023-conv": "qwen3-8b:Q4_K_M",
    "azure-2023-code": "llama3-8b:Q8_0",
}
"""The same for machines that are slower than the H100: there nobody could keep the promises with the others."""
OTHERS = ("qwen3-8b:Q4_K_M", "qwen2.5-14b:Q4_K_M", "qwen2.5-3b:F16", "llama3-8b:Q4_0")
BATCH = ("extract-3b", "reason-8b")
"""Models whose users can wait."""
SLOS = {
    "interactive": ["ttft=2s,tpot=100ms", *(f"{model}:ttft=30s" for model in BATCH)],
    "strict": ["ttft=1s,tpot=50ms", *(f"{model}:ttft=10s" for model in BATCH)],
    "relaxed": ["ttft=5s,tpot=200ms", *(f"{model}:ttft=60s" for model in BATCH)],
}


@dataclass(frozen=True)
class Case:
    """A trace on a machine within a budget, and what is promised."""

    trace: str
    files: tuple[str, ...]
    profile: str
    gib: int
    slo: str
    most: int = MOST
    host: float = 100.0

    def loaded(self, speed: float) -> Trace:
        """Its trace at a speed."""
        return _trace(self.files, self.most).sped(speed)

    def setting(self, models: tuple[str, ...]) -> tuple[Setting, Slos]:
        """The contest on it, and what is promised."""
        slos = Slos.read(_slo(self.slo, models), models)
        promises = {model: Promise(slos.of(model).ttft, slos.of(model).tpot) for model in models}
        memory = self.gib * GIB, 8192, 4, self.host * GIB
        return Setting(read(self.profile), anatomies(models, self.profile), *memory, promises=promises), slos


@dataclass(frozen=True)
class Point:
    """One run: a case's trace at a speed, served by a contender."""

    case: Case
    policy: str
    speed: float


def main() -> int:
    """Find all capacities."""
    arguments = _arguments()
    traces = dict(each.split("=", 1) for each in arguments.traces)
    cases = [
        Case(name, tuple(files.split(",")), profile, gib, slo, arguments.most)
        for name, files in traces.items()
        for profile in arguments.profile.split(",")
        for gib in map(int, arguments.budgets.split(","))
        for slo in arguments.slos.split(",")
    ]
    jobs = [(case, policy) for case in cases for policy in arguments.policies.split(",")]
    arguments.out.mkdir(parents=True, exist_ok=True)
    if arguments.speeds:
        return _at(jobs, [float(speed) for speed in arguments.speeds.split(",")], arguments)
    rows, carried = list[dict[str, Any]](), list[dict[str, Any]]()
    with ProcessPoolExecutor(arguments.jobs) as pool:
        for found in pool.map(capacity, *zip(*jobs, strict=True)):
            rows += found
            carried.append(best := found[-1])
            line = (best["trace"], best["profile"], best["gib"], best["slo"], best["policy"], best["capacity"])
            print("{:10} {:10} {:3} GiB {:12} {:22} {:7.3f}".format(*line), file=sys.stderr)
    _table(arguments.out / "curves.csv", rows)
    _table(arguments.out / "capacity.csv", _last(rows))
    for profile, slo in dict.fromkeys((each["profile"], each["slo"]) for each in carried):
        print()
        for line in _side_by_side([each for each in carried if (each["profile"], each["slo"]) == (profile, slo)]):
            print(line)
    print()
    _against(cases, _last(rows))
    return 0


def _side_by_side(found: list[dict[str, Any]]) -> Iterator[str]:
    """Capacities of one profile and SLO, a column for each case in which anybody carries anything."""
    by = {(each["policy"], f"{each['trace']} {each['gib']}"): each["capacity"] for each in found}
    names = list(dict.fromkeys(name for name, _ in by))
    cases = [case for case in dict.fromkeys(case for _, case in by) if any(by[name, case] for name in names)]
    yield f"{found[0]['profile'] + ', ' + found[0]['slo']:20}" + "".join(f"{case:>13}" for case in cases)
    for name in names:
        yield f"{name:20}" + "".join(f"{by[name, case]:13.3f}" for case in cases)
    ours = [name for name in names if name.partition("+")[0] == OURS]
    rivals = [name for name in names if name.partition("+")[0] not in POLICIES]
    if ours and rivals:
        best = {case: max(by[name, case] for name in rivals) for case in cases}
        ratios = (f"{by[ours[0], case] / best[case]:13.2f}" if best[case] else f"{'-':>13}" for case in cases)
        yield f"{OURS + ' / best':20}" + "".join(ratios)


def _against(cases: list[Case], found: list[dict[str, Any]]) -> None:
    """Tell how the default policy does at the speed that the best baseline just carries, with each way to switch."""
    for case in cases:
        rivals = [each for each in found if each["policy"].partition("+")[0] not in POLICIES and _of(each, case)]
        for fast in (False, True):
            alike = [each for each in rivals if each["policy"].endswith("+fast") is fast]
            if not alike:
                continue
            best = max(alike, key=lambda each: each["speed"])
            both = row(Point(case, OURS, best["speed"])), best
            figures = [f"{each['policy']} {each['ttft_p99']:.1f} s ({each['wait_max']:.1f} s)" for each in both]
            where = f"{case.trace:10} {case.profile:10} {case.gib:3} GiB {case.slo:12} at {best['speed']:6.3f}"
            print(f"{where}  p99 TTFT (longest wait): {', '.join(figures)}", flush=True)


def _of(found: dict[str, Any], case: Case) -> bool:
    return all(found[name] == value for name, value in asdict(case).items() if name != "files")


def _at(jobs: list[tuple[Case, str]], speeds: list[float], arguments: argparse.Namespace) -> int:
    """Serve at some speeds, and tell how often whom preemption helped."""
    points = [Point(case, policy, speed) for case, policy in jobs for speed in speeds]
    print(
        "trace      profile    GiB speed  policy              SLO met  TTFT mean    p99  preempted  loads  (a request)"
    )
    with ProcessPoolExecutor(arguments.jobs) as pool:
        rows = []
        for each in pool.map(row, points):
            rows.append(each)
            told_ = each["trace"], each["profile"], each["gib"], each["speed"], each["policy"], each["attainment"]
            rates = each["ttft_mean"], each["ttft_p99"], each["preemptions"] / each["requests"]
            line = "{:10} {:10} {:3} {:5.2f}  {:18} {:7.1%} {:8.2f} s {:6.1f} s {:9.3f} {:6.3f}"
            print(line.format(*told_, *rates, each["loads"] / each["requests"]), flush=True)
    _table(arguments.out / "speeds.csv", rows)
    return 0


def _last(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """What a contender does at its capacity."""
    return [row for row in rows if row["speed"] == row["capacity"]]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("traces", nargs="+", help="NAME=FILE[,FILE]")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--policies", default=",".join([*POLICIES, *BASELINES, *(f"{name}+fast" for name in BASELINES)])
    )
    parser.add_argument("--profile", default="h100")
    parser.add_argument("--budgets", default="24,40", help="GiB")
    parser.add_argument("--slos", default="interactive")
    parser.add_argument("--most", type=int, default=MOST, help="requests of a run")
    parser.add_argument("--speeds", help="serve at these instead of looking for the capacity")
    parser.add_argument("--jobs", type=int, default=2)
    return parser.parse_args()


def capacity(case: Case, policy: str) -> list[dict[str, Any]]:
    """All runs that were made to find it, each with the capacity that was found."""
    rows = dict[float, dict[str, Any]]()

    def carried(speed: float) -> bool:
        rows[speed] = row(Point(case, policy, speed))
        return bool(rows[speed]["attainment"] >= SHARE)

    low, high = 0.0, 1.0
    if carried(1.0):
        low = 1.0
        while low < FASTEST and carried(high := 2 * low):
            low = high
    else:
        while high > SLOWEST and not carried(high / 2):
            high /= 2
        low = high / 2 if high > SLOWEST else 0.0
    while low and high / low > FINE:
        middle = (low * high) ** 0.5
        low, high = (middle, high) if carried(middle) else (low, middle)
    return [{**rows[speed], "capacity": low} for speed in sorted(rows, key=lambda speed: (speed == low, speed))]


def row(point: Point) -> dict[str, Any]:
    """Serve it; the figures that matter."""
    case = point.case
    trace = case.loaded(point.speed)
    setting, slos = case.setting(trace.models)
    figures = summarise(setting.run(point.policy, trace), slos)
    return {**asdict(case), "files": "", "policy": point.policy, "speed": point.speed, **told(figures)}


def told(summary: Summary) -> dict[str, Any]:
    """Of a run."""
    all_ = summary.all
    return {
        "requests": all_.requests,
        "attainment": all_.attainment,
        "worst": summary.worst,
        "goodput": all_.goodput,
        "ttft_mean": all_.ttft.mean,
        "ttft_p99": all_.ttft.p99,
        "tpot_p95": all_.tpot.p95,
        "wait_max": all_.wait.most,
        "refused": all_.refused,
        "loads": summary.usage.loads,
        "preemptions": all_.preemptions,
        "computing": summary.computing,
    }


@lru_cache
def _trace(files: tuple[str, ...], most: int) -> Trace:
    whole = read_all([Path(file) for file in files], "skip").trace
    seconds = SECONDS
    while len(whole.until(seconds)) < most and seconds < whole.duration:
        seconds *= 1.5
    cut = whole.until(seconds)
    return cut if len(cut) <= most else cut.until(float(cut.arrival[cut.roots[min(most, len(cut.roots) - 1)]]))


@lru_cache
def anatomies(models: tuple[str, ...], profile: str = "h100") -> dict[str, Any]:
    """By model."""
    found, stand = {}, MODELS if profile == "h100" else {**MODELS, **SMALLER}
    for place, model in enumerate(models):
        shape, _, kind = (name := stand.get(model, OTHERS[place % len(OTHERS)])).partition(":")
        found[model] = dissect(described(SHAPES[shape], kind), name)
    return found


def _slo(name: str, models: tuple[str, ...]) -> list[str]:
    return [text for text in SLOS[name] if ":" not in text or text.partition(":")[0] in models]


def _table(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [name for name in rows[0] if name != "files"], extrasaction="ignore")
        writer.writeheader()
        writer.writerows({key: _short(value) for key, value in row.items()} for row in rows)


def _short(value: Any) -> Any:
    return f"{value:.4g}" if isinstance(value, float) else value


if __name__ == "__main__":
    sys.exit(main())
