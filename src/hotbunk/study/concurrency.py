"""Concurrency: what a decode step takes for several sequences at once, at several residencies.

Method. Sequences are started one after the other with prompts of 300 tokens, and go on together; at each of some
numbers of them, 16 decode steps in which all took part are timed by the worker, after one that is left out; where time
is short, as many as there is time for, but at least three. With up to 32 sequences all contexts stay between 300 and
512 tokens, which libllama computes alike; more of them, which begin while the first goes on, take longer ones. Total
speed is what arrives in this process: tokens of all sequences a second. Each repeat starts all sequences anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from time import monotonic

from hotbunk.study.offload import ladder
from hotbunk.study.pace import Clock, Point, Say, go
from hotbunk.study.results import Results, Row
from hotbunk.study.stage import Stage, quartiles

__all__ = ["COUNTS", "SHARES", "measure"]

COUNTS = (1, 2, 4, 8, 16, 32)
SHARES = (1.0, 0.9, 0.75, 0.5, 0.25, 0.0)
_CONTEXT = 512  # tokens, unless there are so many sequences that the first fills it before the last has begun
_PROMPT = 300
_STEPS = 16
_SPARE = 12  # steps that a worker may be ahead of this process, for each number of sequences


def measure(
    stage: Stage,
    model: str,
    results: Results,
    clock: Clock,
    say: Say,
    counts: Sequence[int] = COUNTS,
    shares: Sequence[float] = SHARES,
    repeats: int = 3,
) -> int:
    """Measure all that is not there yet; returns for how many points there was no time.

    Raises:
        Impossible: the model was trained for too few tokens.
        EngineError: the worker failed.
        ConfigError: the results cannot be written.
    """
    stage.needs(model, _context(counts))
    return len(go(list(_points(stage, model, results, counts, shares, repeats)), results, clock, say))


def _points(
    stage: Stage, model: str, results: Results, counts: Sequence[int], shares: Sequence[float], repeats: int
) -> Iterator[Point]:
    layers = stage.subjects[model].layers
    for repeat in range(repeats):
        for placed in ladder(layers, shares):
            title = f"concurrency {model}: {placed / layers:.0%} on the device, repeat {repeat + 1}"
            key: Row = {"model": model, "layers": placed, "repeat": repeat}
            missing = [count for count in counts if not results.rows("concurrency", **key, sequences=count)]
            rows = partial(_measure, stage, model, placed, missing, _context(counts), max(counts))
            yield Point("concurrency", title, key, rows, lambda rows: {row["sequences"] for row in rows} >= {*counts})


def _context(counts: Sequence[int]) -> int:
    """Tokens of context for so many sequences: the first has a step for each that begins, and all that are timed."""
    return max(_CONTEXT, _PROMPT + max(counts) + (1 + _STEPS + _SPARE) * len(counts))


def _measure(
    stage: Stage, model: str, layers: int, counts: Sequence[int], context: int, slots: int, seconds: float
) -> dict[str, list[Row]]:
    limit, wire = monotonic() + seconds, stage.wire
    stage.stand(model, stage.place(model, layers, context, slots))
    alive: set[int] = set()
    rows = []
    try:
        for number, count in enumerate(counts):
            while len(alive) < count:
                alive.add(wire.start(model, stage.prompt(model, _PROMPT, len(alive)), context))
            share = (limit - monotonic()) / (len(counts) - number)
            rows.append(_row(stage, model, layers, alive, share))
    finally:
        for sequence in alive:
            wire.cancel(sequence)
    return {"concurrency": rows}


def _row(stage: Stage, model: str, layers: int, alive: set[int], seconds: float) -> Row:
    subject, count = stage.subjects[model], len(alive)
    steps, apart = stage.steps(alive, _STEPS, seconds)
    low, middle, high = quartiles(steps)
    device, host = subject.read(layers, count)
    return {
        "sequences": count,
        "residency": layers / subject.layers,
        "step": middle,
        "low": low,
        "high": high,
        "steps": len(steps),
        "speed": count / apart,
        "device_read": device,
        "host_read": host,
    }
