"""From requests to jobs, and the text that becomes their tokens."""

from typing import Any, cast

import pytest

from hotbunk.errors import BadRequest
from hotbunk.gateway import intake
from hotbunk.gateway.lexicon import Lexicon
from hotbunk.gateway.schema import CompletionRequest
from hotbunk.gateway.templates import Template
from hotbunk.llama.vocab import Vocab
from hotbunk.runtime.job import ModelInfo


class _Characters:
    """A vocabulary in which every character is a token: no text is too long for it."""

    def tokenize(self, text: str, *, special: bool, bos: bool) -> list[int]:
        return [0] * len(text)


def _seeds(vocab: Vocab, sampling: dict[str, float], **fields: Any) -> list[int]:
    info = ModelInfo("m", "", 512, 0, sampling=sampling)
    request = CompletionRequest(model="m", prompt=[5], n=2, **fields)
    jobs = intake.completion(request, info, Lexicon(vocab, Template("m", vocab))).jobs
    return [job.sampling.seed for job in jobs]


def test_the_seed_is_the_requests_or_the_configured_one_or_drawn(vocab: Vocab) -> None:
    assert _seeds(vocab, {"seed": 11}) == [11, 12]
    assert _seeds(vocab, {"seed": 11}, seed=7) == [7, 8]
    assert _seeds(vocab, {}) != _seeds(vocab, {})
    assert _seeds(vocab, {}, seed=-1) != _seeds(vocab, {}, seed=-1)


def test_a_text_may_be_long_but_no_run_in_it() -> None:
    lexicon = Lexicon(cast(Vocab, _Characters()), cast(Template, None))
    long = ("x" * 900_000 + " " * 900_000) * 3
    assert len(lexicon.tokenize(long, "prompt", special=False, bos=False)) == len(long)
    assert lexicon.tokenize("x" * 1_000_000 + " ", "prompt", special=False, bos=False)
    for run in ("x" * 1_000_001, "\n" * 1_000_001):
        with pytest.raises(BadRequest, match="1000000 characters in a row") as caught:
            lexicon.tokenize(f"a b{run} c", "prompt", special=False, bos=False)
        assert caught.value.param == "prompt"
