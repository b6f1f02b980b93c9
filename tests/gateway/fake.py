"""A backend that says what it is told to, in real tokens of a real vocabulary."""

import asyncio
import queue
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from hotbunk.errors import EngineError, UnknownModel, UnusableModel
from hotbunk.llama.vocab import Vocab
from hotbunk.runtime.job import FinishReason, Job, ModelInfo, Timings
from hotbunk.worker.protocol import Token

CONTEXT = 512
DEVICE: dict[str, Any] = {
    "budget": 1000,
    "budget_configured": 1200,
    "used": 600,
    "free": None,
    "foreign": 300,
    "pinned": 40,
    "held": 50,
    "spilled": 60,
    "stored": {"smol": {"bytes": 70, "total": 90}},
    "filling": True,
    "computed": 1.5,
    "worked": 2.5,
    "suspends": {"pinned": {"count": 2, "bytes": 80, "seconds": 0.25}},
    "resumes": {},
}
MODEL: dict[str, Any] = {
    "layers": 31,
    "device_bytes": 600,
    "predicted_bytes": 590,
    "reported_bytes": 600,
    "driver_bytes": None,
    "costs": {
        "problem": None,
        "kinds": {
            "decode": {"points": 3, "predicted_sum": 1.5, "measured_sum": 2.5, "error": 0.4, "drift": {"factor": 1.75}},
            "load": {"points": 1, "predicted_sum": 4.0, "measured_sum": 4.5, "error": 0.1, "drift": None},
            "pin": {"points": 0},
        },
    },
}


class FakeGeneration:
    """Yields its tokens in groups of one, two, one, two...; may hang or fail where they end."""

    def __init__(self, tokens: list[Token], reason: FinishReason, end: Exception | None, hang: bool) -> None:
        self.timings = Timings(queued=0.001, loading=0.002, prefill=0.003, decode=0.5, preempted=0.004, preemptions=1)
        self.finish_reason: FinishReason | None = None
        self.cancelled = threading.Event()
        self._tokens, self._reason, self._end, self._hang = tokens, reason, end, hang

    async def __aiter__(self) -> AsyncIterator[list[Token]]:
        at, size = 0, 1
        while at < len(self._tokens):
            await asyncio.sleep(0)
            self.timings.first_token = self.timings.first_token or 0.006
            yield self._tokens[at : at + size]
            at, size = at + size, 3 - size
        if self._end:
            raise self._end
        if self._hang:
            await asyncio.Event().wait()
        self.finish_reason = self._reason

    def cancel(self) -> None:
        self.cancelled.set()


class Fake:
    """Answers every job with ``text``, unless told to fail in one of the ways below."""

    def __init__(self, path: Path) -> None:
        self.vocab = Vocab(path)
        self.infos = [
            ModelInfo("smol", str(path), CONTEXT, 1700000000, alias=("small",), sampling={"temperature": 0.25}),
            ModelInfo("broken", "/nowhere.gguf", 0, 1700000000, problem="truncated: 12 of 99 bytes"),
            ModelInfo("absent", "/nowhere.gguf", CONTEXT, 1700000000),
        ]
        self.reset()

    def reset(self) -> None:
        self.text: str | bytes = "Grüße aus dem Häuschen 🏠!"
        self.refuse: Exception | None = None
        self.refuse_after = 0
        self.fail: Exception | None = None
        self.hang = False
        self.jobs: list[Job] = []
        self.started: queue.Queue[FakeGeneration] = queue.Queue()
        self.moves: list[tuple[str, str, int | None]] = []
        self.expected: list[str] = []

    def models(self) -> list[ModelInfo]:
        return self.infos

    def resolve(self, name: str) -> ModelInfo:
        for info in self.infos:
            if name == info.id or name in info.alias:
                if info.problem:
                    raise UnusableModel(f"model {info.id!r} cannot be served: {info.problem}")
                return info
        known = ", ".join(info.id for info in self.infos)
        raise UnknownModel(f"there is no model {name!r}; known are {known}")

    def expect(self, model: str) -> None:
        self.expected.append(model)

    def submit(self, job: Job) -> FakeGeneration:
        if self.refuse and len(self.jobs) >= self.refuse_after:
            raise self.refuse
        self.jobs.append(job)
        ids = self._ids()
        tokens = [self._token(each, job.logprobs) for each in ids[: job.max_tokens]]
        generation = FakeGeneration(tokens, "stop" if len(ids) <= job.max_tokens else "length", self.fail, self.hang)
        self.started.put(generation)
        return generation

    def _ids(self) -> list[int]:
        if isinstance(self.text, bytes):  # byte by byte: characters split over tokens
            pieces = {self.vocab.piece(token): token for token in range(self.vocab.size)}
            return [pieces[bytes([byte])] for byte in self.text]
        return self.vocab.tokenize(self.text, special=False, bos=False)

    def _token(self, token: int, logprobs: int | None) -> Token:
        if logprobs is None:
            return Token(0, token)
        return Token(0, token, -0.5, [(token, -0.5), (self.vocab.eos, float("-inf"))][:logprobs])

    async def load(self, model: str, layers: int | None) -> dict[str, Any]:
        if layers == 99:
            raise EngineError("no room for 99 layers")
        model = self.resolve(model).id
        self.moves.append(("load", model, layers))
        return {"model": model, "layers": layers}

    async def unload(self, model: str) -> dict[str, Any]:
        self.moves.append(("unload", model, None))
        return {"model": model, "layers": 0}

    def state(self) -> dict[str, Any]:
        return {
            "devices": [{"name": "cpu", "spec": "cpu", **DEVICE}],
            "models": [{"id": "smol", "device": "cpu", "state": "loaded", **MODEL}],
            "queue": [{"model": "smol"}, {"model": "smol"}],
            "sequences": [{"model": "smol", "state": "running"}],
            "decisions": [],
            "counters": {"smol": {"loads": 2, "unloads": 1, "suspends": 3, "resumes": 3, "bytes_moved": 1200}},
        }
