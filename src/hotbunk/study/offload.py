"""Offloading: decode speed against residency, and why it falls as it does.

Method. One request at a time, greedy, after a prompt of 32 tokens, with nothing else on the device. Residency 0, 10,
..., 90, 92, 94, 96, 98 and 100 % of the layers, rounded, and 1 and 2 layers, which show what the output head does: it
is the first layer to move. Before anything is timed the model is moved, the host store is complete, and three tokens
are generated. Time per token is the median decode step of a run of up to 500 tokens, or of the shortest where all are
longer, as the worker times it: a mean over a run cut short would count its first steps, for which a GPU's graph is
planned. Outputs and latencies are timed where the tokens arrive, in the process that asked for them; decode counts from
the first token to the last, latency from the request. Time per token hardly depends on how many are asked for, so one
run up to the longest output gives the times of all shorter ones; where there is time, separate runs of the shorter
lengths check that. Repeats go over the whole grid again, so that slow drifts show in the spread. Where time is short,
runs end early and the lengths that were not reached are left out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from statistics import median
from time import monotonic, time

from hotbunk.study.pace import Clock, Point, Say, go
from hotbunk.study.results import Results, Row
from hotbunk.study.stage import Impossible, Run, Stage, Subject

__all__ = ["LENGTHS", "SHARES", "checked", "further", "ladder", "measure"]

SHARES = (*(n / 10 for n in range(10)), 0.92, 0.94, 0.96, 0.98, 1.0)
LENGTHS = (50, 150, 300, 500, 1000, 5000)
_PROMPT = 32
_LEAST = 8  # tokens of a run, however little time there is
_CHECKED = 300  # separate runs are made of lengths up to this one
_BEATS = 40  # of a run, at most


def ladder(layers: int, shares: Sequence[float] = SHARES) -> list[int]:
    """Numbers of layers for these residencies, most first, each once."""
    return sorted({round(share * layers) for share in shares}, reverse=True)


def measure(
    stage: Stage, model: str, results: Results, clock: Clock, say: Say, lengths: Sequence[int], repeats: int
) -> int:
    """Measure all that is not there yet; returns for how many points there was no time.

    Raises:
        Impossible: the model was trained for too few tokens, or there is no device to move layers to.
        EngineError: the worker failed.
        ConfigError: the results cannot be written.
    """
    if stage.cpu:
        raise Impossible("the CPU is the only device here, there is nothing to offload to it")
    stage.needs(model, _PROMPT + _LEAST)
    fitting = sorted({min(length, stage.trained[model] - _PROMPT) for length in lengths})
    grid = _Grid(stage, stage.subjects[model], fitting, results)
    left = go(list(grid.points(repeats)), results, clock, say)
    # what time is left is for checks, and once more for runs that were cut short
    return len(go([*grid.checks(), *left], results, clock, say))


class _Grid:
    """The points of one model."""

    def __init__(self, stage: Stage, subject: Subject, lengths: Sequence[int], results: Results) -> None:
        self._stage, self._subject, self._lengths, self._results = stage, subject, lengths, results
        self._all = subject.layers

    def points(self, repeats: int) -> Iterator[Point]:
        """All residencies, over and over."""
        layers = sorted({*ladder(self._all), 1, 2}, reverse=True)
        for repeat in range(repeats):
            yield from (self._point(count, repeat, self._lengths) for count in layers)

    def checks(self) -> Iterator[Point]:
        """Runs to one length alone."""
        for length in checked(self._lengths):
            yield from (self._point(count, 0, [length], alone=True) for count in ladder(self._all, (1.0, 0.9)))

    def _point(self, layers: int, repeat: int, lengths: Sequence[int], alone: bool = False) -> Point:
        share = layers / self._all
        how = f"{lengths[-1]} tokens alone" if alone else f"repeat {repeat + 1}"
        title = f"offload {self._subject.name}: {share:.0%} on the device, {how}"
        key: Row = {"model": self._subject.name, "layers": layers, "repeat": repeat, "alone": alone}
        if alone:
            key["asked"] = lengths[-1]
        rows = partial(self._measure, key, lengths)
        return Point("offload", title, key, rows, lambda rows: _outputs(rows) >= {*lengths})

    def _measure(self, key: Row, lengths: Sequence[int], seconds: float) -> Mapping[str, Sequence[Row]]:
        stage, model, layers, began = self._stage, self._subject.name, key["layers"], monotonic()
        place = stage.place(model, layers, _PROMPT + self._lengths[-1])
        loaded = stage.stand(model, place)
        known = _outputs(self._results.rows("offload", **key))
        longest = max({*lengths} - known)
        run = stage.run(model, _PROMPT, longest, seconds - (monotonic() - began), _LEAST)
        device, host = self._subject.read(layers)
        about: Row = {
            "lengths": ",".join(map(str, lengths)),
            "residency": layers / self._all,
            "device_read": device,
            "host_read": host,
            "device_bytes": place.device.total,
            "host_bytes": place.host.total,
            "moved": loaded.moved if loaded else 0,
            "move": loaded.seconds if loaded else 0.0,
        }
        watched = not key["alone"] and not key["repeat"] and not self._results.rows("memory", **key)
        rows = [{**about, **_row(run, each)} for each in further(len(run.arrivals), lengths, known)]
        return {"offload": rows, "memory": self._memory(run) if watched else []}

    def _memory(self, run: Run) -> list[Row]:
        beats = run.beats[:: max(1, len(run.beats) // _BEATS)] or [(time(), self._stage.wire.fresh())]
        total = self._stage.wire.hello.memory_total
        return [
            {
                "at": now,
                "device": beat.device,
                "used": total - beat.free if beat.free >= 0 else None,
                "rss": beat.rss,
                "stored": sum(there for there, _ in beat.stored.values()),
            }
            for now, beat in beats
        ]


def checked(lengths: Sequence[int]) -> list[int]:
    """Which of these lengths, in ascending order, get runs of their own."""
    return [length for length in lengths[:-1] if length <= _CHECKED]


def further(done: int, lengths: Sequence[int], known: Collection[int]) -> list[int]:
    """The outputs that a run of ``done`` tokens adds to those ``known``.

    The lengths that it reached; where it reached none, how far it came, if that is further than before.
    """
    if reached := [length for length in lengths if length <= done]:
        return [length for length in reached if length not in known]
    return [done] if done > max(known, default=0) else []


def _outputs(rows: Sequence[Row]) -> set[int]:
    return {row["output"] for row in rows}


def _row(run: Run, output: int) -> Row:
    """Times of the first so many tokens, in seconds."""
    return {
        "output": output,
        "prefill": run.prefill,
        "first": run.arrivals[0],
        "decode": run.seconds(output),
        "latency": run.arrivals[output - 1],
        "step": median(run.steps[: output - 1]),
    }
