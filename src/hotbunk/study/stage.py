"""A worker with models open on it, and what experiments do with one: place, generate, watch its memory.

Seconds of a step are the worker's own, from the start of the evaluation to the end of its computing; arrivals are when
a token's report reaches this process, so what lies between two of them is all that a client would wait.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from math import inf
from pathlib import Path
from statistics import median
from time import monotonic, perf_counter, time

from hotbunk.costs.anatomy import Anatomy, Share
from hotbunk.costs.dissect import dissect
from hotbunk.costs.fingerprint import content
from hotbunk.costs.steps import PAD
from hotbunk.errors import EngineError, UnusableModel
from hotbunk.llama.gguf import Gguf, read
from hotbunk.measure.wire import Wire, prompt, worker
from hotbunk.placement import Placement
from hotbunk.study.results import Row
from hotbunk.worker.protocol import Beat, Load, Loaded, Open, Opened, Produced, Resize, Unload

__all__ = ["Impossible", "Run", "Stage", "Subject", "quartiles", "stage"]

WARM = 3
"""Tokens generated after a move before anything is timed: libllama plans its graphs at the first."""


@dataclass(frozen=True)
class Subject:
    """A model of the study, by its file's metadata alone."""

    name: str
    path: Path
    gguf: Gguf

    @cached_property
    def anatomy(self) -> Anatomy:
        """What it reads for a token."""
        return dissect(self.gguf, self.name)

    @property
    def layers(self) -> int:
        """Its blocks and the head."""
        return self.gguf.blocks + 1

    @property
    def row(self) -> Row:
        """What is noted of it: sizes in bytes; ``head`` counts as read for each token; ``content`` tells files apart.

        Raises:
            UnusableModel: the file cannot be read any more.
        """
        try:
            mark = content(self.gguf.files)
        except OSError as error:
            raise UnusableModel(f"{self.path}: cannot be read: {error.strerror}") from error
        return {
            "model": self.name,
            "type": self.gguf.quantisation,
            "architecture": self.gguf.architecture,
            "layers": self.layers,
            "weights": self.gguf.weights,
            "read": sum(self.read(self.layers)),
            "head": sum(self.anatomy.layers[-1].dense.values()),
            "kv_token": self.gguf.kv_bytes(1000) // 1000,
            "experts": self.gguf.experts,
            "context": self.gguf.context,
            "content": mark,
        }

    def read(self, layers: int, sequences: int = 1) -> tuple[float, float]:
        """Bytes of weights that a step reads on the device and on the host, with so many layers on the device."""
        spread = self.anatomy.spread(sequences)
        device, host = self.anatomy.shares(Placement(layers, 0, 0))
        return _bytes(device, spread), _bytes(host, spread)

    @staticmethod
    def of(path: Path, name: str | None = None) -> Subject:
        """Read a file's metadata.

        Raises:
            UnusableModel: it is missing or corrupt.
        """
        return Subject(name or path.stem, path, read(path))


@dataclass
class Run:
    """One generation, as it arrived. Times are seconds since it was sent.

    Attributes:
        prefill: seconds of evaluating its prompt.
        arrivals: when each token came.
        steps: seconds of each decode step, one fewer than tokens.
        beats: the worker's signs of life meanwhile, by the clock on the wall.
    """

    prefill: float = 0.0
    arrivals: list[float] = field(default_factory=list)
    steps: list[float] = field(default_factory=list)
    beats: list[tuple[float, Beat]] = field(default_factory=list)

    def seconds(self, tokens: int) -> float:
        """From the first token to that one."""
        return self.arrivals[tokens - 1] - self.arrivals[0]


class Impossible(EngineError):
    """An experiment that cannot be made with this model, or on this device."""


