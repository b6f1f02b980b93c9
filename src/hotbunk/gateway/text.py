"""From tokens to text as it grows: whole characters only, and never a part of a stop string."""

import codecs
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from hotbunk.worker.protocol import Token


class Stops:
    """Finds the first stop string to be completed in a text that comes in parts.

    Of two completed by the same character the longer counts, so the result does not depend on how the text is split.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        """``stops`` may be none at all; none of them is empty."""
        self._stops = tuple(stops)
        self._longest = max(map(len, stops), default=1)
        self._held = ""
        self.found = False

    def feed(self, text: str) -> str:
        """Add text; returns what certainly comes before any stop string, and keeps the rest back."""
        if not self._stops:
            return text
        text = self._held + text
        ends = [(at + len(stop), at) for stop in self._stops if (at := text.find(stop)) >= 0]
        if ends:
            self.found, self._held = True, ""
            return text[: min(ends)[1]]
        cut = len(text) - self._overlap(text)
        self._held = text[cut:]
        return text[:cut]

    def close(self) -> str:
        """End of the text: returns what was kept back."""
        held, self._held = self._held, ""
        return held

    def _overlap(self, text: str) -> int:
        # length of the longest end of the text that begins a stop string
        sizes = range(min(len(text), self._longest - 1), 0, -1)
        return next((size for size in sizes if any(stop.startswith(text[-size:]) for stop in self._stops)), 0)


@dataclass(slots=True)
class Delta:
    """A piece of an answer: its text, and the tokens whose text begins in it with their offsets in the answer."""

    text: str = ""
    tokens: list[tuple[Token, int]] = field(default_factory=list)


class Writer:
    """Writes an answer from its tokens. Joined, the deltas' texts are the same however the tokens were grouped.

    Bytes that are not UTF-8 become U+FFFD. A token that a stop string cuts off belongs to no delta.
    """

    def __init__(self, piece: Callable[[int], bytes], stops: Sequence[str] = ()) -> None:
        """``piece`` gives the bytes of a token."""
        self._piece = piece
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._stops = Stops(stops)
        self._pending: list[tuple[Token, int]] = []
        self._decoded = self._written = 0
        self.count = 0
        """Tokens taken, those of the stop string included."""

    @property
    def stopped(self) -> bool:
        """Whether a stop string ended the answer."""
        return self._stops.found

    def feed(self, tokens: Iterable[Token]) -> Delta:
        """Add tokens; those after a stop string are ignored."""
        texts = []
        for token in tokens:
            if self.stopped:
                break
            self.count += 1
            self._pending.append((token, self._decoded))
            text = self._decode(self._piece(token.token))
            self._decoded += len(text)
            texts.append(self._stops.feed(text))
        return self._delta("".join(texts), False)

    def close(self) -> Delta:
        """End of the answer: everything that was kept back."""
        if self.stopped:
            return Delta()
        rest = self._stops.feed(self._decode(b"", True))
        return self._delta(rest + self._stops.close(), True)

    def _delta(self, text: str, last: bool) -> Delta:
        self._written += len(text)
        whole = last and not self.stopped
        ready = sum(1 for _, start in self._pending if whole or start < self._written)
        tokens, self._pending = self._pending[:ready], self._pending[ready:]
        return Delta(text, tokens)
