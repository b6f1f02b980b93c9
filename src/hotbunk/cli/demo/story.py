"""The story that the demo tells, as a client of its own server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from itertools import takewhile
from typing import TYPE_CHECKING, Any, Literal

from rich.table import Table

from hotbunk.cli.demo.page import Page
from hotbunk.errors import HotbunkError
from hotbunk.units import brief_size

if TYPE_CHECKING:
    import httpx

__all__ = ["GEMMA", "SMOL", "Story"]

SMOL, GEMMA = "smollm2", "gemma3"
INTERRUPT = 40
"""Tokens of the long answer after which the other model is asked."""
_TRIES = 3  # on a busy machine the long answer may be over before the question has arrived


@dataclass(frozen=True, slots=True)
class Question:
    """What a model is asked: the path, and the fields of the request. A base model is given a text to complete."""

    model: str
    text: str
    options: dict[str, Any]
    chat: bool = True

    @property
    def request(self) -> tuple[str, dict[str, Any]]:
        """Path and body."""
        body = {"model": self.model, "stream": True, **self.options}
        if not self.chat:
            return "/v1/completions", {**body, "prompt": self.text}
        return "/v1/chat/completions", {**body, "messages": [{"role": "user", "content": self.text}], "logprobs": True}


SHORT = {"temperature": 0, "max_tokens": 32, "stop": "\n"}
LONG = {"temperature": 0.7, "seed": 7, "repeat_penalty": 1.1, "max_tokens": 256, "ignore_eos": True}
CAPTAIN = Question(SMOL, "What does a ship's captain do? Answer in one sentence.", SHORT)
WATER = Question(GEMMA, "Water boils at", SHORT, chat=False)
TALE = Question(SMOL, "Write a story about a lighthouse keeper and a ship in a storm.", LONG)
PLANETS = Question(GEMMA, "The planets, from the Sun outwards, are Mercury, Venus,", SHORT, chat=False)


@dataclass(slots=True)
class Answer:
    """An answer as it grows; ``tokens`` holds the bytes of each, for a chat."""

    tokens: list[list[int]] = field(default_factory=list)
    timings: dict[str, Any] = field(default_factory=dict)

    def add(self, chunk: dict[str, Any]) -> str:
        """Take a chunk of the stream; returns its text."""
        choice = chunk["choices"][0]
        if logprobs := choice["logprobs"]:
            self.tokens += [token["bytes"] for token in logprobs.get("content", [])]
        self.timings = chunk.get("timings", {})
        text: str = choice["delta"].get("content", "") if "delta" in choice else choice["text"]
        return text


class Story:
    """What the demo shows, in order; all of it comes over HTTP."""

    def __init__(self, http: httpx.AsyncClient, page: Page) -> None:
        self._http, self._page = http, page

    async def tell(self) -> None:
        """Tell it all.

        Raises:
            HotbunkError: a request failed, or the interrupted answer is not the uninterrupted one.
        """
        await self._room()
        self._page.heading("A question to each: the device changes hands")
        for question in (CAPTAIN, WATER):
            await self._ask(question)
        self._page.heading("A long answer, first without interruption")
        with self._page.console.status(f"{SMOL} is writing"):
            whole = await self._ask(TALE, show=False)
        seconds = whole.timings["total_ms"] / 1000
        self._page.console.print(f"{SMOL} gave {len(whole.tokens)} tokens in {seconds:.1f} s.")
        self._page.heading(f"The same again; after {INTERRUPT} tokens {GEMMA} is asked, and preempts it")
        self._compare(whole, await self._interrupted())
        self._page.heading("What the scheduler did, and what each switch cost")
        state = await self._state()
        self._page.console.print(_bill(state["decisions"]))

    async def _room(self) -> None:
        state = await self._state()
        device, models = state["devices"][0], state["models"]
        self._page.heading(f"Two models, and {brief_size(device['budget'])} of {device['name']} memory for them")
        needs = [f"{model['id']} takes {brief_size(model['planned']['device']['total'])}" for model in models]
        self._page.console.print(f"{', '.join(needs)}: there is room for one at a time.")

    async def _interrupted(self) -> Answer:
        for _ in range(_TRIES):
            tale, urgent = Answer(), None
            async for _ in self._hear(TALE, tale):
                if urgent is None and len(tale.tokens) >= INTERRUPT:
                    urgent = asyncio.create_task(self._ask(PLANETS))
            if urgent:
                await urgent
            if tale.timings["preemptions"]:
                return tale
        raise HotbunkError(f"the long answer was over before it could be preempted, {_TRIES} times; nothing was shown")

    def _compare(self, whole: Answer, broken: Answer) -> None:
        if broken.tokens != whole.tokens:
            pairs = zip(whole.tokens, broken.tokens, strict=False)
            same = len(list(takewhile(lambda pair: pair[0] == pair[1], pairs)))
            raise HotbunkError(f"the interrupted answer differs from the uninterrupted one after {same} tokens")
        away = broken.timings["preempted_ms"] / 1000
        self._page.heading("The interrupted answer equals the uninterrupted one, token by token")
        self._page.console.print(f"All {len(whole.tokens)} are the same; it was preempted for {away:.1f} s.")

    async def _ask(self, question: Question, show: bool = True) -> Answer:
        answer = Answer()
        async for _ in self._hear(question, answer, show):
            pass
        self._page.end()
        return answer

    async def _hear(self, question: Question, answer: Answer, show: bool = True) -> AsyncIterator[None]:
        """Ask, and yield whenever ``answer`` has grown. The question is shown once the answer begins."""
        asked = not show
        async for chunk in self._events(question):
            text = answer.add(chunk)
            if text and not asked:
                self._page.say(question.model, question.text + ("\n" if question.chat else " "), "bold")
                asked = True
            if text and show:
                self._page.say(question.model, text)
            yield

    async def _events(self, question: Question) -> AsyncIterator[dict[str, Any]]:
        path, body = question.request
        async with self._http.stream("POST", path, json=body) as response:
            if response.is_error:
                raise _failure(question, json.loads(await response.aread()))
            async for line in response.aiter_lines():
                if line.startswith("data: {"):
                    event = json.loads(line.removeprefix("data: "))
                    if "error" in event:
                        raise _failure(question, event)
                    yield event

    async def _state(self) -> dict[str, Any]:
        state: dict[str, Any] = (await self._http.get("/api/state")).json()
        return state


def _failure(question: Question, body: dict[str, Any]) -> HotbunkError:
    return HotbunkError(f"{question.model} did not answer {question.text!r}: {body['error']['message']}")


def _bill(decisions: list[dict[str, Any]]) -> Table:
    """A line for each move, and beside the last of each switch their sum."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("action", "model", "ms", "switch", "bytes", "why"):
        justify: Literal["left", "right"] = "right" if name in ("ms", "switch", "bytes") else "left"
        table.add_column(name, justify=justify, no_wrap=True)
    for switch in _switches(decisions):
        table.add_row()
        for move in switch:
            total = _ms(sum(m["seconds"] for m in switch)) if move is switch[-1] else ""
            # how long the first has waited is left out: it is next to nothing here
            why, _, _ = move["reason"].partition(", the first")
            cells = (_ms(move["seconds"]), f"[bold]{total}[/bold]", brief_size(move["bytes"]), why)
            table.add_row(move["action"], move["model"], *cells)
    return table


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.1f}"


def _switches(decisions: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """The moves that cost something; each switch begins with who leaves and ends with who comes."""
    switches: list[list[dict[str, Any]]] = []
    come = True
    for move in (each for each in decisions if each["seconds"] is not None):
        comes = move["action"] in ("load", "resume")
        if not switches or (come and not comes):
            switches.append([])
        switches[-1].append(move)
        come = comes
    return switches
