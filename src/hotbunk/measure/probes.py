"""Points of a model's costs, measured on a living worker and timed by it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from statistics import median, quantiles

from hotbunk.costs.record import Kind, Record
from hotbunk.costs.steps import CHUNK
from hotbunk.errors import EngineError
from hotbunk.measure.points import carried, left, moved
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
    Unload,
    Unloaded,
)

__all__ = ["LOADS", "STEPS", "Probes", "halvings"]

STEPS = 8
"""Decode steps of which the median counts, at most."""
_FEWEST, _LONG = 3, 0.5  # fewer do, but not fewer than that, once they took so many seconds together
_WARM = 2  # steps before them: libllama plans its graphs at the first
_CARRIES = 3  # times that a state goes out and in
LOADS = 3
"""Times that a model is loaded for a point."""


class Probes:
    """One opened model on a worker.

    Attributes:
        layers: all its layers.
        context: tokens it was trained for.
        standing: where it stands now; None: not loaded.
    """

    def __init__(self, wire: Wire, model: str, path: str) -> None:
        """Open it.

        Raises:
            EngineError: it cannot be opened.
        """
        opened = wire.ask(Open(model, path), Opened)
        self.model, self.layers, self.context = model, opened.layers, opened.context
        self.standing: Placement | None = None
        self._wire = wire

    def place(self, layers: int, context: int, slots: int) -> Placement:
        """A placement, priced."""
        return self._wire.predict(self.model, context, slots, layers)

    def stand(self, place: Placement) -> list[Record]:
        """Have the model stand so, and say what that took; nothing if it does.

        Raises:
            OutOfMemory: the device has no room for it.
        """
        if place == self.standing:
            return []
        before, self.standing = self.standing, None
        report = self._wire.ask((Resize if before else Load)(self.model, place), Loaded)
        self.standing = place
        self._warm()
        return list(moved(report, before))

    def reload(self, place: Placement) -> list[Record]:
        """Load it anew a few times: a driver takes now and then twice as long for what it has just been given back."""
        left, came = self.leave(), list[list[Record]]()
        for _ in range(LOADS):
            came.append(self.stand(place))
            left += self.leave() if len(came) < LOADS else []
        return [*left, *map(_middle, zip(*came, strict=True))]

    def leave(self) -> list[Record]:
        """Have nothing of it on the device."""
        if self.standing is None:
            return []
        place, self.standing = self.standing, None
        report = self._wire.ask(Unload(self.model), Unloaded)
        return [left(report, place)]

    def decode(self, sequences: int, tokens: int) -> list[Record]:
        """Steps of so many sequences, then of half as many, down to one, and the prefills that led there.

        The one that is ahead has about ``tokens`` behind it; each record says how many.
        """
        counts = halvings(sequences)
        ahead = (STEPS + 2 * _WARM) * len(counts) + (sequences - 1) * -(-tokens // CHUNK)
        start = max(1, tokens - ahead)
        place = self._ready(start + ahead, sequences)
        numbers = [self._wire.start(self.model, prompt(start, seed), place.context) for seed in range(sequences)]
        records, made = list[Record](), start
        for count in counts:
            for number in numbers[count:]:
                self._wire.cancel(number)
            numbers = numbers[:count]
            seconds = list[float]()
            while not _settled(seconds):
                report = self._wire.receive()
                self._check(numbers)
                if not isinstance(report, Produced):
                    continue
                made += any(token.sequence == numbers[0] for token in report.tokens)
                if report.prefilled:
                    records.append(Record(Kind.PREFILL, place, report.seconds, tokens=report.prefilled))
                elif len(report.tokens) == count:
                    seconds.append(report.seconds)
            records.append(_point(Record(Kind.DECODE, place, 0.0, count, made), seconds[_WARM:]))
        self._wire.cancel(numbers[0])
        return records

    def prefill(self, tokens: int) -> Record:
        """A prompt of so many tokens."""
        place = self._ready(tokens + 1)
        number = self._wire.start(self.model, prompt(tokens, tokens), 1)
        seconds = 0.0
        while number not in self._wire.ended:
            report = self._wire.receive()
            if isinstance(report, Produced) and report.prefilled:
                seconds = report.seconds
        self._check([])
        return Record(Kind.PREFILL, place, seconds, tokens=tokens)

    def carry(self, tokens: int) -> list[Record]:
        """Suspend and resume a sequence of so many tokens."""
        place = self._ready(tokens + _WARM + _CARRIES + 2)
        number = self._wire.start(self.model, prompt(tokens, tokens), place.context)
        self._wire.tokens(number, 1)
        out, back = list[Suspended](), list[Resumed]()
        for _ in range(_CARRIES):
            out.append(self._wire.ask(Suspend(number), Suspended))
            back.append(self._wire.ask(Resume(number), Resumed))
            self._wire.tokens(number, 1)
        self._wire.cancel(number)
        return [_carried(out, place, tokens), _carried(back, place, tokens)]

    def _ready(self, tokens: int, sequences: int = 1) -> Placement:
        place = self.standing
        if place is None or tokens > place.context or sequences > place.slots:
            stands = f"{place.slots} slots of {place.context} tokens" if place else "no place on the device"
            raise EngineError(f"{self.model} has {stands}, which is too little for {sequences} of {tokens} tokens")
        return place

    def _warm(self) -> None:
        number = self._wire.start(self.model, prompt(16), _WARM)
        self._wire.finish(number)

    def _check(self, numbers: Sequence[int]) -> None:
        """Nobody whose steps are measured may have ended."""
        for number in numbers:
            if number in self._wire.ended:
                raise EngineError(
                    f"a sequence of {self.model} ended early: {self._wire.ended[number].message or 'full'}"
                )


def halvings(sequences: int) -> list[int]:
    """So many, half as many, and so on down to one: the numbers of sequences that one point of decoding measures."""
    return [sequences >> halved for halved in range(sequences.bit_length())]


def _settled(seconds: Sequence[float]) -> bool:
    """Whether enough steps were timed."""
    counted = seconds[_WARM:]
    return len(counted) >= STEPS or (len(counted) >= _FEWEST and sum(counted) >= _LONG)


def _carried(reports: Sequence[Suspended] | Sequence[Resumed], place: Placement, tokens: int) -> Record:
    return _point(carried(reports[-1], place, tokens), [report.seconds for report in reports])


def _middle(records: Sequence[Record]) -> Record:
    """The same measured several times."""
    return _point(records[0], [record.seconds for record in records])


def _point(point: Record, seconds: Sequence[float]) -> Record:
    low, _, high = quantiles(seconds, n=4)
    return replace(point, seconds=median(seconds), spread=(high - low) / 2, repeats=len(seconds))
