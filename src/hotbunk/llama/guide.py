"""Answers held to a JSON schema, or to a Lark grammar, by llguidance: which tokens may come next.

It bounds its own memory and time, whatever it is given. GBNF is libllama's (``grammar.py``).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from llguidance import LLMatcher, LLParserLimits
from numpy.typing import NDArray

from hotbunk.errors import BadRequest, EngineError
from hotbunk.llama.grammar import Candidates
from hotbunk.llama.vocab import Vocab

__all__ = ["Guide", "of_schema"]

_LIMITS = LLParserLimits(verbose_errors=False)  # else an error quotes the whole grammar
_SPACE = r" |\n{1,2}[ \t]{0,20}"  # as llama-server has it: a small model would go on with spaces for ever


class Guide:
    """A schema or grammar at the point where it has accepted some tokens."""

    @staticmethod
    def knows(text: str) -> bool:
        """Whether this is for a guide, and not GBNF: what ``of_schema`` writes, or Lark under llama-server's mark."""
        return text.startswith(("{", "%llguidance"))

    @staticmethod
    def fault(text: str) -> str:
        """Why no guide can be made of it, in llguidance's words; empty if one can."""
        return _first(LLMatcher.validate_grammar(text, limits=_LIMITS))

    def __init__(self, vocab: Vocab, text: str, accepted: Sequence[int]) -> None:
        """Begin, and go on past the tokens that were generated already.

        Raises:
            BadRequest: it is not valid, in llguidance's words, or it refuses one of ``accepted``.
            EngineError: the vocabulary has no token that ends a text.
        """
        self._matcher = LLMatcher(vocab.trie, text, log_level=0, limits=_LIMITS)
        self._size, self._allowed = vocab.size, np.zeros(0, bool)
        if self._matcher.is_error():
            raise BadRequest(f"the grammar is not valid: {_first(self._matcher.get_error())}", "grammar")
        if (fit := self._matcher.validate_tokens([*accepted])) < len(accepted):
            raise BadRequest(f"generated token {fit} ({accepted[fit]}) does not fit the grammar", "grammar")
        self._matcher.consume_tokens([*accepted])

    def allows(self, token: int) -> bool:
        """Whether the token may come next.

        Raises:
            EngineError: to tell takes more than llguidance's limits.
        """
        return bool(self._mask()[token])

    def narrow(self, candidates: Candidates) -> None:
        """Leave those of a whole vocabulary that may come next.

        Raises:
            EngineError: to tell takes more than llguidance's limits.
        """
        candidates.keep(self._mask())

    def accept(self, token: int) -> None:
        """Go on past a token that ``allows`` allows."""
        self._matcher.consume_token(token)
        self._allowed = np.zeros(0, bool)

    def close(self) -> None:
        """Nothing to do: its memory goes with it."""

    def _mask(self) -> NDArray[np.bool_]:
        """Of each token whether it may come next, found once for each place."""
        if not self._allowed.size:
            bits = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
            if self._matcher.is_error():
                raise EngineError(f"the grammar goes no further here: {_first(self._matcher.get_error())}")
            self._allowed = np.unpackbits(bits, count=self._size, bitorder="little").view(bool)
        return self._allowed


def of_schema(schema: dict[str, Any], strict: bool) -> str:
    """What a guide is made of that leads to JSON texts that fit a schema.

    ``strict``: keywords that it cannot hold an answer to are an error, instead of being passed over. Where it cannot
    tell that at most one of ``oneOf`` fits, it is ``anyOf``.

    Raises:
        RecursionError, ValueError: it cannot be written as JSON.
    """
    options: Any = {"whitespace_pattern": _SPACE, "coerce_one_of": True, "lenient": not strict}
    return LLMatcher.grammar_from_json_schema(json.dumps(schema), overrides=options)


def _first(said: str) -> str:
    """The first line of what llguidance says is wrong."""
    return said.partition("\n")[0][:300]
