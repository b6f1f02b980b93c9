"""An engine in this process, and what tests do with one: run sequences, and interrupt them."""

import random
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from hotbunk.llama.device import open_device
from hotbunk.llama.guide import of_schema
from hotbunk.placement import Placement
from hotbunk.sampling import Sampling
from hotbunk.worker.arena import Arena
from hotbunk.worker.engine import Engine
from hotbunk.worker.protocol import (
    Cancel,
    Command,
    Ended,
    Failed,
    Load,
    Loaded,
    Open,
    Opened,
    Predict,
    Predicted,
    Produced,
    Report,
    Resume,
    Start,
    Suspend,
    Unload,
)
from hotbunk.worker.store import Store
from hotbunk.worker.watch import Watch

R = TypeVar("R", bound=Report)

SHIP = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "pattern": "^[a-zA-Z ]{1,12}$"},
        "count": {"type": "integer", "maximum": 999},
    },
    "required": ["name", "count"],
    "additionalProperties": False,
}

SAMPLINGS = {
    "greedy": Sampling(temperature=0),
    "seeded": Sampling(seed=11, temperature=1.1, repeat_penalty=1.2, presence_penalty=0.3, frequency_penalty=0.2),
    "schema": Sampling(seed=5, temperature=0.9, grammar=of_schema(SHIP, strict=True)),
}


def tokens(count: int, seed: int = 1) -> list[int]:
    """Tokens that both models know."""
    return [random.Random(seed * 1000 + n).randrange(200, 40_000) for n in range(count)]


class Rig:
    """An engine whose reports are kept, with models opened under their names.

    One thread: libggml's spin while they wait for each other, which crawls where another process has the core.
    """

    def __init__(
        self,
        kind: str,
        spec: str,
        models: dict[str, Path],
        directory: Path,
        held: int = 1 << 30,
        store: Store | None = None,
        pinned: int = 0,
        patient: bool = False,
        watch: Watch | None = None,
    ) -> None:
        """``pinned``: bytes of the arena's block. ``patient``: say that the device computes by itself."""
        self.kind = kind
        self.store = store
        self.reports: list[Report] = []
        self.arena = Arena(held, directory, np.zeros(pinned, np.uint8))
        device = open_device(spec)
        device = replace(device, pinned=patient or device.pinned)
        self.engine = Engine(device, 1, self.arena, self.reports.append, store, watch)
        self.layers: dict[str, int] = {}
        self.open(models)
        self._next = 0

    def open(self, models: dict[str, Path]) -> None:
        self.layers |= {name: self.ask(Open(name, str(path)), Opened).layers for name, path in models.items()}

    def of(self, kind: type[R]) -> list[R]:
        """The reports of one kind, oldest first."""
        return [report for report in self.reports if isinstance(report, kind)]

    def ask(self, command: Command, answer: type[R]) -> R:
        """Carry out a command that is answered by one report of type ``answer``, the last."""
        self.engine.handle(command)
        assert isinstance(self.reports[-1], answer), self.reports[-1]
        return self.reports[-1]

    def load(self, model: str, layers: int, context: int = 256, slots: int = 2) -> Loaded:
        return self.ask(Load(model, self.predict(model, layers, context, slots)), Loaded)

    def predict(
        self, model: str, layers: int, context: int = 256, slots: int = 2, cached: int | None = None
    ) -> Placement:
        return self.ask(Predict(model, context, slots, layers, cached=cached), Predicted).placement

    def start(self, model: str, prompt: list[int], sampling: Sampling, most: int, **more: Any) -> int:
        self._next += 1
        self.engine.handle(Start(self._next, model, prompt, sampling, most, **{"stop_tokens": [], **more}))
        return self._next

    def produced(self, sequence: int) -> list[int]:
        """The tokens reported of a sequence so far."""
        groups = (report.tokens for report in self.reports if isinstance(report, Produced))
        return [token.token for group in groups for token in group if token.sequence == sequence]

    def ended(self, sequence: int) -> Ended | None:
        return next((r for r in self.reports if isinstance(r, Ended) and r.sequence == sequence), None)

    def failed(self) -> str:
        """The message of the last report, which must be ``Failed``."""
        assert isinstance(self.reports[-1], Failed), self.reports[-1]
        return self.reports[-1].message

    def reach(self, sequence: int, count: int) -> None:
        """Run until the sequence has produced ``count`` tokens, or has ended."""
        self.run(lambda: len(self.produced(sequence)) >= count or self.ended(sequence) is not None)

    def run(self, until: Callable[[], bool] = lambda: False) -> None:
        """Step until ``until`` holds or nothing is left to do."""
        while not until() and self.engine.step():
            pass

    def finish(self, sequence: int) -> list[int]:
        """Run until the sequence has ended well: its tokens."""
        self.run()
        ended = self.ended(sequence)
        assert ended and ended.reason in ("stop", "length"), ended
        return self.produced(sequence)

    def interrupted(
        self,
        model: str,
        layers: int,
        sequence: int,
        at: Iterable[int],
        meanwhile: Callable[[], None],
        context: int = 256,
    ) -> list[int]:
        """Finish a sequence, preempting it whenever it has one of ``at`` numbers of tokens."""
        for count in sorted(at):
            self.reach(sequence, count)
            if self.ended(sequence):
                break
            self.engine.handle(Suspend(sequence))
            self.engine.handle(Unload(model))
            meanwhile()
            self.load(model, layers, context)
            self.engine.handle(Resume(sequence))
        return self.finish(sequence)

    def other(self, model: str, layers: int) -> None:
        """Load another model, let it say a few words, and unload it."""
        self.load(model, layers, 64, 1)
        self.finish(self.start(model, tokens(4), SAMPLINGS["greedy"], 1))
        self.engine.handle(Unload(model))

    def clear(self) -> None:
        """Unload and forget everything but the opened models."""
        for number in range(self._next + 1):
            self.engine.handle(Cancel(number))
        for model in self.layers:
            self.engine.handle(Unload(model))
        self.reports.clear()
