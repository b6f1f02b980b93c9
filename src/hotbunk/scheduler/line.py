"""The line of those who wait for a model. One comes or goes at a time, and what is known of the others is kept."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from typing import Any, NamedTuple

from hotbunk.scheduler.value import lazy

__all__ = ["Line", "Sequence"]


class Sequence(NamedTuple):
    """A request's tokens. ``since``: when it began to wait, or to run. ``held``: suspended state exists for it.

    ``prompt`` and ``limit`` are tokens of its prompt and the most that it may generate (0: not known); ``made`` are
    those generated until ``since``; ``begun`` is when it was first started.
    """

    id: int
    arrived: float
    since: float
    started: bool = False
    held: bool = False
    prompt: int = 0
    limit: int = 0
    made: int = 0
    begun: float = 0.0


class Line(tuple[Sequence, ...]):
    """Sequences in the order in which they came, or came back. What follows from it is worked out once."""

    def joined(self, *more: Sequence) -> Line:
        """With others at the end."""
        made = Line((*self, *more))
        made.__dict__["preempted"] = self.preempted + _started(more)
        for name, (terms, notes) in self.notes.items():
            made.notes[name] = terms, [*notes, *[None] * len(more)]
        return made

    def without(self, place: int) -> Line:
        """The same but for the one at a place."""
        made = Line((*self[:place], *self[place + 1 :]))
        made.__dict__["preempted"] = self.preempted - self[place].started
        for name, (terms, notes) in self.notes.items():
            made.notes[name] = terms, [*notes[:place], *notes[place + 1 :]]
        return made

    def place(self, number: int) -> int | None:
        """Where the sequence of this number is."""
        for place, sequence in enumerate(self):
            if sequence.id == number:
                return place
        return None

    @lazy
    def notes(self) -> dict[str, tuple[object, list[Any]]]:
        """What others have noted of each, by a name: in what terms, and the notes (None: none yet)."""
        return {}

    @lazy
    def preempted(self) -> int:
        """How many have been started before."""
        return _started(self)

    @lazy
    def _newcomers(self) -> tuple[Sequence, ...]:
        return tuple([s for s in self if not s.started])

    @property
    def newcomers(self) -> tuple[Sequence, ...]:
        """Those who have not been started yet."""
        return self._newcomers if self.preempted else self

    @lazy
    def _heads(self) -> dict[tuple[int, bool], array[float]]:
        return {}

    def heads(self, slots: int, everyone: bool = False) -> array[float]:
        """Since when the first of each turn waits that is owed to newcomers, or to ``everyone``.

        A turn is for as many as have ``slots``.
        """
        key = slots, everyone or not self.preempted
        found = self._heads.get(key)
        if found is None:
            owed = self if key[1] else self._newcomers
            found = self._heads[key] = array("d", [s.since for s in owed[::slots]])
        return found


def _started(sequences: Iterable[Sequence]) -> int:
    return sum([s.started for s in sequences])
