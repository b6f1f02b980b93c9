"""The replay against a server that does what its models' names say."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import numpy as np
import pytest

from hotbunk.errors import ConfigError
from hotbunk.outcomes import Fate
from hotbunk.outcomes.metrics import summarise
from hotbunk.replay.client import Endpoint
from hotbunk.replay.prompts import Prompts
from hotbunk.replay.replay import Replay, Replayed, check
from hotbunk.traces import Request, Trace
from tests.replay.fake import Fake, served


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[Fake, str]]:
    fake = Fake()
    with served(fake.app) as url:
        yield fake, url


@pytest.fixture
def fake(server: tuple[Fake, str]) -> Fake:
    server[0].asked.clear()
    return server[0]


@pytest.fixture
def url(server: tuple[Fake, str]) -> str:
    return server[1]


def replayed(url: str, *requests: Request, stop: asyncio.Event | None = None, key: str | None = None) -> Replayed:
    async def body() -> Replayed:
        async with Endpoint(url, key) as endpoint:
            trace = Trace.of("test", requests)
            await check(trace, endpoint)
            return await Replay(trace, endpoint, Prompts(7, 100, 109)).run(stop or asyncio.Event())

    return asyncio.run(asyncio.wait_for(body(), 60))


def test_every_request_is_measured(fake: Fake, url: str) -> None:
    made = replayed(url + "/v1/", Request(0, "good", 12, 5), Request(0.02, "silent", 3, 1), key="secret")
    outcomes = made.run.outcomes
    assert outcomes.fate.tolist() == [Fate.DONE, Fate.DONE]
    assert outcomes.tokens.tolist() == [5, 1]
    for row in range(2):
        assert outcomes.trace.arrival[row] <= outcomes.arrived[row] <= outcomes.first[row] <= outcomes.ended[row]
    assert outcomes.ended[1] == outcomes.first[1]
    assert made.run.duration >= outcomes.ended.max()
    assert (made.whole, made.words, made.reasons) == (True, "", {})
    assert np.isnan(made.run.usage.loads)  # it does not tell
    first = fake.asked[0]
    assert len(first["prompt"]) == 12
    assert set(first["prompt"]) <= set(range(100, 110))
    assert (first["max_tokens"], first["ignore_eos"], first["temperature"], first["stream"]) == (5, True, 0, True)
    assert first["key"] == "Bearer secret"


def test_who_follows_an_answer_comes_after_it(fake: Fake, url: str) -> None:
    made = replayed(
        url,
        Request(0, "good", 1, 2),
        Request(0.03, "good", 2, 2, after=0),
        Request(0, "good", 3, 2, after=1),
        Request(0, "busy", 4, 2),
        Request(0, "good", 5, 2, after=3),  # never comes
    )
    outcomes = made.run.outcomes
    assert outcomes.arrived[1] >= outcomes.ended[0] + 0.03
    assert outcomes.arrived[2] >= outcomes.ended[1]
    assert outcomes.fate.tolist() == [Fate.DONE] * 3 + [Fate.REFUSED, Fate.OPEN]
    assert np.isnan(outcomes.arrived[4])
    assert sorted(len(asked["prompt"]) for asked in fake.asked) == [1, 2, 3, 4]


def test_refusals_and_failures_are_counted_with_their_reasons(fake: Fake, url: str) -> None:
    models = ("busy", "busy", "down", "broken", "short", "cut", "good")
    made = replayed(url, *(Request(0, model, 2, 3) for model in models))
    refused, failed = Fate.REFUSED, Fate.FAILED
    assert made.run.outcomes.fate.tolist() == [refused, refused, refused, failed, refused, failed, Fate.DONE]
    assert made.reasons == {
        "429 overloaded": 2,
        "503": 1,
        "500 engine_error": 1,
        "400 context_length_exceeded": 1,
        "error in the stream engine_error": 1,
    }
    assert made.examples["429 overloaded"] == "come back later"
    assert made.examples["503"] == "no upstream"
    assert not np.isnan(made.run.outcomes.first[5])  # its first token had come
    assert np.isnan(made.run.outcomes.ended[5])
    figures = summarise(made.run).all
    assert (figures.requests, figures.done, figures.refused, figures.failed) == (7, 1, 4, 2)


def test_a_server_that_takes_no_tokens_gets_words(fake: Fake, url: str) -> None:
    made = replayed(url, Request(0, "wordy", 6, 2), Request(0, "wordy", 8, 2, after=0))
    assert made.run.outcomes.fate.tolist() == [Fate.DONE, Fate.DONE]
    assert made.words == "a prompt is a string"
    assert [type(asked["prompt"]) for asked in fake.asked] == [list, str, str]  # tried once
    assert len(fake.asked[1]["prompt"].split()) == 6


def test_the_same_seed_asks_the_same() -> None:
    assert Prompts(3).tokens(5, 9) == Prompts(3).tokens(5, 9) != Prompts(4).tokens(5, 9)
    assert Prompts(3).words(5, 9) == Prompts(3).words(5, 9)


def test_what_has_come_when_it_is_broken_off_is_told(fake: Fake, url: str) -> None:
    async def body() -> Replayed:
        stop = asyncio.Event()
        async with Endpoint(url) as endpoint:
            trace = Trace.of(
                "test", [Request(0, "good", 1, 2), Request(0, "endless", 1, 9), Request(900, "good", 1, 2)]
            )
            replay = Replay(trace, endpoint, Prompts(), "mine")
            running = asyncio.create_task(replay.run(stop))
            await asyncio.to_thread(fake.endless.wait)
            while np.isnan(replay.outcomes.ended[0]) or replay.sent < 2:
                await asyncio.sleep(0.01)
            stop.set()
            return await running

    made = asyncio.run(asyncio.wait_for(body(), 60))
    assert not made.whole
    assert made.run.name == "mine"
    assert made.run.outcomes.fate.tolist() == [Fate.DONE, Fate.OPEN, Fate.OPEN]
    assert summarise(made.run).all.requests == 2


def test_a_connection_that_breaks_is_a_failure(url: str) -> None:
    async def body() -> Replayed:
        with served(Fake().app) as gone:
            pass
        async with Endpoint(gone) as endpoint:
            return await Replay(Trace.of("test", [Request(0, "good", 1, 1)]), endpoint, Prompts()).run(asyncio.Event())

    made = asyncio.run(body())
    assert made.run.outcomes.fate.tolist() == [Fate.FAILED]
    assert made.reasons == {"ConnectError": 1}


def test_a_server_that_lacks_a_model_is_found_out_first(url: str) -> None:
    with pytest.raises(
        ConfigError, match=r"has no model gpt, llama; it has good, busy.*--map TRACE_MODEL=SERVER_MODEL"
    ):
        replayed(url, Request(0, "gpt", 1, 1), Request(0, "good", 1, 1), Request(0, "llama", 1, 1))


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("http://127.0.0.1:9", "does not answer"),
        ("{url}/nowhere", "answers /v1/models with 404"),
        ("nowhere", "does not answer"),
        ("http://[::", "write it like"),
    ],
)
def test_what_is_no_server_is_said(url: str, address: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        replayed(address.format(url=url), Request(0, "good", 1, 1))
