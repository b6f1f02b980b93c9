"""Sampling: the next token of a sequence as a pure function of its logits, its tokens and its settings.

There is no random state to keep: the n-th token is drawn with a generator seeded by hash(seed, n). So a sampler that
is rebuilt from a sequence's tokens draws on exactly as the one that drew them.
"""

from __future__ import annotations

import ctypes as C
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from hotbunk.errors import BadRequest, EngineError
from hotbunk.llama.context import Context
from hotbunk.llama.grammar import Candidates, Grammar
from hotbunk.llama.guide import Guide
from hotbunk.llama.lib import Pointer, Size, api, bind, llama
from hotbunk.llama.model import Model
from hotbunk.sampling import Sampling

__all__ = ["Sampler", "likeliest", "logprobs"]

_chain = bind(llama, "llama_sampler_chain_init", Pointer, api.llama_sampler_chain_params)
_init_penalties = bind(llama, "llama_sampler_init_penalties", Pointer, C.c_int32, C.c_int32, *[C.c_float] * 3)
_top_k = bind(llama, "llama_sampler_init_top_k", Pointer, C.c_int32)
_top_p = bind(llama, "llama_sampler_init_top_p", Pointer, C.c_float, Size)
_min_p = bind(llama, "llama_sampler_init_min_p", Pointer, C.c_float, Size)
_temperature = bind(llama, "llama_sampler_init_temp", Pointer, C.c_float)
_most_likely = bind(llama, "llama_sampler_init_greedy", Pointer)
_dist = bind(llama, "llama_sampler_init_dist", Pointer, C.c_uint32)
_add = bind(llama, "llama_sampler_chain_add", None, Pointer, Pointer)
_remove = bind(llama, "llama_sampler_chain_remove", Pointer, Pointer, C.c_int32)
_free = bind(llama, "llama_sampler_free", None, Pointer)
_accept = bind(llama, "llama_sampler_accept", None, Pointer, C.c_int32)

_MASK = (1 << 64) - 1
_BLOCK = 128  # logits that are looked at as one to find the likeliest


class Sampler:
    """Draws the tokens of one sequence; one rebuilt from ``generated`` goes on exactly as the living one would.

    In the order applied: logit bias; ``repeat_penalty`` over the last tokens, the prompt's included; presence and
    frequency penalties over the generated tokens (at most as many as the model's trained context); top k; top p; min
    p; temperature; the draw. With a grammar the token is first drawn without it and, if refused, drawn again among
    those that it allows.
    """

    def __init__(self, sampling: Sampling, model: Model, prompt: Sequence[int], generated: Sequence[int]) -> None:
        """Build the chain and let it accept what was generated already.

        Raises:
            BadRequest: the grammar, a biased token or a penalty is not valid, or the grammar refuses ``generated``.
        """
        self._seed, self._drawn = sampling.seed, len(generated)
        self._greedy = sampling.temperature < 1e-6  # logits divided by a smaller one may overflow
        self._biased, self._biases = _biases(sampling.logit_bias, model.vocabulary)
        self._grammar = _grammar(sampling.grammar, model, generated)
        try:
            penalties = _penalties(sampling, model, prompt, generated)
        except BadRequest:
            self._close_grammar()
            raise
        # of so many of the likeliest tokens one is drawn; 0: it may be any, once penalties are applied
        self._few = 0 if penalties else 1 if self._greedy else sampling.top_k
        stages = penalties + ([] if self._greedy else _narrowing(sampling))
        self._chain = _chain(api.llama_sampler_chain_default_params())
        self._last = len(stages)  # place of the stage that draws
        for stage in [*stages, _most_likely() if self._greedy else _dist(0)]:
            _add(self._chain, stage)

    def sample(self, context: Context, index: int) -> int:
        """Draw the next token from the logits at ``index`` of the last evaluation, and accept it.

        Raises:
            EngineError: the grammar allows no token of the vocabulary.
        """
        logits = context.logits(index)
        with self._moved(logits):
            token = self._draw(logits)
            if self._grammar:
                if not self._grammar.allows(token):
                    token = self._allowed(logits, self._grammar)
                self._grammar.accept(token)
        _accept(self._chain, token)
        self._drawn += 1
        return token

    def close(self) -> None:
        """Free the chain; harmless when already closed."""
        if self._chain:
            _free(self._chain)
            self._chain = None
        self._close_grammar()

    @contextmanager
    def _moved(self, logits: NDArray[np.float32]) -> Iterator[None]:
        """Meanwhile the logits are those with the biases."""
        kept = logits[self._biased]
        logits[self._biased] = kept + self._biases
        try:
            yield
        finally:
            logits[self._biased] = kept

    def _draw(self, logits: NDArray[np.float32]) -> int:
        """A token, whatever the grammar says of it."""
        if self._few == 1:
            return int(logits.argmax())
        self._reseed()
        if self._few:
            tokens = likeliest(logits, self._few)
            return Candidates(logits[tokens], tokens).choose(self._chain)[0]
        return Candidates(logits).choose(self._chain)[0]

    def _allowed(self, logits: NDArray[np.float32], grammar: Grammar | Guide) -> int:
        """One of the tokens that the grammar allows."""
        self._reseed()  # both draws are the same function of the seed
        candidates = Candidates(logits)
        grammar.narrow(candidates)
        token, logit = candidates.choose(self._chain)
        if logit == -np.inf:
            raise EngineError("the grammar allows no token of the vocabulary here")
        return token

    def _reseed(self) -> None:
        """Put a fresh generator at the end of the chain, so that the draw depends on nothing drawn before."""
        if not self._greedy:
            _free(_remove(self._chain, self._last))
            _add(self._chain, _dist(_hash(self._seed, self._drawn)))

    def _close_grammar(self) -> None:
        if self._grammar:
            self._grammar.close()
            self._grammar = None


