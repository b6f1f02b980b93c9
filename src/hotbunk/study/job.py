"""A job that is preempted: one sequence of model A, which makes way for model B again and again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import inf
from statistics import median
from time import monotonic, perf_counter
from typing import Any

from hotbunk.errors import OutOfMemory
from hotbunk.measure.wire import Outrun
from hotbunk.study.results import Row
from hotbunk.study.stage import Stage
from hotbunk.worker.protocol import Load, Loaded, Report, Resume, Resumed, Suspend, Suspended, Unload, Unloaded

__all__ = ["PROMPT", "STEPS", "Job"]

STEPS = ("kv_out", "unload", "load_other", "unload_other", "load", "kv_in", "between")
"""What the overhead consists of, in order."""
PROMPT = 16
"""Tokens that A and B begin with."""
_FIRST = 4  # steps after which the speed is known well enough to plan with
_ROOM = 8  # tokens that may be generated between two looks
_END = 1 << 30  # more tokens than any context has


class Job:
    """A's sequence, while it lives. ``begin`` before all else, ``end`` at last."""

    def __init__(self, stage: Stage, model: str, other: str, context: int) -> None:
        """Both get contexts of so many tokens, or what they were trained for."""
        self.stage, self.model, self.other = stage, model, other
        layers = {name: stage.subjects[name].layers for name in (model, other)}
        self._places = {name: stage.place(name, count, context) for name, count in layers.items()}
        self._room = self._places[model].context
        self._sequence = 0
        self._prompt = 0

    @property
    def alive(self) -> bool:
        """Whether there is a sequence, with room for more tokens."""
        return self._sequence > 0 and self._sequence not in self.stage.wire.ended

    @property
    def position(self) -> int:
        """Tokens of the sequence so far."""
        return self._prompt + len(self.stage.wire.produced.get(self._sequence, ()))

    def begin(self) -> None:
        """Let B have the device once, then A.

        Raises:
            OutOfMemory: one of them does not fit.
        """
        for name in (self.other, self.model):
            self.stage.stand(name, self._places[name])
            if name != self.model:
                self.stage.leave(name)

    def start(self, tokens: int) -> None:
        """A new sequence with a prompt of so many tokens, or of as many as leave it room."""
        self._cancel()
        self.stage.stand(self.model, self._places[self.model])
        self._prompt = max(1, min(tokens, self._room - _ROOM))
        self._sequence = self.stage.wire.start(self.model, self.stage.prompt(self.model, self._prompt), _END)
        self.stage.wire.tokens(self._sequence, 1)

    def reach(self, tokens: int, seconds: float = inf) -> None:
        """Go on until there are so many tokens; with a new sequence if it is past them, or that is too slow."""
        if not self.alive or self.position > tokens:
            self.start(min(tokens, PROMPT))
        began = perf_counter()
        self.stage.wire.tokens(self._sequence, _FIRST)
        step = (perf_counter() - began) / _FIRST
        if (tokens - self.position) * step > seconds:
            self.start(tokens)
        elif tokens > self.position:
            self.stage.wire.tokens(self._sequence, tokens - self.position)

    def preempt(self, after: int, answer: int, brief: int, limit: float = inf) -> Row:
        """Generate ``after`` tokens, then make way for B's ``answer``; seconds and bytes of all that.

        The answer ends after ``brief`` tokens at the earliest if the clock passes ``limit``.

        Raises:
            OutOfMemory: B, or A on its way back, does not fit; nothing is then on the device.
            Outrun: A filled its context before it could be suspended; likewise.
        """
        if self.position + after + _ROOM > self._room:
            self.start(self.position - after - 2 * _ROOM)
        stage, wire = self.stage, self.stage.wire
        steps, _ = stage.steps({self._sequence}, after)
        try:
            gone, away = wire.move(Suspend(self._sequence), Unload(self.model), self._load(self.other))
            run = stage.run(self.other, PROMPT, answer, limit - monotonic(), brief)
            there, back = wire.move(Unload(self.other), self._load(self.model), Resume(self._sequence))
        except (OutOfMemory, Outrun):
            self._give_up()
            raise
        behind, began = self.position, perf_counter()
        wire.tokens(self._sequence, 1)
        row = self._row([*away, *back], gone + there)
        told = {"run_tokens": len(run.arrivals), "run": run.arrivals[-1], "next": perf_counter() - began}
        return {**row, **told, "behind": behind, "step": median(steps)}

    def end(self) -> None:
        """End the sequence, and take A off the device."""
        self._cancel()
        self.stage.leave(self.model)

    def _load(self, name: str) -> Load:
        return Load(name, self._places[name])

    def _row(self, reports: Iterable[Report], whole: float) -> Row:
        row: Row = dict.fromkeys(STEPS, 0.0)
        for report in reports:
            row |= self._told(report)
        row["between"] = max(0.0, whole - sum(row[step] for step in STEPS))
        return {**row, "overhead": whole}

    def _told(self, report: Report) -> Mapping[str, Any]:
        match report:
            case Suspended():
                return {"kv_out": report.seconds, "kv_bytes": report.size, "tier": report.tier}
            case Resumed():
                return {"kv_in": report.seconds}
            case Unloaded(model):
                return {"unload" if model == self.model else "unload_other": report.seconds}
            case Loaded(model):
                suffix = "" if model == self.model else "_other"
                moved = {f"load{suffix}": report.seconds, f"moved{suffix}": report.moved}
                return {**moved, f"context{suffix}": report.steps.get("context", 0.0), "pinned": report.pinned}
        return {}

    def _give_up(self) -> None:
        for name in (self.model, self.other):
            self.stage.wire.move(Unload(name))
            self.stage.forget(name)
        self._cancel()

    def _cancel(self) -> None:
        if self._sequence:
            self.stage.wire.cancel(self._sequence)
            self._sequence = 0
