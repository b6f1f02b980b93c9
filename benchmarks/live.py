"""Policies live, beside llama-server's router: the same traces sent to each, one server after the other on one machine.

    python benchmarks/live.py --device CUDA0 --llama-server PATH --out FOLDER              # all of it, half an hour
    python benchmarks/live.py --device CUDA0 --llama-server PATH --workloads heavy --out FOLDER   # a workload a call
    python benchmarks/live.py --device cpu --scale 0.1 --blocks 4 --seconds 20 --rate 2 --out FOLDER   # without a GPU

Models of real shapes with random weights are written once. Each contender serves them in a process of its own, within
``--budget`` (hotbunk) or ``--models-max`` (llama-server, which counts models), and each workload is replayed at it from
outside; hotbunk has measured the machine by its quick roofline alone, as it does when it is first started. Writes for
each workload ``NAME.csv`` (SLO attainment, TTFT and TPOT, tokens/s, shares of time) and ``NAME.html``, and all tables
to ``report.txt``. What it did, llama-server does not tell; on an NVIDIA GPU its driver says of each contender alike how
much of the time the device was computing.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import mean

from report import Report
from staged import parser, replayed, written
from workloads import WORKLOADS, Draw

from hotbunk.cli.bench.rival import SETTLED, find, hotbunk, router
from hotbunk.cli.bench.server import Server
from hotbunk.outcomes import Run
from hotbunk.outcomes.files import write_page, write_summary
from hotbunk.outcomes.metrics import summarise
from hotbunk.outcomes.page import page
from hotbunk.outcomes.slo import Slos
from hotbunk.outcomes.table import tables
from hotbunk.report.page import Page, Section
from hotbunk.report.render import text
from hotbunk.scheduler import POLICIES

ROUTER = "llama-server"
SAMPLED = 200
"""Milliseconds from one look at the device to the next."""
KEPT = ("heavy", "bursty", "chains")


def main() -> int:
    """Serve all workloads by all contenders."""
    arguments = _arguments()
    arguments.out.mkdir(parents=True, exist_ok=True)
    report = Report(arguments.out / "report.txt")
    with tempfile.TemporaryDirectory(prefix="hotbunk-live-") as temporary:
        folder = (arguments.work or Path(temporary)) / "models"
        names = tuple(written(folder, arguments.models, arguments.scale, arguments.blocks))
        draw = Draw(arguments.seconds, arguments.rate, arguments.tokens)
        traces = {name: WORKLOADS[name](name, names, draw) for name in arguments.workloads.split(",")}
        runs: dict[str, list[Run]] = {name: [] for name in traces}
        for contender in arguments.contenders.split(","):
            with _serving(contender, folder, arguments) as server:
                for name, trace in traces.items():
                    with _watching() as shares:
                        runs[name].append(replayed(trace, server, contender))
                    busy = f", the device busy {mean(shares):.1%} of the time, by its driver" if shares else ""
                    report.say(f"{contender}, {name}: {len(trace)} requests in {trace.duration:.0f} s, replayed{busy}")
    for name, found in runs.items():
        _tell(name, found, arguments, report)
    return 0


@contextmanager
def _serving(contender: str, folder: Path, arguments: argparse.Namespace) -> Iterator[Server]:
    lengths = arguments.context, arguments.slots, arguments.threads
    if contender == ROUTER:
        with router(arguments.llama_server, folder, *lengths, "--models-max", str(arguments.models_max)) as server:
            yield server
        return
    options = "--policy", contender, "--store", str(folder.parent / f"{contender}.sqlite")
    with hotbunk(folder, arguments.device, arguments.budget, *lengths, *options) as server:
        server.wait_stored(SETTLED)
        yield server


@contextmanager
def _watching() -> Iterator[list[float]]:
    """What the driver says of the GPU meanwhile, sample by sample: the share of time in which a kernel was running.

    The list is filled at the end, and stays empty where there is no ``nvidia-smi``.
    """
    shares: list[float] = []
    if not shutil.which("nvidia-smi"):
        yield shares
        return
    which = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    query = "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"
    with subprocess.Popen(
        ["nvidia-smi", "-i", which, *query, "-lms", str(SAMPLED)], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield shares
        finally:
            process.terminate()
            shares += [float(line) / 100 for line in process.communicate()[0].split()]


def _tell(name: str, runs: list[Run], arguments: argparse.Namespace, report: Report) -> None:
    slos = Slos()
    summaries = [summarise(run, slos) for run in runs]
    report.title(f"{name}, {arguments.seconds:.0f} s, {arguments.models}")
    report.say(text(Page(name, "", "", [Section(name, name, "", tables(summaries, slos))])).strip())
    write_summary(summaries, arguments.out / f"{name}.csv")
    about = [("device", arguments.device), ("workload", name), ("models", arguments.models)]
    write_page(page(runs, slos, None, about, f"{name}: live"), arguments.out / f"{name}.html")


def _arguments() -> argparse.Namespace:
    options = parser(__doc__ or "", 150.0)
    options.add_argument("--llama-server", type=lambda path: find(f"llama-server={path}"), help="the peer")
    options.add_argument("--contenders", help=f"policies of hotbunk, and {ROUTER}; default: priced, fifo, and the peer")
    options.add_argument("--models-max", type=int, default=1, help="models that the peer keeps loaded")
    options.add_argument("--workloads", default=",".join(KEPT), help=f"of {', '.join(WORKLOADS)}")
    arguments = options.parse_args()
    arguments.contenders = arguments.contenders or f"priced,fifo{',' + ROUTER if arguments.llama_server else ''}"
    if unknown := set(arguments.contenders.split(",")) - {*POLICIES, ROUTER}:
        options.error(f"--contenders {','.join(sorted(unknown))}: there are {', '.join([*POLICIES, ROUTER])}")
    if ROUTER in arguments.contenders and not arguments.llama_server:
        options.error(f"--contenders {ROUTER}: name the program with --llama-server PATH")
    if unknown := set(arguments.workloads.split(",")) - WORKLOADS.keys():
        options.error(f"--workloads {','.join(sorted(unknown))}: there are {', '.join(WORKLOADS)}")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
