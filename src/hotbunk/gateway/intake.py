"""From a request to jobs: prompts as tokens, sampling with its defaults, and everything that can be refused early."""

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import cast

import msgspec

from hotbunk.errors import BadRequest
from hotbunk.gateway import grammar
from hotbunk.gateway.lexicon import Lexicon
from hotbunk.gateway.schema import MOST_CHOICES, ChatRequest, CompletionRequest, Request
from hotbunk.runtime.job import Job, ModelInfo
from hotbunk.sampling import Sampling

DEFAULT_TOKENS = 16
"""What ``/v1/completions`` generates when told nothing, as OpenAI's does."""


@dataclass(frozen=True, slots=True)
class Order:
    """The jobs of one request, one for each choice; ``prefix`` is what to echo before each choice's text.

    ``param`` is the field that asks for so many.
    """

    jobs: list[Job]
    prefix: list[str]
    stops: tuple[str, ...]
    prompt_tokens: int
    param: str = "n"


def chat(request: ChatRequest, info: ModelInfo, lexicon: Lexicon) -> Order:
    """The jobs of a chat request.

    Raises:
        BadRequest: anything in it that cannot be met.
    """
    messages = [message.plain() for message in request.messages]
    text = lexicon.template.render(messages, request.chat_template_kwargs or {})
    vocab = lexicon.vocab
    twice = vocab.adds_bos and text.startswith(vocab.piece(vocab.bos, special=True).decode(errors="replace"))
    prompt = lexicon.tokenize(text, "messages", special=True, bos=vocab.adds_bos and not twice)
    logprobs = (request.top_logprobs or 0) if request.logprobs else None
    limit = request.max_completion_tokens or request.max_tokens or info.context
    job = _job(request, info, lexicon, prompt, limit, logprobs, "messages")
    jobs = list(_choices(job, request.n or 1))
    return Order(jobs, [""] * len(jobs), (*request.stops, *lexicon.template.stops), len(prompt))


def completion(request: CompletionRequest, info: ModelInfo, lexicon: Lexicon) -> Order:
    """The jobs of a completion request: ``n`` for each of its prompts.

    Raises:
        BadRequest: anything in it that cannot be met.
    """
    jobs: list[Job] = []
    prefix: list[str] = []
    prompts, count = _prompts(request), request.n or 1
    if len(prompts) * count > MOST_CHOICES:
        raise BadRequest(f"{len(prompts)} prompts with n = {count} make more than {MOST_CHOICES} choices", "prompt")
    for prompt in prompts:
        tokens = _tokens(prompt, lexicon)
        limit = request.max_tokens or DEFAULT_TOKENS
        job = _job(request, info, lexicon, tokens, limit, request.logprobs, "prompt")
        jobs += _choices(job, count)
        prefix += [_text(prompt, lexicon) if request.echo else ""] * count
    param = "n" if len(prompts) == 1 else "prompt"
    return Order(jobs, prefix, request.stops, sum(len(job.prompt) for job in jobs[::count]), param)


def _prompts(request: CompletionRequest) -> list[str | list[int]]:
    given = request.prompt
    if isinstance(given, str):
        return [given]
    if isinstance(given[0], int):
        return [given]
    return cast(list[str | list[int]], given)


def _tokens(prompt: str | list[int], lexicon: Lexicon) -> list[int]:
    if not isinstance(prompt, str):
        return prompt
    vocab = lexicon.vocab
    tokens = lexicon.tokenize(prompt, "prompt", special=True, bos=vocab.adds_bos)
    return tokens or [vocab.bos] * (vocab.bos >= 0)


def _text(prompt: str | list[int], lexicon: Lexicon) -> str:
    if isinstance(prompt, str):
        return prompt
    return b"".join(map(lexicon.vocab.piece, prompt)).decode(errors="replace")


def _job(
    request: Request, info: ModelInfo, lexicon: Lexicon, prompt: list[int], limit: int, logprobs: int | None, param: str
) -> Job:
    _check_tokens(prompt, lexicon.vocab.size, param)
    if not prompt:
        raise BadRequest(f"{param} has no tokens; give at least one", param)
    room = info.context - len(prompt)
    if room < 1:
        raise BadRequest(
            f"the prompt has {len(prompt)} tokens, but the context of model {info.id!r} holds {info.context}, "
            "of which at least 1 is for the answer; shorten the prompt",
            param,
            "context_length_exceeded",
        )
    ends = [] if request.ignore_eos else lexicon.vocab.end_tokens
    return Job(info.id, prompt, _sampling(request, info, lexicon), min(limit, room), ends, logprobs)


def _choices(job: Job, count: int) -> Iterator[Job]:
    for index in range(count):
        yield replace(job, sampling=msgspec.structs.replace(job.sampling, seed=(job.sampling.seed + index) % (1 << 63)))


def _sampling(request: Request, info: ModelInfo, lexicon: Lexicon) -> Sampling:
    penalty = request.repeat_penalty if request.repeat_penalty is not None else request.repetition_penalty
    asked = {
        "temperature": request.temperature,
        "top_p": request.top_p,
        "top_k": None if request.top_k is None else max(request.top_k, 0),
        "min_p": request.min_p,
        "repeat_penalty": penalty,
        "repeat_last_n": request.repeat_last_n,
        "presence_penalty": request.presence_penalty,
        "frequency_penalty": request.frequency_penalty,
        "seed": None if request.seed is None else request.seed % (1 << 63),
        "logit_bias": _bias(request, lexicon),
        "grammar": _grammar(request, lexicon),
    }
    given = {field: value for field, value in asked.items() if value is not None}
    return msgspec.convert({"seed": random.getrandbits(32), **info.sampling, **given}, Sampling, strict=False)


def _bias(request: Request, lexicon: Lexicon) -> dict[int, float]:
    bias = dict(request.logit_bias or {})
    _check_tokens(list(bias), lexicon.vocab.size, "logit_bias")
    if request.ignore_eos:
        bias |= dict.fromkeys(lexicon.vocab.end_tokens, -math.inf)
    return bias


def _grammar(request: Request, lexicon: Lexicon) -> str | None:
    form, text = request.response_format, request.grammar or None
    if form is not None and form.type != "text":
        if text:
            raise BadRequest("grammar and response_format exclude each other; leave one out", "grammar")
        strict = form.json_schema.strict if form.json_schema else None
        schema = form.json_schema.schema_ if form.type == "json_schema" and form.json_schema else form.schema_
        text = grammar.from_schema(schema if schema is not None else {"type": "object"}, bool(strict))
    elif text:
        grammar.check(text, lexicon.vocab)
    if text and request.ignore_eos:
        raise BadRequest("ignore_eos excludes a grammar or schema, which says where the text ends", "ignore_eos")
    return text


def _check_tokens(tokens: list[int], size: int, param: str) -> None:
    if tokens and max(tokens) >= size:
        raise BadRequest(f"{param} has token {max(tokens)}, but the vocabulary ends at {size - 1}", param)
