r"""Profile models of real shapes on a device, judge the cost models by what was held out, and redo the study there.

    python benchmarks/costs.py --device CUDA0 --only profile --shapes qwen3-8b,llama3-8b --seconds 345 --out OUT
    python benchmarks/costs.py --device CUDA0 --only study --seconds 1800 --out OUT \
        --shapes qwen2.5-3b,qwen3-8b,qwen2.5-14b llama3-8b,qwen3-32b,qwen3-30b-a3b llama2-70b
    python benchmarks/costs.py --device rpc:127.0.0.1:PORT --shapes 1b,half --scale 0.1 --seconds 120 --out OUT

Writes models (random weights) to a temporary folder, profiles each (``--quick`` seconds, then more), spends the rest of
the time on ``hotbunk study all``, and deletes them before the next group of shapes: a group has to fit the disk at
once. Groups get time in proportion to their bytes. Ends within ``--seconds``, with whatever is done by then, in
``--out``: ``errors.txt`` (held-out errors beside what is promised), ``costs.sqlite``, ``profile/`` and ``records.csv``
(all measurements), ``parameters.txt`` (what was fitted), ``study/`` (its tables), ``report.html`` and
``summary.txt``. Exit status 1 if anything is not as promised; promises are for a GPU and models of full size, elsewhere
errors are only printed.

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
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic

from judged import FEW, FULL, PRIOR, QUICK, SHORT, judge
from records import Measured
from records import write as write_records
from report import Report
from shaped import write_all

from hotbunk.costs.model import Costs
from hotbunk.costs.record import Record
from hotbunk.costs.store import Store
from hotbunk.errors import HotbunkError
from hotbunk.study.results import Results
from hotbunk.study.shapes import Shape, named
from hotbunk.study.write import size
from hotbunk.worker.machine import cores

LEGS = ((32768, 2), (2048, 32))
"""Longest context and most sequences of the two halves of a full profile: both at once would fit no memory."""
PAIRS = (("qwen2.5-3b", "qwen3-8b"), ("qwen3-8b", "qwen3-8b"), ("qwen3-8b", "qwen2.5-3b"), ("qwen2.5-14b", "qwen3-8b"))
"""The pairs that the study preempts."""
EXPERIMENTS = ("all", "offload", "preemption", "context", "concurrency")
PAIRED = ("all", "preemption")
DRAWING, WRITING, STARTING = 10.0, 10.0, 5.0  # seconds kept for the report, for the export, and to start a command
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

    def part(self, seconds: float) -> Run:
        """The same, with so much of the time."""
        return replace(self, end=monotonic() + seconds)

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
    groups = [{name: named(name).scaled(arguments.scale) for name in group.split(",")} for group in arguments.shapes]
    weights = [sum(size(shape, shape.type) for shape in group.values()) for group in groups]
    for number, group in enumerate(groups):
        spare = run.left - WRITING
        _measured(run.part(spare * weights[number] / sum(weights[number:])), group, arguments)
    _export(run)
    report.title("done" if not report.failed else f"{report.failed} NOT OK")
    return int(report.failed > 0)


def _measured(run: Run, shapes: dict[str, Shape], arguments: argparse.Namespace) -> None:
    """All that is asked for, of a group of models."""
    with tempfile.TemporaryDirectory(prefix="hotbunk-costs-", dir=arguments.folder) as folder:
        files = _write(run, Path(folder), shapes)
        if arguments.only != "study":
            share = 1.0 if arguments.only else PROFILED
            for number, (name, path) in enumerate(files.items()):
                _profile(run, name, path, arguments, share, len(files) - number - 1)
        if arguments.only != "profile":
            _study(run, files, arguments)


def _write(run: Run, folder: Path, shapes: dict[str, Shape]) -> dict[str, Path]:
    """All models that the disk holds at once."""
    free, files = shutil.disk_usage(folder).free - MARGIN, dict[str, Path]()
    for name, shape in shapes.items():
        if (needed := size(shape, shape.type)) > free:
            run.report.say(f"{name}: left out, its {needed / 1e9:.1f} GB do not fit the disk")
            continue
        free -= needed
        files[name] = folder / f"{name}.gguf"
        run.report.say(f"{name}: {needed / 1e9:.2f} GB, {shape.type}")
    write_all({path: shapes[name] for name, path in files.items()})
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
    line, records = _records(run, name)
    if line:
        rows = judge(run.report, Measured(line.anatomy, records, count), line.roofline, run.judged)
        seconds = {PRIOR: 0.0, QUICK: quick, FULL: round(quick + full)}
        Results(run.study).add("profile", [{"model": name, "seconds": seconds[str(row["how"])], **row} for row in rows])


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


# ---------------------------------------------------------------- the study


def _study(run: Run, files: dict[str, Path], arguments: argparse.Namespace) -> None:
    run.report.title("the study")
    seconds = run.left - DRAWING - STARTING
    if seconds <= 0 or not files:
        run.report.say("left out, no time for it")
        return
    pairs = [",".join(pair) for pair in PAIRS if {*pair} <= {*files} and not arguments.unpaired] or ["none"]
    where = ["--device", run.device, "--threads", run.threads, "--out", run.study, "--resume"]
    where += ["--quick"] if arguments.thin else []
    where += [word for pair in pairs for word in ("--pair", pair)] if arguments.experiment in PAIRED else []
    budget = ["--time-budget", f"{seconds:.0f}s"]
    run.hotbunk("study", arguments.experiment, *files.values(), *where, *budget, seconds=run.left - DRAWING)
    for name in ("report.html", "summary.txt"):
        if (made := run.study / name).exists():
            shutil.copy(made, run.out / name)
    if (page := run.out / "report.html").exists():
        run.report.row("report.html", f"{page.stat().st_size / 1e6:.2f} MB", "< 2 MB", page.stat().st_size < 2e6)


def _export(run: Run) -> None:
    if run.store.exists():
        counts = {str(row["model"]): int(row["records"]) for row in Results(run.study).rows("profile", how=QUICK)}
        with Store(run.store) as store:
            write_records(run.out / "records.csv", store, counts, f"python {shlex.join(sys.argv)}")
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
    parser.add_argument("--shapes", required=True, nargs="+", help="groups of names, of study make-model --list")
    parser.add_argument("--scale", type=float, default=1.0, help="of the models' widths")
    parser.add_argument("--threads", type=int, default=max(1, cores() - 1), help="CPU threads")
    parser.add_argument("--seconds", type=float, required=True, help="for all of it")
    parser.add_argument("--quick", type=float, default=60.0, help="seconds of a quick profile, for each model")
    parser.add_argument("--full", type=float, help="seconds that a full one takes beyond that; default: what is left")
    parser.add_argument("--only", choices=("profile", "study"), help="one of the two parts")
    parser.add_argument("--experiment", default="all", choices=EXPERIMENTS)
    parser.add_argument("--unpaired", action="store_true", help="all of the study but preemptions")
    parser.add_argument("--thin", action="store_true", help="fewer points of each of the study's experiments")
    parser.add_argument("--folder", type=Path, help="where to write the models")
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    arguments = parser.parse_args()
    try:
        for group in arguments.shapes:
            for name in group.split(","):
                named(name)
    except HotbunkError as error:
        parser.error(f"--shapes {error}")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
