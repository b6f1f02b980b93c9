"""Show how true the simulator is: the same traces replayed live and simulated from what was profiled, side by side.

    python benchmarks/validate.py --device CUDA0 --out FOLDER                  # all of it, about half an hour
    python benchmarks/validate.py --device CUDA0 --work FOLDER --workloads heavy --out FOLDER     # piece by piece
    python benchmarks/validate.py --live FOLDER --out FOLDER                   # what was replayed, simulated anew
    python benchmarks/validate.py --device cpu --scale 0.1 --blocks 4 --seconds 30 --rate 2       # without a GPU

1. Models of real shapes with random weights are written, and profiled into a store of their own. Both stay in
   ``--work``, for the next call on the same machine.
2. ``hotbunk serve`` serves them within ``--budget``. What hotbunk itself takes there is measured at rest.
3. Each workload is drawn, replayed at the server, and simulated: from the profile, with the placements, the bounds on
   moves and the budget that the server had when the replay began.
4. Errors are held against what is promised: 5 % of means, 10 % of 95th percentiles, 10 % of loads and preemptions. With
   ``--again`` each trace is replayed twice, to tell by how much live runs of the same trace differ among themselves.

Writes ``report.txt``, ``profile.json`` (for ``hotbunk simulate --device-profile``), and for each workload its figures
and errors as CSV, a page with both timelines, and the replay itself (``NAME.json``). ``--live`` takes such a folder
and does 3 and 4 with what was replayed then. Exit status 1 if anything is not as promised; with ``--scale``, or on a
CPU, errors are only reported.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, astuple
from pathlib import Path
from typing import Any

import kept
import msgspec
from kept import Kept, Replayed
from report import Report
from staged import PROMPTS, parser, replayed, written
from workloads import WORKLOADS, Draw

from hotbunk.cli.bench.rival import hotbunk
from hotbunk.cli.bench.server import Server
from hotbunk.costs.store import Store
from hotbunk.outcomes.files import write_page, write_summary
from hotbunk.outcomes.metrics import errors, summarise
from hotbunk.outcomes.page import page
from hotbunk.outcomes.slo import Slos
from hotbunk.outcomes.table import tables, validation
from hotbunk.replay.client import Endpoint
from hotbunk.replay.standing import measured, standing
from hotbunk.report.page import Page, Section
from hotbunk.report.render import text
from hotbunk.scheduler import Bound
from hotbunk.simulator import profile as profiles
from hotbunk.simulator.contest import Setting
from hotbunk.simulator.pace import Delays
from hotbunk.simulator.profile import Profile
from hotbunk.simulator.stored import stored

PROFILE = "profile.json"
STORED = 180.0
"""Seconds that the host store gets to fill."""
LIMITS = {"mean": 0.05, "p95": 0.10, "loads": 0.10, "preemptions": 0.10}
"""What is promised, by how a figure's name ends."""


def main() -> int:
    """Run the workloads asked for."""
    arguments = _arguments()
    arguments.out.mkdir(parents=True, exist_ok=True)
    report = Report(arguments.out / "report.txt")
    with tempfile.TemporaryDirectory(prefix="hotbunk-validate-") as temporary:
        if arguments.live:
            found = _simulated(arguments.live, arguments, report)
        else:
            found = _served(arguments.work or Path(temporary), arguments, report)
    report.say(_shown(found))
    judged = arguments.scale == 1 and not arguments.blocks and not arguments.device.startswith(("rpc:", "cpu"))
    for name in found:
        if not name.endswith("again"):
            _judge(name, found[name], report, judged)
    report.title("done" if not report.failed else f"{report.failed} NOT OK")
    return int(report.failed > 0)


