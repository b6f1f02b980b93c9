"""Prompts of random tokens, so that no server has seen them before: the same ones for the same seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Prompts"]

_WORDS = ("the", "sea", "is", "a", "ship", "and", "we", "go", "far", "on", "it", "to", "see", "old", "new", "men")


@dataclass(frozen=True, slots=True)
class Prompts:
    """Token ids from ``low`` to ``high``: common ones, which all vocabularies have and none gives a meaning of its own.

    For servers that take no ids there are words, each about a token.
    """

    seed: int = 0
    low: int = 1000
    high: int = 20000

    def tokens(self, row: int, count: int) -> list[int]:
        """The prompt of a trace's row, exactly so many tokens."""
        tokens: list[int] = np.random.default_rng((self.seed, row)).integers(self.low, self.high + 1, count).tolist()
        return tokens

    def words(self, row: int, count: int) -> str:
        """The same in words; how many tokens these make is the server's to say."""
        places = np.random.default_rng((self.seed, row)).integers(0, len(_WORDS), count)
        return " ".join(_WORDS[place] for place in places)
