"""Profile models of real shapes on a device, judge the cost models by what was held out, and redo the study there.

    python benchmarks/costs.py --device CUDA0 --shapes qwen3-8b,qwen2.5-3b,llama3-8b --seconds 440 --out OUT
    python benchmarks/costs.py --device rpc:127.0.0.1:PORT --shapes 1b,half --scale 0.1 --seconds 120 --out OUT

Writes the models (random weights) to a temporary folder, as many as the disk holds, profiles each (``--quick`` seconds,
then more), and spends the rest of the time on ``hotbunk study all``. Ends within ``--seconds``, with whatever is done
by then, in ``--out``: ``errors.txt`` (held-out errors beside what is promised), ``costs.sqlite`` and ``profile/``
(all measurements, for other programs), ``parameters.txt`` (what was fitted), ``study/`` (its tables), ``report.html``
and ``summary.txt``. Exit status 1 if anything is not as promised; promises are for a GPU and models of full size,
elsewhere errors are only printed.

Several runs, each with other shapes, are brought together by
``hotbunk study report OUT1/study OUT2/study --out ALL``.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from time import monotonic

from report import Report

from hotbunk.costs.model import Costs, errors
from hotbunk.costs.record import Kind, Record
from hotbunk.costs.store import Store
from hotbunk.errors import HotbunkError
from hotbunk.study.results import Results, Row
from hotbunk.study.shapes import Shape, named
from hotbunk.study.write import size, write
from hotbunk.worker.machine import cores

QUICK, FULL, PRIOR = "--quick", "--full", "roofline alone"
PROMISED = {QUICK: (0.08, 0.15), FULL: (0.05, 0.10), PRIOR: (0.30, 0.30)}
"""Mean absolute relative error: of decoding, and of the others."""
JUDGED = (Kind.DECODE, Kind.PREFILL, Kind.LOAD, Kind.KV_OUT, Kind.KV_IN)
LEGS = ((32768, 2), (2048, 32))
"""Longest context and most sequences of the two halves of a full profile: both at once would fit no memory."""
SHORT, FEW = 8192, 8  # what a quick one measures
PAIRS = (("qwen2.5-3b", "qwen3-8b"), ("qwen3-8b", "qwen3-8b"), ("qwen3-8b", "qwen2.5-3b"), ("qwen2.5-14b", "qwen3-8b"))
"""The pairs that the study preempts."""
DRAWING, WRITING, STARTING = 15.0, 10.0, 5.0  # seconds kept for the report, for the export, and to start a command
PROFILED = 0.3
"""Share of the time after the quick profiles that full ones take, if the study comes after them."""
BRIEF = 10.0  # seconds below which half of a full profile is not worth its start
MARGIN = 2 << 30  # bytes of disk that are left free


@dataclass(frozen=True)
class Run:
    """What every step needs to know. ``end`` is when all has to be over, by the monotonic clock."""

    report: Report
    out: Path
    device: str
    threads: int
    end: float
    judged: bool

    @property
    def left(self) -> float:
        """Seconds."""
        return self.end - monotonic()

    @property
    def store(self) -> Path:
        """The file of all measurements."""
        return self.out / "costs.sqlite"

    @property
    def study(self) -> Path:
        """The folder of the study's tables."""
        return self.out / "study"

    def hotbunk(self, *arguments: object, seconds: float, said: Path | None = None) -> None:
        """Have a command end in time, what it prints in a file: interrupted it keeps what it has measured."""
        command = [sys.executable, "-m", "hotbunk", *map(str, arguments)]
        wide = {**os.environ, "COLUMNS": "120"}
        self.report.say(f"$ {shlex.join(['hotbunk', *command[3:]])}")
        with (said or Path(os.devnull)).open("w") as out, subprocess.Popen(command, stdout=out, env=wide) as process:
            try:
                process.wait(max(0.0, seconds))
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGINT)
                _killed_after(process, DRAWING)
        if process.returncode:
            self.report.say(f"  ended with status {process.returncode}")


def main() -> int:
    """Do as much as there is time for."""
    arguments = _arguments()
    arguments.out.mkdir(parents=True, exist_ok=True)
    report = Report(arguments.out / "errors.txt")
    run = Run(
        report,
        arguments.out.absolute(),
        arguments.device,
        arguments.threads,
        monotonic() + arguments.seconds,
        arguments.scale == 1 and not arguments.device.startswith(("rpc:", "cpu")),
    )
    report.say(f"# python {shlex.join(sys.argv)}")
    shapes = {name: named(name).scaled(arguments.scale) for name in arguments.shapes.split(",")}
    with tempfile.TemporaryDirectory(prefix="hotbunk-costs-", dir=arguments.folder) as folder:
        files = _write(run, Path(folder), shapes)
        if arguments.only != "study":
            share = 1.0 if arguments.only else PROFILED
            for number, (name, path) in enumerate(files.items()):
                _profile(run, name, path, arguments, share, len(files) - number - 1)
        if arguments.only != "profile":
            _study(run, files)
    _export(run)
    report.title("done" if not report.failed else f"{report.failed} NOT OK")
    return int(report.failed > 0)


def _write(run: Run, folder: Path, shapes: dict[str, Shape]) -> dict[str, Path]:
    """All models that the disk holds at once, each by a process of its own."""
    free, files = shutil.disk_usage(folder).free - MARGIN, dict[str, Path]()
    for name, shape in shapes.items():
        if (needed := size(shape, shape.type)) > free:
            run.report.say(f"{name}: left out, its {needed / 1e9:.1f} GB do not fit the disk")
            continue
        free -= needed
        files[name] = folder / f"{name}.gguf"
        run.report.say(f"{name}: {needed / 1e9:.2f} GB, {shape.type}")
    with ProcessPoolExecutor(min(cores(), len(files) or 1), get_context("spawn")) as pool:
        list(pool.map(write, files.values(), [shapes[name] for name in files]))
    return files