def _served(folder: Path, arguments: argparse.Namespace, report: Report) -> dict[str, Mapping[str, float]]:
    """Make what is missing, and serve all workloads; the errors by run."""
    files = written(folder / "models", arguments.models, arguments.scale, arguments.blocks)
    store = folder / "costs.sqlite"
    _profile(store, list(files.values()), arguments, report)
    with Store(store) as known:
        machine = stored(known)
    found: dict[str, Mapping[str, float]] = {}
    with hotbunk(
        *(folder / "models", arguments.device, arguments.budget, arguments.context, arguments.slots),
        *(arguments.threads, "--store", str(store), "--policy", arguments.policy, "--no-measure"),
    ) as server:
        server.wait_stored(STORED)
        report.title(f"{machine.note}; {', '.join(files)}; policy {arguments.policy}")
        machine = _with_delays(machine, asyncio.run(_delays(server, machine, list(files), arguments.slots)))
        report.say(f"hotbunk's own delays, ms: {_in_ms(machine.delays)}")
        profiles.write(machine, arguments.out / PROFILE)
        for name in filter(None, arguments.workloads.split(",")):
            replay = _replay(name, tuple(files), server, arguments)
            kept.write(replay, arguments.out / f"{name}.json")
            found |= _compare(replay, machine, arguments.out, report)
    return found


def _simulated(folder: Path, arguments: argparse.Namespace, report: Report) -> dict[str, Mapping[str, float]]:
    """Simulate what an earlier call has replayed; the errors by run."""
    machine = profiles.read(str(folder / PROFILE))
    report.title(f"{machine.note}; replays of {folder.name}")
    report.say(f"hotbunk's own delays, ms: {_in_ms(machine.delays)}")
    found: dict[str, Mapping[str, float]] = {}
    for path in _kept(folder, arguments.workloads):
        found |= _compare(kept.read(path), machine, arguments.out, report)
    return found


def _kept(folder: Path, workloads: str) -> list[Path]:
    """The replays that are there, of these workloads."""
    return [path for name in workloads.split(",") if name and (path := folder / f"{name}.json").exists()]


def _profile(store: Path, files: list[Path], arguments: argparse.Namespace, report: Report) -> None:
    """Those that are not known yet."""
    with Store(store) as kept:
        known = {each.name for each in kept.known()}
    missing = [str(path) for path in files if path.stem not in known]
    if not missing:
        return
    report.say(f"profiling {len(missing)} models, at most {arguments.profile:g} s each")
    options = ["--device", arguments.device, "--store", str(store), "--time-budget", f"{arguments.profile:g}s"]
    options += ["--context", str(arguments.context), "--slots", str(arguments.slots), "--budget", str(arguments.budget)]
    options += ["--threads", str(arguments.threads)] if arguments.threads else []
    subprocess.run(
        [sys.executable, "-m", "hotbunk", "profile", *missing, *options, "--resident", "--json"],
        check=True,
        stdout=subprocess.DEVNULL,
    )


async def _delays(server: Server, machine: Profile, models: list[str], slots: int) -> dict[str, Delays]:
    """Of each model, one after the other: which also has the gateway read all vocabularies."""
    places = {model: each.placements[0] for model, each in standing(server.get("/api/state")).items()}

    def profiled(model: str) -> Callable[[int], float]:
        costs = machine.costs(machine.models[model].anatomy)
        return lambda sequences: costs.decode(places[model], [0] * sequences).seconds

    async with Endpoint(server.url) as endpoint:
        return {model: await measured(endpoint, model, PROMPTS, slots, profiled=profiled(model)) for model in models}


def _with_delays(machine: Profile, found: Mapping[str, Delays]) -> Profile:
    """The mean of the models', since a profile has but one of each."""
    names = asdict(Delays())
    mean = {name: sum(getattr(each, name) for each in found.values()) / len(found) for name in names}
    return msgspec.structs.replace(machine, **mean)


