"""A sequence: one answer in the making, as tokens."""

from __future__ import annotations

from typing import Literal

from hotbunk.llama.context import Context
from hotbunk.llama.sampler import Sampler, logprobs
from hotbunk.worker.protocol import Start, Token

Reason = Literal["stop", "length", "cancelled", "error"]


class Sequence:
    """What is known of one sequence, whether it runs or is suspended.

    Between steps it is always in one of two states: mid-prefill at a chunk's border, or with exactly one token drawn
    and not yet evaluated. So whatever interrupts it, the same tokens are evaluated in the same shapes.

    Attributes:
        tokens: prompt and generated tokens so far.
        done: how many of ``tokens`` are evaluated.
        slot: where it runs; None while suspended.
        prefill, decode: seconds it took part in each.
        beside: the most sequences that decoded between chunks of its prompt.
    """

    def __init__(self, start: Start, sampler: Sampler) -> None:
        self.id = start.sequence
        self.tokens = start.prompt + start.generated
        self.done = 0
        self.slot: int | None = None
        self.prefill = 0.0
        self.decode = 0.0
        self.beside = 0
        self._sampler = sampler
        self._stops = frozenset(start.stop_tokens)
        self._logprobs = start.logprobs
        self._given = len(self.tokens)
        self._last = len(start.prompt) + start.max_tokens

    @property
    def prefilling(self) -> bool:
        """Whether some of the tokens it was started with are not evaluated yet."""
        return self.done < self._given

    def chunk(self, size: int) -> tuple[list[int], bool]:
        """The next at most ``size`` tokens to prefill, and whether they are the last."""
        end = min(self.done + size, self._given)
        return self.tokens[self.done : end], end == self._given

    def draw(self, context: Context, index: int) -> tuple[Token | None, Reason | None]:
        """Draw the next token from the logits at ``index``: the token, if it counts, and why it was the last, if so."""
        token = self._sampler.sample(context, index)
        if token in self._stops:
            return None, "stop"
        self.tokens.append(token)
        full = len(self.tokens) >= min(self._last, context.length)
        return self._report(token, context, index), "length" if full else None

    def close(self) -> None:
        """Free the sampler."""
        self._sampler.close()

    def _report(self, token: int, context: Context, index: int) -> Token:
        if self._logprobs is None:
            return Token(self.id, token)
        return Token(self.id, token, *logprobs(context.logits(index), token, self._logprobs))