def _grammar(text: str | None, model: Model, generated: Sequence[int]) -> Grammar | Guide | None:
    if not text:
        return None
    return (Guide if Guide.knows(text) else Grammar)(model.vocab, text, generated)


def likeliest(logits: NDArray[np.float32], count: int) -> NDArray[np.intp]:
    """The ``count`` likeliest tokens, in their order, and all that are as likely as the last of them or nearly so.

    That many blocks have a largest logit of at least ``bound``, so it takes no look at the others to find all tokens
    that reach it. To have libllama find them it would have to be given a copy of all (``benchmarks/beside.py``).
    """
    whole = logits.size // _BLOCK
    if whole <= count:
        return np.arange(logits.size)
    table = logits[: whole * _BLOCK].reshape(whole, _BLOCK)
    largest = table.max(axis=1)
    bound = np.partition(largest, whole - count)[whole - count]
    if np.isnan(bound):  # a broken model's: nothing reaches that
        return np.arange(logits.size)
    blocks = np.flatnonzero(largest >= bound)
    rows, columns = np.nonzero(table[blocks] >= bound)
    rest = np.flatnonzero(logits[whole * _BLOCK :] >= bound) + whole * _BLOCK
    return np.concatenate([blocks[rows] * _BLOCK + columns, rest])


def logprobs(logits: NDArray[np.float32], token: int, count: int) -> tuple[float, list[tuple[int, float]]]:
    """Natural log-probability of ``token``, and the ``count`` likeliest tokens with theirs, from unmodified logits."""
    peak = logits.max()
    total = float(peak) + float(np.log(np.exp(logits - peak, dtype=np.float32).sum(dtype=np.float64)))
    count = min(count, logits.size)
    top = np.argpartition(logits, -count)[-count:] if count else np.empty(0, np.intp)
    order = sorted(top.tolist(), key=lambda other: (-float(logits[other]), other))
    return float(logits[token]) - total, [(other, float(logits[other]) - total) for other in order]


def _penalties(sampling: Sampling, model: Model, prompt: Sequence[int], generated: Sequence[int]) -> list[int]:
    """The stages that penalise, having accepted what there is; none where they would do nothing."""
    if not sampling.repeat_penalty > 0:
        raise BadRequest(f"repeat_penalty must be above 0, not {sampling.repeat_penalty}", "repeat_penalty")
    stages = []
    window = sampling.repeat_last_n if 0 <= sampling.repeat_last_n < model.trained else model.trained
    if sampling.repeat_penalty != 1 and window:
        recent = [*prompt, *generated][-window:]
        stages.append(_penalty(model.vocabulary, window, (sampling.repeat_penalty, 0, 0), recent))
    if sampling.frequency_penalty or sampling.presence_penalty:
        strengths = (1, sampling.frequency_penalty, sampling.presence_penalty)
        stages.append(_penalty(model.vocabulary, model.trained, strengths, generated))
    return stages


def _narrowing(sampling: Sampling) -> list[int]:
    stages = []
    if sampling.top_k > 0:
        stages.append(_top_k(sampling.top_k))
    if sampling.top_p < 1:
        stages.append(_top_p(sampling.top_p, 1))
    if sampling.min_p > 0:
        stages.append(_min_p(sampling.min_p, 1))
    if sampling.temperature != 1:
        stages.append(_temperature(sampling.temperature))
    return stages


def _biases(biases: dict[int, float], vocabulary: int) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """The tokens, and what is added to their logits."""
    for token in biases:
        if not 0 <= token < vocabulary:
            raise BadRequest(
                f"logit_bias names token {token}; this model has tokens 0 to {vocabulary - 1}", "logit_bias"
            )
    return np.array([*biases], np.intp), np.array([*biases.values()], np.float32)


def _penalty(vocabulary: int, window: int, strengths: tuple[float, float, float], tokens: Sequence[int]) -> int:
    """Penalise by (repeat, frequency, presence) over a window that holds ``tokens`` already."""
    stage = int(_init_penalties(vocabulary, window, *strengths))
    for token in tokens:
        _accept(stage, token)
    return stage


def _hash(seed: int, n: int) -> int:
    """Mix seed and n (splitmix64); 31 bits, since all ones would mean a random seed to libllama."""
    x = (seed * 0x9E3779B97F4A7C15 + n * 0xD1B54A32D192ED03 + 0x632BE59BD9B4E019) & _MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _MASK
    return (x ^ (x >> 31)) & 0x7FFFFFFF