def _replay(name: str, models: tuple[str, ...], server: Server, arguments: argparse.Namespace) -> Replayed:
    """Send a workload to the server, which has nothing on the device when it begins."""
    trace = WORKLOADS[name](name, models, arguments.draw)
    for model in trace.models:
        server.post(f"/api/models/{model}/unload", {})
    state = server.get("/api/state")
    [device] = state["devices"]
    host = float(sum(each["total"] for each in device["stored"].values()))
    where = device["budget"], arguments.context, arguments.slots, host, standing(state)
    names = ["live", "live again"] if arguments.again else ["live"]
    runs = [Kept.of(replayed(trace, server, each)) for each in names]
    return Replayed(name, models, [astuple(row) for row in trace], arguments.policy, *where, runs)


def _compare(replay: Replayed, machine: Profile, out: Path, report: Report) -> dict[str, Mapping[str, float]]:
    """Simulate what was replayed; the errors by the name of the run."""
    name, policy, trace = replay.workload, replay.policy, replay.trace
    report.title(f"{name}: {len(trace)} requests in {trace.duration:.0f} s")
    runs = [*(each.run(trace) for each in replay.runs), _setting(replay, machine).run(policy, trace)]
    slos = Slos()
    summaries = [summarise(run, slos) for run in runs]
    report.say(text(Page(name, "", "", [Section(name, name, "", tables(summaries, slos)[:3])])).strip())
    write_summary(summaries, out / f"{name}.csv")
    about = [("device", machine.note), ("workload", name), ("policy", policy)]
    write_page(page(runs, slos, None, about, f"{name}: live and simulated"), out / f"{name}.html")
    found = {name if run is runs[-1] else f"{name}, live again": errors(runs[0], run) for run in runs[1:]}
    _write(found, out / f"{name}-errors.csv")
    return found


def _setting(replay: Replayed, machine: Profile) -> Setting:
    """The server as it was, with nothing on the device."""
    return Setting(
        machine,
        {model: machine.models[model].anatomy for model in replay.models},
        replay.budget,
        replay.context,
        replay.slots,
        replay.host,
        Bound(),
        standing=replay.standing,
        announced=True,
    )


def _judge(name: str, found: Mapping[str, float], report: Report, judged: bool) -> None:
    for figure, error in found.items():
        limit = next((limit for end, limit in LIMITS.items() if figure.endswith(end)), None)
        if limit is not None:
            ok = abs(error) <= limit if judged else None
            report.row(f"{name}, {figure}", f"{error:+.1%}", f"within {limit:.0%}", ok)


def _shown(found: Mapping[str, Mapping[str, float]]) -> str:
    section = Section("errors", "Errors", "", [validation(found)])
    return text(Page("The simulator beside the live server", "", "", [section])).strip()


def _write(found: Mapping[str, Mapping[str, float]], path: Path) -> None:
    rows = [{"run": name, **row} for name, row in found.items()]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _in_ms(delays: Delays) -> str:
    return ", ".join(f"{name} {1e3 * seconds:.3f}" for name, seconds in asdict(delays).items())


def _arguments() -> Any:
    options = parser(__doc__ or "", 300.0)
    options.add_argument("--policy", default="timeslice")
    options.add_argument("--workloads", default=",".join(WORKLOADS), help="none: models and profile only")
    options.add_argument("--profile", type=float, default=90.0, help="seconds to profile each model")
    options.add_argument("--live", type=Path, help="an earlier --out, of which only simulations are to be made anew")
    options.add_argument("--again", action="store_true", help="replay each trace twice")
    arguments = options.parse_args()
    if unknown := set(filter(None, arguments.workloads.split(","))) - WORKLOADS.keys():
        options.error(f"--workloads {','.join(sorted(unknown))}: there are {', '.join(WORKLOADS)}")
    if arguments.live and not ((arguments.live / PROFILE).exists() and _kept(arguments.live, arguments.workloads)):
        options.error(f"--live {arguments.live}: it has no {PROFILE}, or no replay of {arguments.workloads}")
    arguments.draw = Draw(arguments.seconds, arguments.rate, arguments.tokens)
    return arguments


if __name__ == "__main__":
    sys.exit(main())
