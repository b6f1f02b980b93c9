"""Every wrong request gets an error in OpenAI's form, and harms nobody else."""

import logging
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import openai
import pytest

from hotbunk.errors import EngineError, Overloaded
from hotbunk.gateway import app
from tests.gateway.fake import CONTEXT, Fake, FakeGeneration

CHAT: dict[str, Any] = {"model": "smol", "messages": [{"role": "user", "content": "Hello"}]}
TEXT: dict[str, Any] = {"model": "smol", "prompt": "x"}


@pytest.fixture
def web(url: str, fake: Fake) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url) as web:
        yield web
        fake.reset()
        assert web.post("/v1/completions", json=TEXT).status_code == 200  # whatever happened, others are served


def _error(answer: httpx.Response, status: int) -> dict[str, Any]:
    assert answer.status_code == status
    error: dict[str, Any] = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error


def test_unknown_model(web: httpx.Client) -> None:
    error = _error(web.post("/v1/chat/completions", json=CHAT | {"model": "gpt-9"}), 404)
    assert error["code"] == "model_not_found"
    assert error["param"] == "model"
    assert "gpt-9" in error["message"] and "smol" in error["message"]


@pytest.mark.parametrize("model", ["broken", "absent"])
def test_unusable_model(web: httpx.Client, model: str) -> None:
    error = _error(web.post("/v1/chat/completions", json=CHAT | {"model": model}), 503)
    assert error["type"] == "server_error"
    assert "truncated" in error["message"] or "nowhere.gguf" in error["message"]


def test_prompt_longer_than_the_context(web: httpx.Client, fake: Fake) -> None:
    exact = [5] * (CONTEXT - 1)
    assert web.post("/v1/completions", json=TEXT | {"prompt": exact}).status_code == 200
    assert fake.jobs[-1].max_tokens == 1
    error = _error(web.post("/v1/completions", json=TEXT | {"prompt": [*exact, 5]}), 400)
    assert error["code"] == "context_length_exceeded"
    assert f"{CONTEXT} tokens" in error["message"] and f"holds {CONTEXT}" in error["message"]
    long = CHAT | {"messages": [{"role": "user", "content": "word " * 4000}]}
    assert _error(web.post("/v1/chat/completions", json=long), 400)["param"] == "messages"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"temperature": "hot"}, "temperature"),
        ({"prompt": [49152]}, "prompt"),
        ({"prompt": [[]]}, "prompt"),
        ({"prompt": ["a"] * 5, "n": 128}, "prompt"),
        ({"logit_bias": {"49152": 1}}, "logit_bias"),
        ({"grammar": "root ::= ("}, "grammar"),
        ({"grammar": "root ::= " + "(" * 50_000}, "grammar"),
        ({"grammar": 'root ::= "a"', "response_format": {"type": "json_object"}}, "grammar"),
        ({"grammar": 'root ::= "a"', "ignore_eos": True}, "ignore_eos"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "thing"}}}},
            "response_format",
        ),
        ({"prompt": "x" * 1_100_000}, "prompt"),
    ],
)
def test_what_cannot_be_met_is_refused(web: httpx.Client, fields: dict[str, Any], param: str) -> None:
    error = _error(web.post("/v1/completions", json=TEXT | fields), 400)
    assert error["type"] == "invalid_request_error"
    assert error["param"] == param


def test_broken_json(web: httpx.Client) -> None:
    error = _error(web.post("/v1/chat/completions", content=b'{"model": '), 400)
    assert "not valid JSON" in error["message"]
    assert _error(web.post("/api/models/smol/load", json={"layers": "all"}), 400)["param"] == "layers"


def test_a_body_without_end(web: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "LARGEST_BODY", 1000)
    assert "longer than" in _error(web.post("/v1/completions", content=b" " * 2000), 413)["message"]


def test_unknown_route_and_wrong_method(web: httpx.Client) -> None:
    assert "GET /v2" in _error(web.get("/v2"), 404)["message"]
    answer = web.get("/v1/chat/completions")
    assert "GET /v1/chat/completions" in _error(answer, 405)["message"]
    assert answer.headers["allow"] == "POST"


@pytest.mark.parametrize("stream", [False, True])
def test_a_full_queue(web: httpx.Client, url: str, fake: Fake, stream: bool) -> None:
    fake.refuse = Overloaded("the queue is full", 12.3)
    answer = web.post("/v1/chat/completions", json=CHAT | {"stream": stream})
    assert _error(answer, 429)["message"] == "the queue is full"
    assert answer.headers["retry-after"] == "13"
    with (
        openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client,
        pytest.raises(openai.RateLimitError),
    ):
        client.chat.completions.create(**CHAT)


def test_of_several_choices_all_are_admitted_or_none(web: httpx.Client, fake: Fake) -> None:
    fake.refuse, fake.refuse_after = Overloaded("the queue is full", 1), 2
    _error(web.post("/v1/chat/completions", json=CHAT | {"n": 3}), 429)
    assert all(fake.started.get_nowait().cancelled.is_set() for _ in range(2))