# ---------------------------------------------------------------- profiles


def _profile(run: Run, name: str, path: Path, given: argparse.Namespace, share: float, others: int) -> None:
    """Quick, and then as long as is given, or as that share of what the ``others`` do not need allows."""
    quick = given.quick
    run.report.title(f"{name}: held-out errors, of each kind the mean of |expected / measured - 1| (points)")
    if run.left < quick:
        run.report.say("left out, no time for it")
        return
    _measure(run, path, quick, SHORT, FEW)
    count = len(_records(run, name)[1])
    spare = run.left - DRAWING - WRITING - others * (quick + STARTING)
    full = share * spare / (others + 1) if given.full is None else given.full
    for context, slots in LEGS:
        if full / 2 >= BRIEF and run.left > full / 2 + WRITING:
            _measure(run, path, full / 2 - STARTING, context, slots)
    rows = list(_errors(run, name, count, {PRIOR: 0.0, QUICK: quick, FULL: round(quick + full)}))
    for row in rows:
        _judge(run, row)
    Results(run.study).add("profile", rows)


def _measure(run: Run, path: Path, seconds: float, context: int, slots: int) -> None:
    options = ["--store", run.store, "--device", run.device, "--threads", run.threads]
    lengths = ["--context", context, "--slots", slots, "--time-budget", f"{seconds:.0f}s"]
    run.hotbunk("profile", path, *options, *lengths, seconds=run.left - WRITING)


def _records(run: Run, name: str) -> tuple[Costs | None, list[Record]]:
    """The roofline's costs of a model, and all that was measured of it in this run."""
    with Store(run.store) as store:
        for known in store.known():
            if known.name == name and (line := store.roofline(known.machine)):
                return Costs.prior(known.anatomy, line), store.records(known.machine, known.model)
    return None, []


def _errors(run: Run, name: str, count: int, seconds: dict[str, float]) -> Iterator[Row]:
    """For each way to know the costs, and each kind, how far off they are; the first ``count`` records were quick.

    A quick profile is judged by all that was held out within what it measures, later on, too.
    """
    prior, records = _records(run, name)
    if prior is None:
        return
    held = [record for record in records if record.check]
    near = [record for record in held if record.placement.context <= SHORT and record.sequences <= FEW]
    ways = {PRIOR: ([], held), QUICK: (records[:count], near), FULL: (records, held)}
    for how, (known, points) in islice(ways.items(), 2 if len(records) == count else 3):
        found = errors(Costs.fitted(prior.anatomy, prior.roofline, known), points)
        for kind in sorted(found, key=list(Kind).index):
            judged = {"kind": str(kind), "error": found[kind], "points": sum(point.kind is kind for point in points)}
            yield {"model": name, "how": how, "seconds": seconds[how], **judged}


def _judge(run: Run, row: Row) -> None:
    name, measured = f"{row['how']}, {row['kind']}", f"{row['error']:.1%} ({row['points']})"
    if row["kind"] not in JUDGED:
        run.report.row(name, measured)
        return
    limit = PROMISED[row["how"]][row["kind"] != Kind.DECODE]
    run.report.row(name, measured, f"<= {limit:.0%}", row["error"] <= limit if run.judged else None)


# ---------------------------------------------------------------- the study


def _study(run: Run, files: dict[str, Path]) -> None:
    run.report.title("the study")
    seconds = run.left - DRAWING - 2 * WRITING
    if seconds <= 0 or not files:
        run.report.say("left out, no time for it")
        return
    pairs = [word for pair in PAIRS if {*pair} <= {*files} for word in ("--pair", ",".join(pair))]
    where = ["--device", run.device, "--threads", run.threads, "--out", run.study, "--resume"]
    budget = ["--time-budget", f"{seconds:.0f}s"]
    run.hotbunk("study", "all", *files.values(), *where, *pairs, *budget, seconds=run.left - DRAWING - WRITING)
    for name in ("report.html", "summary.txt"):
        if (made := run.study / name).exists():
            shutil.copy(made, run.out / name)
    if (page := run.out / "report.html").exists():
        run.report.row("report.html", f"{page.stat().st_size / 1e6:.2f} MB", "< 2 MB", page.stat().st_size < 2e6)


def _export(run: Run) -> None:
    if run.store.exists():
        where = ["--store", run.store, "--export", run.out / "profile"]
        run.hotbunk("profile", *where, seconds=WRITING, said=run.out / "parameters.txt")


def _killed_after(process: subprocess.Popen[bytes], seconds: float) -> None:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--shapes", required=True, help="of hotbunk study make-model --list, with commas between")
    parser.add_argument("--scale", type=float, default=1.0, help="of the models' widths")
    parser.add_argument("--threads", type=int, default=max(1, cores() - 1), help="CPU threads")
    parser.add_argument("--seconds", type=float, required=True, help="for all of it")
    parser.add_argument("--quick", type=float, default=60.0, help="seconds of a quick profile, for each model")
    parser.add_argument("--full", type=float, help="seconds that a full one takes beyond that; default: what is left")
    parser.add_argument("--only", choices=("profile", "study"), help="one of the two parts")
    parser.add_argument("--folder", type=Path, help="where to write the models")
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    arguments = parser.parse_args()
    try:
        for name in arguments.shapes.split(","):
            named(name)
    except HotbunkError as error:
        parser.error(f"--shapes {error}")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
