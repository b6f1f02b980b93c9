"""Context: what a decode step and a move of the KV cache take against the length of the sequence.

Method. One sequence at a time, prefilled to a few tokens less than the length; then 16 decode steps are timed by the
worker after one that is left out, and the sequence is suspended and resumed three times, which are the repeats of the
moves. The model's context is as long as the longest sequence. Prefill is timed along the way. Repeats of the rest go
over all lengths again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import product

from hotbunk.study.offload import ladder
from hotbunk.study.pace import Clock, Point, Say, go
from hotbunk.study.results import Results, Row
from hotbunk.study.stage import Stage, quartiles
from hotbunk.worker.protocol import Produced, Resume, Resumed, Suspend, Suspended

__all__ = ["LENGTHS", "SHARES", "measure"]

LENGTHS = (256, 512, 1024, 2048, 4096, 8192, 16384, 32768)
SHARES = (1.0, 0.5)
_STEPS = 16
_MOVES = 3
_LONG = 3  # times its share of the time that a point may take
_TRIAL = 512  # tokens that are prefilled to see how long many will take, where nothing tells of it yet
_ROOM = _STEPS + 8 * (_MOVES + 1)  # tokens that are generated at a length, and to spare


def measure(
    stage: Stage,
    model: str,
    results: Results,
    clock: Clock,
    say: Say,
    lengths: Sequence[int] = LENGTHS,
    shares: Sequence[float] = SHARES,
    repeats: int = 3,
) -> int:
    """Measure all that is not there yet; returns for how many points there was no time.

    Raises:
        Impossible: the model was trained for too few tokens.
        EngineError: the worker failed.
        ConfigError: the results cannot be written.
    """
    stage.needs(model, _ROOM + 1)
    fitting = sorted({min(length, stage.trained[model]) for length in lengths if length > _ROOM})
    return len(go(list(_Lengths(stage, model, fitting).points(shares, repeats)), results, clock, say))


class _Lengths:
    """The points of one model."""

    def __init__(self, stage: Stage, model: str, lengths: Sequence[int]) -> None:
        self._stage, self._subject, self._lengths = stage, stage.subjects[model], lengths
        self._speeds: dict[int, float] = {}  # tokens a second of the last prefill, by layers

    def points(self, shares: Sequence[float], repeats: int) -> Iterator[Point]:
        """All lengths at these residencies, over and over."""
        name, layers = self._subject.name, self._subject.layers
        for repeat in range(repeats):
            for placed, tokens in product(ladder(layers, shares), self._lengths):
                title = f"context {name}: {tokens} tokens, {placed / layers:.0%} on the device, repeat {repeat + 1}"
                key: Row = {"model": name, "layers": placed, "tokens": tokens, "repeat": repeat}
                yield Point("context", title, key, partial(self._measure, placed, tokens))

    def _measure(self, layers: int, tokens: int, seconds: float) -> dict[str, list[Row]]:
        stage, name = self._stage, self._subject.name
        place = stage.place(name, layers, self._lengths[-1])
        if layers not in self._speeds and tokens > _LONG * _TRIAL:
            stage.stand(name, place)
            self._speeds[layers] = _TRIAL / stage.run(name, _TRIAL, 2).prefill
        if layers in self._speeds and tokens / self._speeds[layers] > _LONG * seconds:
            return {}
        stage.stand(name, place)
        sequence = stage.wire.start(name, stage.prompt(name, tokens - _ROOM), tokens)
        try:
            first = stage.wire.until(Produced)
            low, middle, high = quartiles(stage.steps({sequence}, _STEPS)[0])
            moves = [_to_and_fro(stage, sequence) for _ in range(_MOVES)]
        finally:
            stage.wire.cancel(sequence)
        self._speeds[layers] = first.prefilled / first.seconds
        device, host = self._subject.read(layers)
        about: Row = {
            "residency": layers / self._subject.layers,
            "prefilled": first.prefilled,
            "prefill": first.seconds,
            "step": middle,
            "low": low,
            "high": high,
            "device_read": device,
            "host_read": host,
            "on_device": place.device.kv / max(1, place.device.kv + place.host.kv),
        }
        return {"context": [{**about, **row, "move": number} for number, row in enumerate(moves)]}


def _to_and_fro(stage: Stage, sequence: int) -> Row:
    _, (out, back) = stage.wire.move(Suspend(sequence), Resume(sequence))
    assert isinstance(out, Suspended)
    assert isinstance(back, Resumed)
    stage.wire.tokens(sequence, 1)  # the next move starts from a sequence that runs
    return {"kv_bytes": out.size, "kv_out": out.seconds, "kv_in": back.seconds, "tier": out.tier}
