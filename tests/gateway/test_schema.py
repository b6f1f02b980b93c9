"""Requests: what is taken, and what every wrong one is told."""

import json
import tracemalloc
from typing import Any

import pytest
from openai.types.chat import ChatCompletionMessage

from hotbunk.errors import BadRequest
from hotbunk.gateway.schema import ChatRequest, CompletionRequest, parse

HELLO = {"role": "user", "content": "Hello"}


def _chat(**fields: Any) -> ChatRequest:
    return parse(ChatRequest, json.dumps({"model": "m", "messages": [HELLO]} | fields).encode())


def _completion(**fields: Any) -> CompletionRequest:
    return parse(CompletionRequest, json.dumps({"model": "m", "prompt": "x"} | fields).encode())


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"temperature": "1"}, "temperature"),
        ({"temperature": 2.1}, "temperature"),
        ({"temperature": -0.1}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"top_p": 1.5}, "top_p"),
        ({"top_k": 1.5}, "top_k"),
        ({"min_p": -1}, "min_p"),
        ({"seed": 1 << 63}, "seed"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": -2}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"max_tokens": 8.5}, "max_tokens"),
        ({"repeat_last_n": -2}, "repeat_last_n"),
        ({"response_format": {"type": "json_object", "schema": 5}}, "response_format.schema"),
        ({"max_completion_tokens": "many"}, "max_completion_tokens"),
        ({"n": 0}, "n"),
        ({"n": 129}, "n"),
        ({"stop": 5}, "stop"),
        ({"stop": ["a", ""]}, "stop[1]"),
        ({"stop": ["a"] * 17}, "stop"),
        ({"logit_bias": {"x": 1}}, "logit_bias.x"),
        ({"logit_bias": {"5": 101}}, "logit_bias.5"),
        ({"logit_bias": dict.fromkeys(range(1025), 1)}, "logit_bias"),
        ({"presence_penalty": 3}, "presence_penalty"),
        ({"frequency_penalty": -3}, "frequency_penalty"),
        ({"repeat_penalty": 0}, "repeat_penalty"),
        ({"stream": 1}, "stream"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"response_format": {"type": "yaml"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format"),
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"messages": []}, "messages"),
        ({"messages": "Hello"}, "messages"),
        ({"messages": [HELLO, {"role": "boss", "content": ""}]}, "messages[1].role"),
        ({"messages": [{"content": "Hello"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
            "messages[0].content[0].type",
        ),
        ({"model": ""}, "model"),
        ({"model": None}, "model"),
    ],
)
def test_a_wrong_field_is_named(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        _chat(**fields)
    assert caught.value.param == param
    assert param.split(".")[0].split("[")[0] in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": []}, "prompt"),
        ({"prompt": 5}, "prompt"),
        ({"prompt": [[1, -2]]}, "prompt[0][1]"),
        ({"prompt": [{}]}, "prompt"),
        ({"prompt": [True]}, "prompt[0]"),
        ({"prompt": ["a", 1]}, "prompt[1]"),
        ({"prompt": [1, "a"]}, "prompt[1]"),
        ({"prompt": ["a"] * 513}, "prompt"),
        ({"logprobs": True}, "logprobs"),
        ({"best_of": 3}, "best_of"),
        ({"suffix": "x"}, "suffix"),
        ({"echo": True, "logprobs": 1}, "echo"),
    ],
)
def test_a_wrong_field_of_a_completion_is_named(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        _completion(**fields)
    assert caught.value.param == param


@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff", b'{"model": "\\ud800"}', b'{"model":' + b"[" * 100_000, b"[]", b"null", b"5"]
)
def test_a_broken_body_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequest, match="the body") as caught:
        parse(ChatRequest, body)
    assert caught.value.param is None


def test_a_missing_field_is_named() -> None:
    with pytest.raises(BadRequest, match="missing") as caught:
        parse(ChatRequest, b'{"model": "m"}')
    assert caught.value.param == "messages"


def test_long_values_are_not_repeated_in_full() -> None:
    with pytest.raises(BadRequest) as caught:
        _chat(temperature="x" * 10_000)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": [None] * 50_000}, "prompt"),
        ({"prompt": [1] + ["a"] * 50_000}, "prompt[1]"),
        ({"prompt": [[1]] + [[None]] * 50_000}, "prompt[1][0]"),
        ({"prompt": [[None] * 50_000]}, "prompt[0][0]"),
        ({"messages": [None] * 50_000}, "messages[0]"),
        ({"messages": [HELLO | {"content": [{}] * 50_000}]}, "messages[0].content[0].type"),
        ({"messages": [HELLO], "logit_bias": {f"x{key}": 1 for key in range(50_000)}}, "logit_bias"),
    ],
)
def test_what_is_wrong_many_times_is_told_once(fields: dict[str, Any], param: str) -> None:
    body = json.dumps({"model": "m"} | fields).encode()
    tracemalloc.start()
    try:
        with pytest.raises(BadRequest) as caught:
            parse(CompletionRequest if "prompt" in fields else ChatRequest, body)
        assert tracemalloc.get_traced_memory()[1] < 16 << 20  # an error for each would be 38 MiB at the least
    finally:
        tracemalloc.stop()
    assert caught.value.param == param
    assert len(str(caught.value)) < 250


def test_what_other_servers_take_means_the_same_here() -> None:
    assert _chat(max_tokens=-1).max_tokens == _chat(max_completion_tokens=10**30).max_completion_tokens == (1 << 31) - 1
    assert _chat(seed=-1).seed is None
    assert _chat(repeat_last_n=-1).repeat_last_n == -1
    form = _chat(response_format={"type": "json_object", "schema": {"type": "array"}}).response_format
    assert form and form.schema_ == {"type": "array"}


def test_tokens_are_biased_by_their_number() -> None:
    assert _chat(logit_bias={"5": -100, "05": 1, "7": 0.5}).logit_bias == {5: 1, 7: 0.5}


def test_null_means_not_given_and_unknown_fields_are_ignored() -> None:
    names = ["temperature", "top_p", "seed", "max_tokens", "stop", "n", "stream", "stream_options", "tools", "logprobs"]
    request = _chat(**dict.fromkeys(names), cache_prompt=True, user="me", tool_choice="none")
    assert request.temperature is None
    assert request.stops == ()


@pytest.mark.parametrize("prompt", ["", "x", ["a", "b"], [1, 2], [[1], [2, 3]]])
def test_prompts_of_every_form_are_taken(prompt: Any) -> None:
    assert _completion(prompt=prompt).prompt == prompt


def test_messages_become_plain_for_the_template() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    messages = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": parts, "name": "bob"},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]},
    ]
    plain = [message.plain() for message in _chat(messages=messages).messages]
    assert plain == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "a\nb", "name": "bob"},
        {"role": "assistant", "content": "", "tool_calls": [{"id": "1"}]},
    ]


def test_an_answer_given_back_has_no_more_fields_than_it_had() -> None:
    answer = ChatCompletionMessage(role="assistant", content="Hi").model_dump()
    assert "tool_calls" in answer
    assert _chat(messages=[answer]).messages[0].plain() == {"role": "assistant", "content": "Hi"}
