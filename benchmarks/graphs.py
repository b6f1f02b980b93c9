"""Whether many sequences at once outlive CUDA graphs, with a model whose larger batches cuBLAS evaluates.

    python benchmarks/graphs.py --device CUDA0 --server llama-server --out FILE

Writes a model (``--shape``, random weights, of the shape's own type) and has its steps timed for up to ``--sequences``
at once, on a worker that records CUDA graphs and on one that does not; then it has that many prompts of some chunks
evaluated one after the other while those before them decode, over and over for ``--seconds``, or until the worker has
died. The same with as many requests at a time to llama-server, if there is one. Exit status 1 if it dies without CUDA
graphs.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep

from report import Report
from shaped import write_all

from hotbunk.cli.bench.rival import find, llama_server
from hotbunk.costs.record import Kind
from hotbunk.errors import EngineError, HotbunkError
from hotbunk.llama.gguf import read
from hotbunk.measure.probes import Probes
from hotbunk.measure.wire import Died, prompt, worker
from hotbunk.study.shapes import named
from hotbunk.worker.life import NO_GRAPHS

SHORT = 64
"""Tokens behind the steps that are timed: with prompts of one token nothing is evaluated between them."""
SPARE = 1.11
"""Tokens of context for each of those that a sequence has."""
LEAST, MORE = 60, 8
"""Tokens of the shortest answer that llama-server is asked for, and by how many the next is longer."""
APART = 0.13
"""Seconds between requests: about what their prompts take."""


def main() -> int:
    """Try with CUDA graphs and without."""
    given = _arguments()
    peer = find(given.server) if given.server else None
    report = Report(given.out)
    with tempfile.TemporaryDirectory(prefix="hotbunk-graphs-", dir=given.folder) as folder:
        file = Path(folder) / f"{given.shape}.gguf"
        write_all({file: named(given.shape).scaled(given.scale)})
        for graphs in (True, False):
            report.title(f"{given.shape}, {'with' if graphs else 'without'} CUDA graphs")
            _ours(report, given, file, graphs)
            if peer:
                _theirs(report, given, file, peer, graphs)
    return int(report.failed > 0)


def _ours(report: Report, given: argparse.Namespace, file: Path, graphs: bool) -> None:
    passes = 0
    try:
        # nothing is moved here, so there is nothing to pin for it
        with worker(given.device, given.threads, "--host-memory", "0", graphs=graphs) as wire:
            probes = Probes(wire, given.shape, read(file))
            probes.stand(probes.place(probes.layers, int(SPARE * given.tokens), given.sequences))
            for record in probes.decode(given.sequences, SHORT):
                if record.kind is Kind.DECODE:
                    report.row(f"a step, sequences: {record.sequences}", f"{1e3 * record.seconds:.2f} ms")
            end = monotonic() + given.seconds
            while monotonic() < end:
                probes.decode(given.sequences, given.tokens)
                passes += 1
    except Died as died:
        report.say(str(died))
        _judge(report, "hotbunk's worker", graphs, False, f"died in pass {passes + 1}")
    else:
        _judge(report, "hotbunk's worker", graphs, True, f"outlived {passes} passes")


def _theirs(report: Report, given: argparse.Namespace, file: Path, peer: Path, graphs: bool) -> None:
    rounds, options = 0, ["-m", str(file), "-ngl", "99", "-fa", "on"]
    context = int(SPARE * given.tokens)

    def ask(number: int) -> None:
        sleep(number * APART)
        # room for the longest answer
        tokens = prompt(context - LEAST - MORE * given.sequences, number)
        answer = {"n_predict": LEAST + MORE * number, "ignore_eos": True, "cache_prompt": False, "temperature": 0}
        server.post("/completion", {"prompt": tokens, **answer})

    with (
        _surroundings(graphs),
        llama_server(peer, context, given.sequences, given.threads, *options) as server,
        ThreadPoolExecutor(given.sequences) as pool,
    ):
        end = monotonic() + given.seconds
        try:
            while monotonic() < end:
                list(pool.map(ask, range(given.sequences)))
                rounds += 1
        except EngineError as error:
            report.say(str(error))
            _judge(report, "llama-server", graphs, False, f"died in round {rounds + 1}")
        else:
            _judge(report, "llama-server", graphs, True, f"outlived {rounds} rounds")


def _judge(report: Report, who: str, graphs: bool, lives: bool, how: str) -> None:
    """Without CUDA graphs it has to live."""
    report.row(who, how, ok=None if graphs else lives)


@contextmanager
def _surroundings(graphs: bool) -> Iterator[None]:
    """What is started meanwhile records CUDA graphs, or none."""
    if not graphs:
        os.environ[NO_GRAPHS] = "1"
    try:
        yield
    finally:
        os.environ.pop(NO_GRAPHS, None)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, help="CPU threads")
    parser.add_argument("--shape", default="qwen3-8b", help="a name of study make-model --list")
    parser.add_argument("--scale", type=float, default=1.0, help="of the model's widths")
    parser.add_argument("--sequences", type=int, default=32, help="at once")
    parser.add_argument("--tokens", type=int, default=1843, help="of each, at most")
    parser.add_argument("--seconds", type=float, default=45.0, help="for each try")
    parser.add_argument("--server", help="llama-server[=PATH]: try that, too")
    parser.add_argument("--folder", type=Path, help="where to write the model")
    parser.add_argument("--out", type=Path, help="a file for what is found")
    arguments = parser.parse_args()
    if NO_GRAPHS in os.environ:
        parser.error(f"{NO_GRAPHS} is set, so there would be no CUDA graphs at all; unset it")
    return arguments


if __name__ == "__main__":
    try:
        sys.exit(main())
    except HotbunkError as error:
        sys.exit(f"graphs.py: {error}")
