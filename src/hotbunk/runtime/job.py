"""A job: one request for tokens, as the gateway hands it to the runtime, and what came of it."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Literal, Protocol

from hotbunk.llama.header import File
from hotbunk.sampling import Sampling
from hotbunk.worker.protocol import Token


@dataclass(frozen=True, slots=True)
class Job:
    """Tokens to continue. ``logprobs`` as in ``worker.protocol.Start``."""

    model: str
    prompt: list[int]
    sampling: Sampling
    max_tokens: int
    stop_tokens: list[int]
    logprobs: int | None = None


@dataclass(slots=True)
class Timings:
    """Where a request's time went, in seconds; ``queued`` excludes loading, ``preempted`` is suspended time."""

    queued: float = 0.0
    loading: float = 0.0
    prefill: float = 0.0
    decode: float = 0.0
    preempted: float = 0.0
    preemptions: int = 0
    recoveries: int = 0
    first_token: float | None = None
    """Seconds from submission to the first token (TTFT)."""
    total: float = 0.0


FinishReason = Literal["stop", "length"]


class Generation(Protocol):
    """A running job. Iterate over it for its tokens as they come, in groups; afterwards ``finish_reason`` is set.

    Iteration raises ``EngineError`` when the job cannot be finished.
    """

    timings: Timings
    finish_reason: FinishReason | None

    def __aiter__(self) -> AsyncIterator[list[Token]]: ...

    def cancel(self) -> None:
        """Stop it and free its slot at once; harmless when it is over."""


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What the gateway may know of a served model. ``context`` is the tokens of one sequence; ``created`` Unix time."""

    id: str
    path: str
    context: int
    created: int
    alias: tuple[str, ...] = ()
    problem: str | None = None
    """Why it cannot be served, if so."""
    sampling: dict[str, float] = field(default_factory=dict)
    """Sampling defaults from the configuration, by field of ``Sampling``."""
    sources: tuple[File, ...] = ()
    """Its files as they were when they were read."""