@pytest.mark.parametrize(("fields", "param"), [({"n": 3}, "n"), ({"prompt": ["x"] * 3}, "prompt")])
def test_more_choices_than_can_ever_be_admitted(
    web: httpx.Client, fake: Fake, fields: dict[str, Any], param: str
) -> None:
    fake.refuse, fake.refuse_after = Overloaded("2 turns are owed already", 1, present=2), 2
    error = _error(web.post("/v1/completions", json=TEXT | fields), 400)
    assert error["param"] == param
    assert "of 3 choices only 2 can be admitted" in error["message"]
    assert all(fake.started.get_nowait().cancelled.is_set() for _ in range(2))
    fake.refuse = Overloaded("2 turns are owed already", 1, present=3)  # one of them somebody else's
    fake.jobs.clear()
    _error(web.post("/v1/completions", json=TEXT | fields), 429)


@pytest.mark.parametrize("n", [1, 2])
def test_a_generation_that_fails(web: httpx.Client, fake: Fake, n: int) -> None:
    fake.fail = EngineError("the device is gone")
    error = _error(web.post("/v1/chat/completions", json=CHAT | {"n": n}), 500)
    assert (error["message"], error["code"]) == ("the device is gone", "engine_error")
    assert all(fake.started.get_nowait().cancelled.is_set() for _ in range(n))


@pytest.mark.parametrize("n", [1, 2])
def test_a_generation_that_fails_in_a_stream(web: httpx.Client, url: str, fake: Fake, n: int) -> None:
    fake.fail = EngineError("the device is gone")
    answer = web.post("/v1/chat/completions", json=CHAT | {"stream": True, "n": n})
    last = [line for line in answer.text.splitlines() if line][-1]
    assert answer.status_code == 200
    assert '"the device is gone"' in last and "[DONE]" not in answer.text
    text = ""
    with (
        openai.OpenAI(base_url=f"{url}/v1", api_key="none") as client,
        pytest.raises(openai.APIError, match="the device is gone"),
    ):
        for chunk in client.chat.completions.create(**CHAT, stream=True):
            text += chunk.choices[0].delta.content or ""
    assert text == fake.text


def test_an_unexpected_exception(web: httpx.Client, fake: Fake, caplog: pytest.LogCaptureFixture) -> None:
    fake.refuse = KeyError("secret")
    answer = web.post("/v1/chat/completions", json=CHAT)
    error = _error(answer, 500)
    assert error["code"] == "internal_error" and "secret" not in error["message"]
    assert answer.headers["connection"] == "close"  # a client that sent its next request there would lose it
    # the server logs it after it has answered
    assert _soon(lambda: any(each.exc_info and "secret" in str(each.exc_info[1]) for each in caplog.records))


def test_an_unexpected_exception_in_a_stream(web: httpx.Client, fake: Fake, caplog: pytest.LogCaptureFixture) -> None:
    fake.fail = KeyError("secret")
    with caplog.at_level(logging.ERROR, "hotbunk.gateway"):
        answer = web.post("/v1/chat/completions", json=CHAT | {"stream": True})
    assert "internal error" in answer.text and "secret" not in answer.text
    assert "broke off" in caplog.text


def test_the_engine_refuses_a_load(web: httpx.Client) -> None:
    assert "99 layers" in _error(web.post("/api/models/smol/load", json={"layers": 99}), 500)["message"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("text", ["", "some words already"])
def test_a_client_that_goes_away_is_cancelled_at_once(web: httpx.Client, fake: Fake, stream: bool, text: str) -> None:
    fake.text, fake.hang = text, True
    generation = _abandon(web, fake, CHAT | {"stream": stream})
    assert generation.cancelled.wait(10)
    assert _soon(lambda: 'outcome="disconnected"' in web.get("/metrics").text)


def test_all_choices_of_a_client_that_goes_away_are_cancelled(web: httpx.Client, fake: Fake) -> None:
    fake.hang = True
    generation = _abandon(web, fake, CHAT | {"n": 2, "stream": True})
    assert generation.cancelled.wait(10)
    assert fake.started.get(timeout=10).cancelled.wait(10)


def test_a_client_that_goes_away_before_it_has_asked(web: httpx.Client) -> None:
    with socket.create_connection((web.base_url.host, web.base_url.port or 80)) as connection:
        connection.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n{")
    assert _soon(lambda: 'hotbunk_refused_total{status="499"}' in web.get("/metrics").text)


def _abandon(web: httpx.Client, fake: Fake, body: dict[str, Any]) -> FakeGeneration:
    """Send a request, wait until its generation has started, and hang up."""
    request = web.build_request("POST", "/v1/chat/completions", json=body)
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(request.content)}\r\n\r\n"
    with socket.create_connection((web.base_url.host, web.base_url.port or 80)) as connection:
        connection.sendall(head.encode() + request.content)
        return fake.started.get(timeout=10)


def _soon(holds: Callable[[], bool]) -> bool:
    """Whether it holds before ten seconds are over."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if holds():
            return True
    return False
