"""Prove on a device what hotbunk promises of moves, speed and exactness, with models of real size.

    python benchmarks/suite.py --device CUDA0 --llama-server PATH --llama-bench PATH --out FILE
    python benchmarks/suite.py --device rpc:127.0.0.1:PORT --scale 0.1        # without a GPU: correctness alone

Writes its models (32 GB in F16 and Q4_K_M, random weights) to a temporary folder, then goes through the points, each
in worker or server processes of its own, and writes every result as it comes. Exit status 1 if anything is not as
promised. Speeds are promised for a GPU and models of full size; with ``--scale`` they are only printed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import exact
import moving
import serving
import speed
from report import Report, Run
from shaped import write_all

from hotbunk.cli.bench.rival import find
from hotbunk.study.shapes import SHAPES
from hotbunk.worker.machine import cores

_EIGHT = replace(SHAPES["qwen3-8b"], architecture="llama")
MODELS = {
    "8b": _EIGHT,
    "3b": replace(SHAPES["qwen2.5-3b"], architecture="llama", tied=False),
    "8b-q4": replace(_EIGHT, type="Q4_K_M"),
    "1b": SHAPES["1b"],
    "half": SHAPES["half"],
}
"""The models of the suite, all of them Llamas with a head of their own: 16.4, 6.8, 5.0, 3.0 and 1.3 GB."""

POINTS: dict[str, Callable[[Run], None]] = {
    "1": moving.moves,
    "3": serving.first_token,
    "5": speed.decode,
    "6": speed.prefill,
    "7": moving.soak,
    "8": exact.preempted,
    "8b": exact.batches,
    "foreign": serving.foreign,
}
"""Points 2 and 4 come with 1: one measurement shows all three."""
ALIASES = {"2": "1", "4": "1"}


def main() -> int:
    """Run the points asked for."""
    arguments = _arguments()
    report = Report(arguments.out)
    points = dict.fromkeys(ALIASES.get(point, point) for point in arguments.only.split(","))
    with tempfile.TemporaryDirectory(prefix="hotbunk-suite-", dir=arguments.folder) as name:
        files = _write(Path(name), arguments.scale)
        for model, path in files.items():
            report.say(f"{model}: {path.stat().st_size / 1e9:.2f} GB, {MODELS[model].type}")
        run = Run(
            report=report,
            device=arguments.device,
            files=files,
            layers=MODELS["8b"].blocks + 1,
            threads=arguments.threads,
            judged=arguments.scale == 1 and not arguments.device.startswith(("rpc:", "cpu")),
            server=arguments.llama_server,
            bench=arguments.llama_bench,
        )
        for point in points:
            _try(run, point)
    report.title("done" if not report.failed else f"{report.failed} NOT OK")
    return int(report.failed > 0)


def _try(run: Run, point: str) -> None:
    """A point that breaks is reported, and the others go on."""
    try:
        POINTS[point](run)
    except Exception as error:
        run.report.row(f"point {point}", f"{type(error).__name__}: {error}", "", False)
        traceback.print_exc()


def _write(folder: Path, scale: float) -> dict[str, Path]:
    files = {name: folder / f"{name}.gguf" for name in MODELS}
    write_all({path: MODELS[name].scaled(scale) for name, path in files.items()})
    return files


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--scale", type=float, default=1.0, help="of the models' widths")
    parser.add_argument("--threads", type=int, default=max(1, cores() - 1), help="CPU threads, on all sides")
    parser.add_argument("--only", default=",".join(POINTS), help="points to prove, such as 1,3,foreign")
    parser.add_argument("--folder", type=Path, help="where to write the models, 32 GB")
    parser.add_argument("--llama-server", type=lambda path: find(f"llama-server={path}"), help="the peer")
    parser.add_argument("--llama-bench", type=lambda path: Path(path).absolute(), help="the other peer")
    parser.add_argument("--out", type=Path, help="file to append the results to")
    arguments = parser.parse_args()
    if unknown := set(arguments.only.split(",")) - {*POINTS, *ALIASES}:
        parser.error(f"--only {','.join(sorted(unknown))}: the points are {', '.join([*POINTS, *ALIASES])}")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