class Stage:
    """Models opened on one worker, under the names of their subjects."""

    def __init__(self, wire: Wire, subjects: Mapping[str, Subject]) -> None:
        """Open the models.

        Raises:
            EngineError: one of them cannot be opened.
        """
        self.wire, self.subjects = wire, dict(subjects)
        self.trained = {name: wire.ask(Open(name, str(each.path)), Opened).context for name, each in subjects.items()}
        self._standing: dict[str, Placement] = {}

    @property
    def cpu(self) -> bool:
        """Whether there is no device but the CPU."""
        return self.wire.hello.device == "CPU"

    def needs(self, model: str, context: int) -> None:
        """See to it that a model was trained for so many tokens.

        Raises:
            Impossible: it was not.
        """
        if self.trained[model] < context:
            raise Impossible(f"{model} was trained for {self.trained[model]} tokens, and this takes {context}")

    def place(self, model: str, layers: int, context: int, slots: int = 1) -> Placement:
        """A placement, priced; ``context`` is rounded up as libllama does."""
        return self.wire.predict(model, min(-(-context // PAD) * PAD, self.trained[model]), slots, layers)

    def stand(self, model: str, placement: Placement) -> Loaded | None:
        """Have a model stand so; None if it does already. A few tokens are generated before it returns.

        Raises:
            OutOfMemory: the device has no room for it; nothing of the model is then on it.
        """
        before = self._standing.pop(model, None)
        if before == placement:
            self._standing[model] = placement
            return None
        loaded = self.wire.ask((Resize if before else Load)(model, placement), Loaded)
        self._standing[model] = placement
        self.run(model, 16, WARM)
        return loaded

    def leave(self, model: str) -> None:
        """Have nothing of a model on the device."""
        if self._standing.pop(model, None):
            self.wire.move(Unload(model))

    def forget(self, model: str) -> None:
        """The model was loaded or unloaded by other means, and does not stand now."""
        self._standing.pop(model, None)

    def prompt(self, model: str, tokens: int, seed: int = 0) -> list[int]:
        """Random tokens of a model."""
        return prompt(tokens, seed, self.subjects[model].gguf.vocabulary)

    def run(self, model: str, prefix: int, tokens: int, seconds: float = inf, least: int = 2) -> Run:
        """Generate up to so many tokens after a prompt of ``prefix``, for ``seconds`` but at least ``least`` tokens.

        Raises:
            EngineError: it ended early.
        """
        wire, made, began = self.wire, Run(), perf_counter()
        sequence = wire.start(model, self.prompt(model, prefix), tokens)
        while len(made.arrivals) < tokens:
            report, now = wire.receive(), perf_counter() - began
            if isinstance(report, Beat):
                made.beats.append((time(), report))
            elif isinstance(report, Produced):
                made.arrivals.append(now)
                if report.prefilled:
                    made.prefill = report.seconds
                else:
                    made.steps.append(report.seconds)
                if now > seconds and len(made.arrivals) >= least:
                    break
            elif sequence in wire.ended and len(made.arrivals) < tokens:
                raise EngineError(f"{model}: the run ended after {len(made.arrivals)} tokens of {tokens}")
        wire.cancel(sequence)
        return made

    def steps(self, sequences: set[int], count: int, seconds: float = inf, least: int = 3) -> tuple[list[float], float]:
        """Decode steps in which all these sequences take part, after one to warm up: the worker's seconds of each.

        Also seconds from one step to the next as they arrive, on average. Ends after ``count``, or ``seconds``.

        Raises:
            Outrun: one of them filled its context.
        """
        wire, steps, arrivals = self.wire, list[float](), list[float]()
        limit = monotonic() + seconds
        while len(steps) < count + 1 and (len(steps) < least + 1 or monotonic() < limit):
            report = wire.receive()
            if isinstance(report, Produced) and _all_decode(report, sequences):
                steps.append(report.seconds)
                arrivals.append(perf_counter())
            else:
                wire.going(sequences)
        return steps[1:], (arrivals[-1] - arrivals[0]) / (len(arrivals) - 1)


@contextmanager
def stage(device: str, threads: int | None, subjects: Mapping[str, Subject], *options: str) -> Iterator[Stage]:
    """A worker of its own with these models, and more ``options`` for it if wanted.

    Raises:
        EngineError: there is no such device, or a model cannot be opened.
    """
    with worker(device, threads, *options) as wire:
        yield Stage(wire, subjects)


def _bytes(share: Share, spread: float) -> float:
    dense = sum(sum(layer.dense.values()) for layer in share.weights)
    return dense + spread * sum(sum(layer.experts.values()) for layer in share.experts)


def _all_decode(report: Produced, sequences: set[int]) -> bool:
    return not report.prefilled and {token.sequence for token in report.tokens} == sequences


def quartiles(values: list[float]) -> tuple[float, float, float]:
    """Lower quartile, median and upper quartile."""
    ordered = sorted(values)
    last = len(ordered) - 1
    return ordered[round(last / 4)], median(ordered), ordered[round(last * 3 / 4)]
