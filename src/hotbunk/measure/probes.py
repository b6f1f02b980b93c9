"""Points of a model's costs, measured on a living worker and timed by it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from hotbunk.costs.record import Kind, Record
from hotbunk.costs.steps import CHUNK
from hotbunk.errors import EngineError
from hotbunk.llama.gguf import Gguf
from hotbunk.measure.points import carried, left, moved, prefilled
from hotbunk.measure.wire import Wire, prompt
from hotbunk.placement import Placement
from hotbunk.worker.protocol import (
    Load,
    Loaded,
    Open,
    Opened,
    Produced,
    Resize,
    Resume,
    Resumed,
    Suspend,
    Suspended,
    Trim,
    Unload,
    Unloaded,
)

__all__ = ["LOADS", "WARMED", "Probes", "carrying", "decoding", "halvings", "timing"]

_STEPS, _MOST = 8, 40
_LONG = 0.25  # seconds: a median of fewer steps than that takes for usual what a busy host does for a moment
_FEWEST, _SLOW = 3, 0.5  # where steps are slow so few will do, once they took so many seconds together
_WARM = 2  # steps before them: libllama plans its graphs at the first
_SPARE = 16  # steps that a worker may be ahead of what this process has read, for each number of sequences
_PROMPT = 16  # tokens of the shortest prompt that tells of prefills: fewer are evaluated like a decode step
_CARRIES = 5  # times that a state goes out and in
WARMED = 16
"""Tokens of the prompt that follows a move."""
LOADS = 5
"""Times that a model is loaded for a point."""


class Probes:
    """One opened model on a worker.

    Attributes:
        layers: all its layers.
        context: tokens it was trained for.
        standing: where it stands now; None: not loaded.
    """

    def __init__(self, wire: Wire, model: str, facts: Gguf) -> None:
        """Open it.

        Raises:
            EngineError: it cannot be opened.
        """
        opened = wire.ask(Open(model, str(facts.path)), Opened)
        self.model, self.layers, self.context = model, opened.layers, opened.context
        self.standing: Placement | None = None
        self._freed = 0  # bytes that nothing has come in the place of yet
        self._wire = wire
        self._vocabulary = facts.vocabulary

    def place(self, layers: int, context: int, slots: int) -> Placement:
        """A placement, priced."""
        return self._wire.predict(self.model, context, slots, layers)

    def stand(self, place: Placement, times: int = 1) -> list[Record]:
        """Have the model stand so, and say what that took; nothing if it does.

        ``times``: from where it stands, and back there in between, of which is told too.

        Raises:
            OutOfMemory: the device has no room for it.
        """
        before = self.standing
        if place == before:
            return []
        came, back = [self._move(place)], list[Record]()
        while len(came) < times:
            back += self._move(before) if before else self.leave()
            came.append(self._move(place))
        return [*map(_middle, zip(*came, strict=True)), *back]

    def _move(self, place: Placement) -> list[Record]:
        before, self.standing = self.standing, None
        freed, self._freed = self._freed, 0
        report = self._wire.ask((Resize if before else Load)(self.model, place), Loaded)
        self.standing = place
        self._warm()
        return list(moved(report, before, freed))

    def reload(self, place: Placement) -> list[Record]:
        """Load it anew a few times: a driver takes now and then twice as long for what it has just been given back."""
        return [*self.leave(), *self.stand(place, LOADS)]

    def leave(self) -> list[Record]:
        """Have nothing of it on the device."""
        if self.standing is None:
            return []
        place, self.standing = self.standing, None
        # as a server does, which makes room when somebody comes
        report = self._wire.ask(Unload(self.model, spare=place.device.weights), Unloaded)
        self._wire.send(Trim(0))
        self._freed = report.freed
        return [left(report, place)]

    def decode(self, sequences: int, tokens: int, rounds: int = 1) -> list[Record]:
        """Steps of so many sequences, then of half as many, down to one, and the prefills that led there.

        The one that is ahead has about ``tokens`` behind it; each record says how many. ``rounds``: all of it so many
        times, of which the middle counts. Steps that wait for a host's threads differ from one time to the next, and
        keep to it for as long as they go on.
        """
        passes = [self._decode(sequences, tokens) for _ in range(rounds)]
        prefills = [record for records in passes for record in records if record.kind is Kind.PREFILL]
        steps = [[record for record in records if record.kind is Kind.DECODE] for records in passes]
        return [*prefills, *map(_middle, zip(*steps, strict=True))]

    def _decode(self, sequences: int, tokens: int) -> list[Record]:
        counts = halvings(sequences)
        context = self.standing.context if self.standing else 0
        room = context - 1 - _waiting(sequences, tokens)
        most = min(_MOST, max(_STEPS, room // len(counts) - _WARM - _SPARE))
        ahead = _ahead(sequences, tokens, most)
        start = max(1, tokens - ahead)
        place = self._ready(start + ahead, sequences)
        numbers = [self._wire.start(self.model, self._prompt(start, seed), place.context) for seed in range(sequences)]
        records = list[Record]()
        try:
            for count in counts:
                self._end(numbers[count:])
                records += self._steps(numbers[:count], start, most, place)
        finally:
            self._end(numbers)
        return records

    def _steps(self, numbers: Sequence[int], start: int, most: int, place: Placement) -> list[Record]:
        """Steps in which all these take part, which began after ``start`` tokens, and prefills on the way there."""
        prefills, seconds = list[Record](), list[float]()
        while not _settled(seconds, most):
            report = self._wire.receive()
            self._wire.going(numbers)
            if not isinstance(report, Produced):
                continue
            if report.prefilled >= _PROMPT:
                prefills.append(prefilled(report, place))
            elif not report.prefilled and len(report.tokens) == len(numbers):
                seconds.append(report.seconds)
        behind = start + len(self._wire.produced[numbers[0]])
        return [*prefills, Record(Kind.DECODE, place, 0.0, len(numbers), behind).timed(seconds[_WARM:])]

    def _end(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            self._wire.cancel(number)

    def prefill(self, tokens: int) -> Record:
        """A prompt of so many tokens, a few times if it is short."""
        place = self._ready(tokens + 1)
        seconds = list[float]()
        while len(seconds) < _FEWEST and (not seconds or sum(seconds) < _LONG):
            seconds.append(self._prefilled(tokens, len(seconds)))
        return Record(Kind.PREFILL, place, 0.0, tokens=tokens).timed(seconds)

    def carry(self, tokens: int) -> list[Record]:
        """Suspend and resume a sequence of so many tokens."""
        place = self._ready(carrying(tokens))
        number = self._wire.start(self.model, self._prompt(tokens, tokens), place.context)
        self._wire.tokens(number, 1)
        out, back = list[Suspended](), list[Resumed]()
        try:
            for _ in range(_CARRIES):
                _, (gone, there) = self._wire.move(Suspend(number), Resume(number))
                assert isinstance(gone, Suspended)
                assert isinstance(there, Resumed)
                out.append(gone)
                back.append(there)
                self._wire.tokens(number, 1)
        finally:
            self._wire.cancel(number)
        return [_carried(out, place, tokens), _carried(back, place, tokens)]

    def _prefilled(self, tokens: int, seed: int) -> float:
        """Seconds of one prefill.

        Each is of another length, as users' prompts are: libllama would not plan the same one's graph anew.
        """
        number = self._wire.start(self.model, self._prompt(max(1, tokens - seed), seed), 1)
        seconds = 0.0
        while number not in self._wire.ended:
            report = self._wire.receive()
            if isinstance(report, Produced) and report.prefilled:
                seconds = report.seconds
        return seconds

    def _prompt(self, tokens: int, seed: int = 0) -> list[int]:
        return prompt(tokens, seed, self._vocabulary)

    def _ready(self, tokens: int, sequences: int = 1) -> Placement:
        place = self.standing
        if place is None or tokens > place.context or sequences > place.slots:
            stands = f"{place.slots} slots of {place.context} tokens" if place else "no place on the device"
            raise EngineError(f"{self.model} has {stands}, which is too little for {sequences} of {tokens} tokens")
        return place

    def _warm(self) -> None:
        number = self._wire.start(self.model, self._prompt(WARMED), _WARM)
        self._wire.finish(number)


def halvings(sequences: int) -> list[int]:
    """So many, half as many, and so on down to one: the numbers of sequences that one point of decoding measures."""
    return [sequences >> halved for halved in range(sequences.bit_length())]


def decoding(sequences: int, tokens: int) -> int:
    """The tokens of context that it takes to time steps of so many sequences, the first with ``tokens`` behind it."""
    return max(tokens, 1 + _ahead(sequences, tokens, _STEPS))


def carrying(tokens: int) -> int:
    """The tokens of context that it takes to suspend and resume a sequence of so many."""
    return tokens + _WARM + _CARRIES + 2


def _ahead(sequences: int, tokens: int, steps: int) -> int:
    """Tokens that the first sequence generates, with so many steps timed for each number of sequences."""
    return (_WARM + steps + _SPARE) * len(halvings(sequences)) + _waiting(sequences, tokens)


def _waiting(sequences: int, tokens: int) -> int:
    """Steps of the first sequence while the others are prefilled."""
    return (sequences - 1) * -(-tokens // CHUNK)


def timing(step: float) -> float:
    """About how many seconds it takes to time steps of so many."""
    return _WARM * step + max(min(_MOST * step, _LONG), min(_STEPS * step, _SLOW), _FEWEST * step)


def _settled(seconds: Sequence[float], most: int) -> bool:
    """Whether enough steps were timed; ``most`` always are enough."""
    counted = seconds[_WARM:]
    count, together = len(counted), sum(counted)
    enough = count >= _STEPS and together >= _LONG
    return enough or count >= most or (count >= _FEWEST and together >= _SLOW)


def _carried(reports: Sequence[Suspended] | Sequence[Resumed], place: Placement, tokens: int) -> Record:
    return carried(reports[-1], place, tokens).timed([report.seconds for report in reports])


def _middle(records: Sequence[Record]) -> Record:
    """The same measured several times, as the last was: at the first libllama may have opened a shell for it."""
    return records[-1].timed([record.seconds for record in records]) if len(records) > 1 else records[0]
