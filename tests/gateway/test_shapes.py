"""How tokens are written beside an answer."""

from typing import cast

from hotbunk.gateway.shapes import Completion
from hotbunk.gateway.text import Delta
from hotbunk.llama.vocab import Vocab
from hotbunk.worker.protocol import Token


class _Pieces:
    """A vocabulary of these pieces."""

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = pieces

    def piece(self, token: int, *, special: bool) -> bytes:
        return self._pieces[token]


def test_each_rival_of_a_completions_token_has_its_own_probability() -> None:
    house = "🏠".encode()
    vocab = cast(Vocab, _Pieces(house[:2], house[2:], b" " + house[:3], house, b"a", b"a"))
    top = [(0, -0.25), (1, -1.5), (2, -2.0), (3, -2.5), (4, -3.0), (5, -3.5)]
    delta = Delta("", [(Token(0, 0, -0.25, top), 0), (Token(0, 3, -2.5, top[:1]), 0)])
    logprobs = Completion(vocab, True).logprobs(delta)
    assert logprobs is not None
    assert logprobs["tokens"] == ["bytes:\\xf0\\x9f", "🏠"]
    rivals, few = logprobs["top_logprobs"]
    assert next(iter(rivals)) == "bytes:\\xf0\\x9f"
    assert rivals == {
        "bytes:\\xf0\\x9f": -0.25,
        "bytes:\\x8f\\xa0": -1.5,
        "bytes: \\xf0\\x9f\\x8f": -2.0,
        "🏠": -2.5,
        "a": -3.0,
    }
    assert few == {"bytes:\\xf0\\x9f": -0.25}
