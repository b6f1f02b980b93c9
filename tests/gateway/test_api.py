"""The API as OpenAI's own client sees it, over a real server."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import openai
import pytest

from hotbunk.gateway import grammar
from hotbunk.llama.guide import Guide
from hotbunk.llama.vocab import Vocab
from tests.gateway.fake import CONTEXT, Fake

HELLO: Any = [{"role": "user", "content": "Hello"}]


@pytest.fixture
def client(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture
def web(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url) as web:
        yield web


def test_chat(client: openai.OpenAI, fake: Fake) -> None:
    answer = client.chat.completions.create(model="small", messages=HELLO)
    assert answer.model == "smol"
    assert answer.id.startswith("chatcmpl-")
    assert answer.choices[0].message.content == fake.text
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == len(fake.jobs[0].prompt)
    assert answer.usage.completion_tokens == len(fake.vocab.tokenize(str(fake.text), special=False, bos=False))
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_the_prompt_is_what_the_template_writes(client: openai.OpenAI, fake: Fake) -> None:
    client.chat.completions.create(model="smol", messages=HELLO)
    written = b"".join(fake.vocab.piece(token, special=True) for token in fake.jobs[0].prompt).decode()
    assert written.endswith("<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n")
    assert fake.jobs[0].stop_tokens == fake.vocab.end_tokens


def test_timings(client: openai.OpenAI, fake: Fake) -> None:
    answer = client.chat.completions.create(model="smol", messages=HELLO)
    timings = answer.model_extra and answer.model_extra["timings"]
    assert timings and timings["queued_ms"] == 1.0
    assert (timings["loading_ms"], timings["prefill_ms"], timings["preempted_ms"]) == (2.0, 3.0, 4.0)
    assert (timings["decode_ms"], timings["ttft_ms"], timings["preemptions"]) == (500.0, 6.0, 1)
    assert timings["total_ms"] > 0
    assert timings["predicted_per_second"] == timings["predicted_n"] / 0.5


@pytest.mark.parametrize("usage", [False, True])
def test_chat_streamed(client: openai.OpenAI, fake: Fake, usage: bool) -> None:
    options: Any = {"stream_options": {"include_usage": True}} if usage else {}
    chunks = list(client.chat.completions.create(model="smol", messages=HELLO, stream=True, **options))
    assert len({chunk.id for chunk in chunks}) == 1
    choices = [chunk.choices[0] for chunk in chunks if chunk.choices]
    assert choices[0].delta.role == "assistant"
    assert "".join(choice.delta.content or "" for choice in choices) == fake.text
    assert [choice.finish_reason for choice in choices if choice.finish_reason] == ["stop"]
    assert [bool(chunk.usage) for chunk in chunks] == [False] * (len(chunks) - 1) + [usage]
    carriers = ["timings" in (chunk.model_extra or {}) for chunk in chunks]
    assert carriers == [False] * (len(chunks) - 1) + [True]


def test_a_stream_is_made_of_server_sent_events(web: httpx.Client, fake: Fake) -> None:
    with web.stream("POST", "/v1/completions", json={"model": "smol", "prompt": "x", "stream": True}) as answer:
        lines = [line for line in answer.iter_lines() if line]
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert all(line.startswith("data: ") for line in lines)
    assert lines[-1] == "data: [DONE]"


@pytest.mark.anyio
async def test_characters_split_over_tokens(url: str, fake: Fake) -> None:
    fake.text = "Grüße 🏠".encode()
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none") as client:
        stream = await client.chat.completions.create(model="smol", messages=HELLO, stream=True)
        texts = [chunk.choices[0].delta.content or "" async for chunk in stream]
    assert "".join(texts) == "Grüße 🏠"
    assert "🏠" in texts


@pytest.mark.anyio
async def test_many_at_once(url: str, fake: Fake) -> None:
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none") as client:

        async def ask() -> str | None:
            answer = await client.chat.completions.create(model="smol", messages=HELLO)
            return answer.choices[0].message.content

        assert await asyncio.gather(*(ask() for _ in range(20))) == [fake.text] * 20


def test_completion(client: openai.OpenAI, fake: Fake) -> None:
    fake.text = "one two three"
    answer = client.completions.create(model="smol", prompt="Count:", echo=True)
    assert answer.object == "text_completion"
    assert answer.choices[0].text == "Count:one two three"
    assert fake.jobs[0].max_tokens == 16
    assert fake.jobs[0].prompt == fake.vocab.tokenize("Count:", special=True, bos=False)


def test_completion_streamed_with_echo(client: openai.OpenAI, fake: Fake) -> None:
    fake.text = "one two three"
    chunks = list(client.completions.create(model="smol", prompt="Count:", echo=True, stream=True))
    assert "".join(chunk.choices[0].text for chunk in chunks) == "Count:one two three"


def test_prompts_in_lists_and_in_tokens(client: openai.OpenAI, fake: Fake) -> None:
    answer = client.completions.create(model="smol", prompt=["a", "b b"], n=2, echo=True, seed=5)
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    assert [choice.text.removesuffix(str(fake.text)) for choice in answer.choices] == ["a", "a", "b b", "b b"]
    assert [job.sampling.seed for job in fake.jobs] == [5, 6, 5, 6]
    assert answer.usage and answer.usage.prompt_tokens == len(fake.jobs[0].prompt) + len(fake.jobs[2].prompt)
    client.completions.create(model="smol", prompt=[[1, 2, 3]])
    assert fake.jobs[-1].prompt == [1, 2, 3]


def test_an_empty_prompt_is_the_beginning_of_a_text(client: openai.OpenAI, fake: Fake) -> None:
    client.completions.create(model="smol", prompt="")
    assert fake.jobs[0].prompt == [fake.vocab.bos]


def test_several_choices(client: openai.OpenAI, fake: Fake) -> None:
    answer = client.chat.completions.create(model="smol", messages=HELLO, n=3, seed=(1 << 63) - 1)
    assert [choice.message.content for choice in answer.choices] == [fake.text] * 3
    assert [job.sampling.seed for job in fake.jobs] == [(1 << 63) - 1, 0, 1]
    assert answer.usage and answer.usage.prompt_tokens == len(fake.jobs[0].prompt)


def test_several_choices_streamed(client: openai.OpenAI, fake: Fake) -> None:
    texts, reasons = ["", "", ""], []
    for chunk in client.chat.completions.create(model="smol", messages=HELLO, n=3, stream=True):
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
            reasons += [choice.finish_reason] if choice.finish_reason else []
    assert texts == [fake.text] * 3
    assert reasons == ["stop"] * 3


@pytest.mark.parametrize("stream", [False, True])
def test_stop_strings_end_the_answer_and_the_generation(web: httpx.Client, fake: Fake, stream: bool) -> None:
    fake.text, fake.hang = "one two three four five", True
    body = {"model": "smol", "prompt": "x", "stop": ["e f", "nine"], "max_tokens": 50, "stream": stream}
    answer = web.post("/v1/completions", json=body)
    assert fake.started.get_nowait().cancelled.is_set()
    if stream:
        events = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: {")]
        assert "".join(event["choices"][0]["text"] for event in events) == "one two thre"
        assert events[-1]["choices"][0]["finish_reason"] == "stop"
    else:
        assert answer.json()["choices"][0]["text"] == "one two thre"
        assert answer.json()["choices"][0]["finish_reason"] == "stop"


def test_max_tokens_ends_it_and_is_clipped_to_the_context(client: openai.OpenAI, fake: Fake) -> None:
    answer = client.chat.completions.create(model="smol", messages=HELLO, max_completion_tokens=3)
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage and answer.usage.completion_tokens == 3
    client.chat.completions.create(model="smol", messages=HELLO, max_tokens=10**6)
    assert fake.jobs[1].max_tokens == CONTEXT - len(fake.jobs[1].prompt)


def test_without_a_limit_an_answer_may_fill_the_context(client: openai.OpenAI, fake: Fake) -> None:
    client.completions.create(model="smol", prompt=[1, 2, 3], max_tokens=-1)
    assert fake.jobs[0].max_tokens == CONTEXT - 3


def test_sampling_takes_the_models_defaults_and_then_the_request(web: httpx.Client, fake: Fake) -> None:
    body: dict[str, Any] = {"model": "smol", "messages": HELLO}
    asked = {"top_p": 0.5, "top_k": -1, "min_p": 0.1, "presence_penalty": 1, "repetition_penalty": 1.1, "seed": 7}
    web.post("/v1/chat/completions", json=body)
    web.post("/v1/chat/completions", json=body)
    web.post("/v1/chat/completions", json=body | asked | {"temperature": 0, "logit_bias": {"5": -100}})
    plain, other, full = (job.sampling for job in fake.jobs)
    assert plain.temperature == 0.25
    assert plain.seed != other.seed
    assert (full.temperature, full.top_p, full.top_k, full.min_p) == (0, 0.5, 0, 0.1)
    assert (full.presence_penalty, full.repeat_penalty, full.seed) == (1, 1.1, 7)
    assert full.logit_bias == {5: -100.0}


def test_ignore_eos(web: httpx.Client, fake: Fake) -> None:
    web.post("/v1/completions", json={"model": "smol", "prompt": "x", "ignore_eos": True})
    assert fake.jobs[0].stop_tokens == []
    assert fake.jobs[0].sampling.logit_bias == dict.fromkeys(fake.vocab.end_tokens, float("-inf"))


@pytest.mark.parametrize(
    "form",
    [
        {"type": "json_object"},
        {"type": "json_object", "schema": {"type": "object", "properties": {"a": {}}, "required": ["a"]}},
        {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object", "properties": {}}}},
    ],
)
def test_response_format_is_what_holds_the_answer(client: openai.OpenAI, fake: Fake, form: Any) -> None:
    client.chat.completions.create(model="smol", messages=HELLO, response_format=form)
    written = fake.jobs[0].sampling.grammar
    assert written is not None and Guide.knows(written)
    [brace, other] = (fake.vocab.tokenize(text, special=False, bos=False)[0] for text in "{x")
    held = Guide(fake.vocab, written, [])
    assert held.allows(brace) and not held.allows(other)


@pytest.mark.parametrize(
    ("work", "fields"),
    [("check", {"grammar": 'root ::= "a"'}), ("from_schema", {"response_format": {"type": "json_object"}})],
)
def test_no_grammar_is_dealt_with_on_the_event_loop(
    web: httpx.Client, monkeypatch: pytest.MonkeyPatch, work: str, fields: dict[str, Any]
) -> None:
    threads = []
    monkeypatch.setattr(grammar, work, lambda *_: threads.append(threading.current_thread().name))
    web.post("/v1/completions", json={"model": "smol", "prompt": "x"} | fields)
    assert len(threads) == 1 and threads[0].startswith("text")


def test_chat_logprobs(client: openai.OpenAI, fake: Fake, vocab: Vocab) -> None:
    answer = client.chat.completions.create(model="smol", messages=HELLO, logprobs=True, top_logprobs=2)
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None and logprobs.content is not None
    content = logprobs.content
    assert b"".join(bytes(entry.bytes or []) for entry in content).decode() == fake.text
    assert content[0].logprob == -0.5
    assert [top.logprob for top in content[0].top_logprobs] == [-0.5, -9999.0]
    assert content[0].top_logprobs[1].token == "<|im_end|>"
    assert fake.jobs[0].logprobs == 2


def test_chat_logprobs_streamed_are_those_of_the_text(client: openai.OpenAI, fake: Fake) -> None:
    fake.text = "one two three four five"
    data = b""
    stream = client.chat.completions.create(model="smol", messages=HELLO, logprobs=True, stop=" four", stream=True)
    for chunk in stream:
        logprobs = chunk.choices[0].logprobs
        data += b"".join(bytes(entry.bytes or []) for entry in (logprobs and logprobs.content) or [])
    assert data == b"one two three"
    assert fake.jobs[0].logprobs == 0


def test_completion_logprobs(client: openai.OpenAI, fake: Fake) -> None:
    fake.text = "one two"
    logprobs = client.completions.create(model="smol", prompt="x", logprobs=1).choices[0].logprobs
    assert logprobs is not None
    assert logprobs.tokens and "".join(logprobs.tokens) == "one two"
    assert logprobs.token_logprobs == [-0.5] * len(logprobs.tokens)
    assert logprobs.top_logprobs == [{token: -0.5} for token in logprobs.tokens]
    assert logprobs.text_offset == [0, 3]


def test_models(client: openai.OpenAI, fake: Fake) -> None:
    models = list(client.models.list())
    assert [model.id for model in models] == ["smol", "broken", "absent"]
    assert models[1].model_extra and "truncated" in models[1].model_extra["problem"]
    assert client.models.retrieve("small").id == "smol"
    assert client.models.retrieve("broken").id == "broken"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("none")


def test_health_and_state(web: httpx.Client, fake: Fake) -> None:
    assert web.get("/healthz").json() == {"status": "ok"}
    assert web.get("/api/state").json() == fake.state()


@pytest.mark.parametrize("path", ["/healthz", "/metrics", "/api/state", "/v1/models", "/v1/models/smol"])
def test_what_can_be_read_can_be_asked_for_without_its_body(web: httpx.Client, fake: Fake, path: str) -> None:
    answer = web.head(path)
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-type"] == web.get(path).headers["content-type"]


def test_load_and_unload(web: httpx.Client, fake: Fake) -> None:
    assert web.post("/api/models/small/load", json={"layers": 3}).json() == {"model": "smol", "layers": 3}
    assert web.post("/api/models/smol/load").status_code == 200
    assert web.post("/api/models/smol/unload").json()["layers"] == 0
    assert fake.moves == [("load", "smol", 3), ("load", "smol", None), ("unload", "smol", None)]
    misspelt = web.post("/api/models/smol/load", json={"layrs": 3})
    assert misspelt.status_code == 400 and "layrs" in misspelt.json()["error"]["message"]
    assert len(fake.moves) == 3


def test_metrics(web: httpx.Client, fake: Fake) -> None:
    web.post("/v1/completions", json={"model": "smol", "prompt": "x"})
    web.post("/v1/completions", json={"model": "none", "prompt": "x"})
    answer = web.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    values = {
        line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in answer.text.splitlines() if line[0] != "#"
    }
    assert values['hotbunk_requests_total{model="smol",outcome="stop"}'] >= 1
    assert values['hotbunk_refused_total{status="404"}'] >= 1
    for name in ("ttft", "tpot", "queue_wait"):
        assert values[f'hotbunk_{name}_seconds_count{{model="smol"}}'] >= 1
    assert values['hotbunk_generated_tokens_total{model="smol"}'] >= 1
    assert values['hotbunk_prompt_tokens_total{model="smol"}'] >= 1
    assert values['hotbunk_queue_length{model="smol"}'] == 2
    assert values['hotbunk_residency_layers{model="smol"}'] == 31
    assert values['hotbunk_sequences{model="smol",state="running"}'] == 1
    assert values['hotbunk_device_budget_bytes{device="cpu"}'] == 1000
    assert values['hotbunk_bytes_moved_total{model="smol"}'] == 1200
    assert values['hotbunk_device_budget_configured_bytes{device="cpu"}'] == 1200
    assert values['hotbunk_device_foreign_bytes{device="cpu"}'] == 300
    assert 'hotbunk_device_free_bytes{device="cpu"}' not in values  # the driver does not tell
    assert values['hotbunk_stored_bytes{device="cpu",model="smol"}'] == 70
    assert values['hotbunk_stored_total_bytes{device="cpu",model="smol"}'] == 90
    assert values['hotbunk_tier_suspends_count_total{device="cpu",tier="pinned"}'] == 2
    assert values['hotbunk_device_computing_seconds_total{device="cpu"}'] == 1.5
    assert values['hotbunk_device_working_seconds_total{device="cpu"}'] == 2.5
    assert values['hotbunk_model_predicted_bytes{model="smol"}'] == 590
    assert values['hotbunk_cost_predicted_seconds_total{kind="decode",model="smol"}'] == 1.5
    assert values['hotbunk_cost_measured_seconds_total{kind="load",model="smol"}'] == 4.5
    assert values['hotbunk_cost_error{kind="decode",model="smol"}'] == 0.4
    assert values['hotbunk_cost_drift{kind="decode",model="smol"}'] == 1.75
    assert values['hotbunk_cost_drift{kind="load",model="smol"}'] == 1
    assert 'hotbunk_cost_drift{kind="pin",model="smol"}' not in values


@pytest.mark.parametrize("fields", [{"prompt": "x" * 9000}, {"prompt": "x", "grammar": "root ::= ("}])
def test_a_model_is_expected_before_its_request_is_complete(
    web: httpx.Client, fake: Fake, fields: dict[str, Any]
) -> None:
    assert web.post("/v1/completions", json={"model": "small"} | fields).status_code == 400
    assert fake.expected == ["smol"]
    assert not fake.jobs


def test_a_short_request_that_is_refused_moves_no_model(web: httpx.Client, fake: Fake) -> None:
    refused: list[Any] = [[5] * CONTEXT, [49152], [[]]]
    for prompt in refused:
        assert web.post("/v1/completions", json={"model": "smol", "prompt": prompt}).status_code == 400
    assert web.post("/v1/completions", json={"model": "smol", "prompt": "x"}).status_code == 200
    assert fake.expected == []


@pytest.mark.anyio
async def test_the_async_client_streams_completions(url: str, fake: Fake) -> None:
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none") as client:
        stream: AsyncIterator[Any] = await client.completions.create(model="smol", prompt="x", stream=True)
        assert "".join([chunk.choices[0].text async for chunk in stream]) == fake.text
