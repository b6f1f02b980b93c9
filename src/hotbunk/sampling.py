"""How tokens are drawn: what a request may set, from the gateway down to the sampler."""

from __future__ import annotations

import msgspec


class Sampling(msgspec.Struct, frozen=True, omit_defaults=True):
    """How the next token is drawn. The n-th token of a sequence is a function of its logits, its tokens, this and n.

    ``temperature`` 0 is greedy. ``repeat_penalty`` looks at the last ``repeat_last_n`` tokens (-1: at all), prompt
    included (as llama.cpp does); ``presence_penalty`` and ``frequency_penalty`` look at all generated tokens (as OpenAI
    does). ``grammar`` is GBNF with the root rule ``root``, or what a ``Guide`` is made of. ``logit_bias`` maps token
    ids to added logits.
    """

    temperature: float = 0.8
    top_k: int = 40
    top_p: float = 0.95
    min_p: float = 0.05
    repeat_penalty: float = 1.0
    repeat_last_n: int = 64
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    seed: int = 0
    logit_bias: dict[int, float] = {}
    grammar: str | None = None
