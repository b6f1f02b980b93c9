"""Switches, preemptions and resizes of two models in one worker, each taken apart into its steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

from hotbunk.errors import EngineError
from hotbunk.measure.filling import Stored, lacking, told, watch
from hotbunk.measure.steps import Limits, Step, Swap, break_down, summarise
from hotbunk.measure.wire import Move, Wire, prompt
from hotbunk.placement import Placement
from hotbunk.worker.protocol import (
    Load,
    Loaded,
    Open,
    Opened,
    Report,
    Resize,
    Resume,
    Suspend,
    Unload,
)

__all__ = ["GIVEN_UP", "Memory", "Swaps"]

GIVEN_UP = 6
"""Layers that a model gives up and takes back."""
_SPARE = 256  # tokens of context left for what a sequence decodes between its moves


@dataclass(frozen=True, slots=True)
class Memory:
    """Device bytes of a loaded model: foretold, reported by libllama, and missing from the driver's free memory."""

    model: str
    layers: int
    predicted: int
    reported: int
    driver: int


class Swaps:
    """Two opened models and what was measured of them so far.

    Attributes:
        swaps: the moves, in the order they were made.
        memory: by model and layers, the last load.
        layers: all layers of each model.
    """

    def __init__(self, wire: Wire, limits: Limits, models: dict[str, str], context: int, slots: int, rounds: int):
        """``models`` are paths by name, two of them; ``rounds`` are counted after one to warm up."""
        self.swaps: list[Swap] = []
        self.memory: dict[tuple[str, int], Memory] = {}
        self.layers = {name: wire.ask(Open(name, path), Opened).layers for name, path in models.items()}
        self._wire, self._limits = wire, limits
        self._context, self._slots, self._rounds = context, slots, rounds

    @staticmethod
    def room(context: int) -> int:
        """The most tokens that a sequence can carry over."""
        return context - _SPARE

    def place(self, model: str, residency: float, cached: int | None = None, less: int = 0) -> Placement:
        """That share of the model's layers, ``less`` some, priced."""
        layers = max(round(residency * self.layers[model]) - less, 0)
        return self._wire.predict(model, self._context, self._slots, layers, cached)

    def stored(self, say: Callable[[str], None]) -> str:
        """Wait until both models are in the host store; empty if they are, else what is the matter."""
        there: Stored = {}
        for there in watch(self._wire, self.layers):
            say(f"waiting for the host store ({told(there)})")
        absent = ", ".join(lacking(self.layers, there))
        return f"not in the host store: {absent} (it holds {told(there)}); raise the host memory" if absent else ""

    def switch(self, residency: float) -> None:
        """Unload one, load the other, and back."""
        first, second = self.layers
        places = {name: self.place(name, residency) for name in self.layers}
        self._wire.move(Load(first, places[first]))
        there, back = [], []
        for _ in range(self._rounds + 1):
            there.append(self._timed([Unload(first), Load(second, places[second])]))
            back.append(self._timed([Unload(second), Load(first, places[first])]))
        self._wire.move(Unload(first))
        self._note("switch", second, first, places[second].layers, 0, there)
        self._note("switch", first, second, places[first].layers, 0, back)

    def preempt(self, residency: float, tokens: int) -> None:
        """Take the first model off the device and bring it back: alone, and with the other one loaded in between."""
        first, second = self.layers
        place = self.place(first, residency)
        between: list[Move] = [Load(second, self.place(second, residency)), Unload(second)]
        self._wire.move(Load(first, place))
        sequence = self._begin(first, tokens)
        out: list[Move] = [*([Suspend(sequence)] if sequence else []), Unload(first)]
        back: list[Move] = [Load(first, place), *([Resume(sequence)] if sequence else [])]
        for other, commands in (("", [*out, *back]), (second, [*out, *between, *back])):
            rounds = []
            for _ in range(self._rounds + 1):
                rounds.append(self._timed(commands, place.cache_share))
                self._alive(sequence)
            self._note("preempt", first, other, place.layers, tokens, rounds)
        self._end(first, sequence)

    def resize(self, tokens: int) -> None:
        """Have the first model give up a few layers and take them back, with its contexts kept and made anew."""
        model = next(iter(self.layers))
        full, given = self.place(model, 1.0), min(GIVEN_UP, self.layers[model] - 1)
        for how, cached in (("context kept", full.layers), ("context made anew", None)):
            less = self.place(model, 1.0, cached, given)
            self._wire.move(Load(model, full))
            sequence = self._begin(model, tokens)
            down, up = [], []
            for _ in range(self._rounds + 1):
                down.append(self._timed([Resize(model, less)]))
                self._alive(sequence)
                up.append(self._timed([Resize(model, full)]))
                self._alive(sequence)
            self._note(f"give up {given} layers ({how})", model, "", less.layers, tokens, down)
            self._note(f"take back {given} layers ({how})", model, "", full.layers, tokens, up)
            self._end(model, sequence)

    def _begin(self, model: str, tokens: int) -> int:
        """A sequence with so many tokens in its KV cache, which goes on decoding; 0 for none."""
        if not tokens:
            return 0
        sequence = self._wire.start(model, prompt(tokens), self._context)
        self._alive(sequence)
        return sequence

    def _alive(self, sequence: int) -> None:
        if sequence and not self._wire.tokens(sequence, 1):
            raise EngineError(f"a context of {self._context} tokens was full before the end; give a longer one")

    def _end(self, model: str, sequence: int) -> None:
        if sequence:
            self._wire.cancel(sequence)
        self._wire.move(Unload(model))

    def _timed(self, commands: list[Move], share: float = 1.0) -> tuple[float, list[Step]]:
        seconds, reports = self._wire.move(*commands)
        if not any(isinstance(command, Resize) for command in commands):  # a resize tells of its difference alone
            self._remember(reports)
        return seconds, break_down(reports, self._limits, share, seconds)

    def _remember(self, reports: list[Report]) -> None:
        for report in reports:
            if isinstance(report, Loaded):
                place = report.placement
                self.memory[report.model, place.layers] = Memory(
                    report.model, place.layers, place.device.total, report.device.total, report.driver
                )

    def _note(
        self, move: str, model: str, other: str, layers: int, tokens: int, rounds: list[tuple[float, list[Step]]]
    ) -> None:
        """Keep the medians of all rounds but the first."""
        seconds = median(seconds for seconds, _ in rounds[1:])
        steps = summarise([steps for _, steps in rounds[1:]])
        self.swaps.append(Swap(move, model, other, layers, tokens, seconds, steps))
