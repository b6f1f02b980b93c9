"""The two shapes an answer can have in the OpenAI API: that of a chat and that of a completion."""

from typing import Any, Protocol

from hotbunk.gateway.text import Delta
from hotbunk.llama.vocab import Vocab

_LEAST = -9999.0  # OpenAI's stand-in for a probability of nothing, which JSON cannot write as a logarithm


class Shape(Protocol):
    """How an answer is written: the names of its objects and the fields of each choice."""

    prefix: str
    whole: str
    chunk: str

    def opening(self, echo: str) -> dict[str, Any] | None:
        """Fields of a choice's first chunk; None if it needs none. ``echo`` is the prompt to give back."""

    def piece(self, text: str) -> dict[str, Any]:
        """Fields of a later chunk; with no text, of the last."""

    def message(self, text: str) -> dict[str, Any]:
        """Fields of a complete choice."""

    def logprobs(self, delta: Delta) -> dict[str, Any] | None:
        """Log-probabilities of the tokens in ``delta``; None if none were asked for."""


class Chat:
    """``chat.completion`` and its chunks."""

    prefix, whole, chunk = "chatcmpl", "chat.completion", "chat.completion.chunk"

    def __init__(self, vocab: Vocab, logprobs: bool) -> None:
        """``logprobs`` tells whether they were asked for."""
        self._vocab, self._logprobs = vocab, logprobs

    def opening(self, echo: str) -> dict[str, Any] | None:
        """The role."""
        return {"delta": {"role": "assistant", "content": ""}}

    def piece(self, text: str) -> dict[str, Any]:
        """More content."""
        return {"delta": {"content": text} if text else {}}

    def message(self, text: str) -> dict[str, Any]:
        """The whole message."""
        return {"message": {"role": "assistant", "content": text}}

    def logprobs(self, delta: Delta) -> dict[str, Any] | None:
        """One entry for each token, with its bytes and its rivals."""
        if not self._logprobs:
            return None
        content = [
            self._entry(token.token, token.logprob)
            | {"top_logprobs": [self._entry(other, logprob) for other, logprob in token.top or []]}
            for token, _ in delta.tokens
        ]
        return {"content": content, "refusal": None}

    def _entry(self, token: int, logprob: float | None) -> dict[str, Any]:
        data = self._vocab.piece(token, special=True)
        return {"token": data.decode(errors="replace"), "logprob": _finite(logprob), "bytes": list(data)}


class Completion:
    """``text_completion``, whole and in chunks."""

    prefix, whole, chunk = "cmpl", "text_completion", "text_completion"

    def __init__(self, vocab: Vocab, logprobs: bool) -> None:
        """``logprobs`` tells whether they were asked for."""
        self._vocab, self._logprobs = vocab, logprobs

    def opening(self, echo: str) -> dict[str, Any] | None:
        """The echo."""
        return {"text": echo} if echo else None

    def piece(self, text: str) -> dict[str, Any]:
        """More text."""
        return {"text": text}

    def message(self, text: str) -> dict[str, Any]:
        """The whole text."""
        return {"text": text}

    def logprobs(self, delta: Delta) -> dict[str, Any] | None:
        """Four parallel lists over the tokens."""
        if not self._logprobs:
            return None
        return {
            "tokens": [self._token(token.token) for token, _ in delta.tokens],
            "token_logprobs": [_finite(token.logprob) for token, _ in delta.tokens],
            "top_logprobs": [self._rivals(token.top or []) for token, _ in delta.tokens],
            "text_offset": [start for _, start in delta.tokens],
        }

    def _rivals(self, top: list[tuple[int, float]]) -> dict[str, float | None]:
        rivals: dict[str, float | None] = {}
        for token, logprob in top:  # the likeliest comes first, and counts where others are written alike
            rivals.setdefault(self._token(token), _finite(logprob))
        return rivals

    def _token(self, token: int) -> str:
        data = self._vocab.piece(token, special=True)
        try:
            return data.decode()
        except UnicodeDecodeError:  # part of a character, which OpenAI writes like this
            return "bytes:" + data.decode("ascii", "backslashreplace")


def _finite(logprob: float | None) -> float | None:
    return None if logprob is None else max(logprob, _LEAST)
