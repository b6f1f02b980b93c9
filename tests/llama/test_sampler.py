"""The next token is a function of logits, tokens and settings, and of nothing else."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hotbunk.errors import BadRequest, EngineError
from hotbunk.llama.context import Context
from hotbunk.llama.device import open_device
from hotbunk.llama.guide import of_schema
from hotbunk.llama.model import Model
from hotbunk.llama.sampler import Sampler, likeliest, logprobs
from hotbunk.sampling import Sampling

from .answers import PROMPT

GRAMMAR = 'root ::= "{\\"name\\": \\"" [a-z]{2,9} "\\", \\"age\\": " [1-9] [0-9]? "}"'
SCHEMA = of_schema({"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]}, strict=True)
WAYS = [
    Sampling(temperature=0),
    Sampling(seed=7),
    Sampling(temperature=1.5, top_k=0, top_p=1, min_p=0, seed=-3),
    Sampling(temperature=0, repeat_penalty=1.4, repeat_last_n=8),
    Sampling(seed=1, repeat_penalty=1.2, repeat_last_n=-1, presence_penalty=0.5, frequency_penalty=0.7),
    Sampling(seed=2**63, logit_bias={260: 4.0, 198: -100.0}),
    Sampling(temperature=0, grammar=GRAMMAR),
    Sampling(seed=11, grammar=GRAMMAR, frequency_penalty=0.3),
    Sampling(temperature=0, grammar=SCHEMA),
    Sampling(seed=11, grammar=SCHEMA, frequency_penalty=0.3),
]


@pytest.fixture(scope="module")
def model(smollm2: Path) -> Iterator[Model]:
    opened = Model(smollm2, open_device("cpu"), 1)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def context(model: Model) -> Context:
    return model.context(256, 1)


def _generate(model: Model, context: Context, sampling: Sampling, count: int, rebuild: bool = False) -> list[int]:
    context.clear(0)
    context.prefill(0, 0, PROMPT, output=True)
    tokens: list[int] = []
    sampler = Sampler(sampling, model, PROMPT, [])
    while len(tokens) < count:
        if rebuild:
            sampler.close()
            sampler = Sampler(sampling, model, PROMPT, tokens)
        tokens.append(sampler.sample(context, -1))
        if tokens[-1] in (0, 2):  # end of text, of message
            break
        context.decode([(tokens[-1], len(PROMPT) + len(tokens) - 1, 0)])
    sampler.close()
    return tokens


@pytest.mark.parametrize("sampling", WAYS)
def test_a_sampler_rebuilt_at_each_token_draws_the_same(model: Model, context: Context, sampling: Sampling) -> None:
    living = _generate(model, context, sampling, 16)
    assert _generate(model, context, sampling, 16, rebuild=True) == living
    assert _generate(model, context, sampling, 16) == living


def test_seeds_differ(model: Model, context: Context) -> None:
    answers = {tuple(_generate(model, context, Sampling(temperature=1.2, seed=seed), 6)) for seed in range(5)}
    assert len(answers) > 1


def test_greedy_takes_the_likeliest(model: Model, context: Context) -> None:
    context.clear(0)
    context.prefill(0, 0, PROMPT, output=True)
    likeliest = int(context.logits(-1).argmax())
    assert Sampler(Sampling(temperature=0), model, PROMPT, []).sample(context, -1) == likeliest
    for cold in (1e-40, 1e-38, 1e-7):
        sampling = Sampling(temperature=cold, top_k=0, top_p=1, min_p=0, seed=1)
        assert Sampler(sampling, model, PROMPT, []).sample(context, -1) == likeliest
    banned = Sampling(temperature=0, logit_bias={likeliest: -100.0})
    assert Sampler(banned, model, PROMPT, []).sample(context, -1) != likeliest
    assert Sampler(Sampling(top_k=1), model, PROMPT, []).sample(context, -1) == likeliest


def test_biases_are_gone_from_the_logits_when_the_token_is_drawn(model: Model, context: Context) -> None:
    context.clear(0)
    context.prefill(0, 0, PROMPT, output=True)
    before = context.logits(-1).copy()
    for sampling in (Sampling(temperature=0, logit_bias={7: 100.0}), Sampling(logit_bias={7: 100.0, 8: -np.inf})):
        assert Sampler(sampling, model, PROMPT, []).sample(context, -1) == 7
        assert np.array_equal(context.logits(-1), before)


def test_one_of_the_likeliest_is_drawn_as_if_all_had_been_looked_at(model: Model, context: Context) -> None:
    context.clear(0)
    context.prefill(0, 0, PROMPT, output=True)

    def draws(penalty: float) -> list[int]:
        ways = [Sampling(temperature=1.5, top_k=20, min_p=0, seed=seed, repeat_penalty=penalty) for seed in range(40)]
        return [Sampler(each, model, PROMPT, []).sample(context, -1) for each in ways]

    few = draws(1.0)
    assert few == draws(1 + 1e-9)  # a penalty of nothing, for which all tokens are looked at
    assert len(set(few)) > 3


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 3000), st.integers(1, 60), st.integers(1, 50), st.integers(0, 2**32 - 1))
def test_the_likeliest_are_found(size: int, count: int, steps: int, seed: int) -> None:
    logits = np.random.default_rng(seed).integers(-steps, steps, size).astype(np.float32)  # many are the same
    found = likeliest(logits, count)
    assert sorted(found) == sorted(set(found))
    least = np.sort(logits)[-min(count, size)]
    assert set(np.flatnonzero(logits >= least)) <= set(found)


def test_of_logits_that_are_no_numbers_there_are_no_likeliest() -> None:
    broken = np.full(10_000, np.nan, np.float32)
    assert likeliest(broken, 40).size == broken.size


def test_penalties_know_whose_tokens_they_count(model: Model, context: Context) -> None:
    context.clear(0)
    context.prefill(0, 0, PROMPT, output=True)
    likeliest = int(context.logits(-1).argmax())

    def draw(prompt: list[int], generated: list[int], sampling: Sampling) -> int:
        return Sampler(sampling, model, prompt, generated).sample(context, -1)

    presence = Sampling(temperature=0, presence_penalty=100.0)
    assert draw([likeliest], [], presence) == likeliest
    assert draw([], [likeliest], presence) != likeliest
    repeat = Sampling(temperature=0, repeat_penalty=100.0, repeat_last_n=2)
    assert draw([likeliest, 5], [], repeat) != likeliest
    assert draw([likeliest, 5, 5], [], repeat) == likeliest
    assert draw([likeliest], [5, 5], repeat) == likeliest


@pytest.mark.parametrize("grammar", ['root ::= "yes" | "no"', of_schema({"enum": [True, False]}, strict=True)])
def test_a_grammar_is_kept_to(model: Model, context: Context, grammar: str) -> None:
    tokens = _generate(model, context, Sampling(seed=4, temperature=1.0, grammar=grammar), 12)
    assert tokens[-1] in (0, 2)
    assert 1 < len(tokens) < 5


@pytest.mark.parametrize(
    ("grammar", "reason"),
    [
        ("root ::= foo", "Undefined rule identifier 'foo'"),
        ('answer ::= "a"', "does not contain a 'root' symbol"),
        ('root ::= root "a"', "left recursion"),
        ("root ::= (", r"expecting '\)'"),
        (of_schema({"type": "thing"}, strict=True), "Invalid type: thing"),
    ],
)
def test_a_bad_grammar_is_refused_with_the_reason(model: Model, grammar: str, reason: str) -> None:
    with pytest.raises(BadRequest, match=f"the grammar is not valid: .*{reason}") as refusal:
        Sampler(Sampling(grammar=grammar), model, [], [])
    assert refusal.value.param == "grammar"


def test_other_bad_settings_are_refused(model: Model) -> None:
    with pytest.raises(BadRequest, match="token 49152; this model has tokens 0 to 49151"):
        Sampler(Sampling(logit_bias={49152: 1.0}), model, [], [])
    with pytest.raises(BadRequest, match="repeat_penalty must be above 0, not 0"):
        Sampler(Sampling(repeat_penalty=0), model, [], [])
    for grammar in ('root ::= "a"', of_schema({"const": True}, strict=True)):
        with pytest.raises(BadRequest, match=r"generated token 0 \(260\) does not fit the grammar"):
            Sampler(Sampling(grammar=grammar), model, [], [260])


def test_a_grammar_without_a_way_on_is_an_error(model: Model, context: Context) -> None:
    context.clear(0)
    context.prefill(0, 0, PROMPT, output=True)
    sampler = Sampler(
        Sampling(grammar='root ::= "\\x01\\x02\\x03"', logit_bias=dict.fromkeys(range(49152), -np.inf)), model, [], []
    )
    with pytest.raises(EngineError, match="allows no token"):
        sampler.sample(context, -1)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(-50, 50, width=32), min_size=1, max_size=40), st.data())
def test_logprobs_are_a_log_softmax(values: list[float], data: st.DataObject) -> None:
    logits = np.array(values, np.float32)
    token = data.draw(st.integers(0, len(values) - 1))
    count = data.draw(st.integers(0, 45))
    exact = logits.astype(np.float64) - np.log(np.exp(logits.astype(np.float64)).sum())
    chosen, top = logprobs(logits, token, count)
    assert chosen == pytest.approx(exact[token], abs=1e-4)
    assert len(top) == min(count, len(values))
    assert [value for _, value in top] == pytest.approx(sorted(exact, reverse=True)[:count], abs=1e-4)
    assert all(value == pytest.approx(exact[other], abs=1e-4) for other, value in top)
