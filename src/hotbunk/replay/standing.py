"""What a simulation of a live server has to know of it: where its models go, and what hotbunk itself takes there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from hotbunk.errors import EngineError
from hotbunk.outcomes import Fate
from hotbunk.placement import Footprint, Placement
from hotbunk.replay.client import Answer, Endpoint, asked
from hotbunk.replay.prompts import Prompts
from hotbunk.simulator.contest import Standing
from hotbunk.simulator.pace import Delays

__all__ = ["measured", "standing"]

_PROMPT = 32  # tokens: one short chunk
_OUTPUT, _LONG = 16, 64
_OTHER, _CHANGED = 6, 24  # few steps, of which a change is a large part
_MS = 1e3


def standing(state: Mapping[str, Any]) -> dict[str, Standing]:
    """By the name of each model that can be served: how it stands, as ``/api/state`` says."""
    return {model["id"]: _standing(model) for model in state["models"] if model["planned"]}


async def measured(
    endpoint: Endpoint,
    model: str,
    prompts: Prompts,
    slots: int,
    rounds: int = 12,
    profiled: Callable[[int], float] | None = None,
) -> Delays:
    """What a server at rest takes besides evaluating, as a client sees it; medians of requests that it answers alone.

    With the worker's own seconds of a prefill and of decode steps, and the server's from submission on:

        latency = (first token at the client - sent) - ttft        hop = ttft - queued - loading - prefill
        turn + k draw = (total - ttft - decode) / (tokens - 1) + apart(k)             of k sequences at once

    where for ``k`` sequences the one that begins last is taken, since none of the others' prefills is beside it.
    ``apart`` is what a step takes here more than it did when it was profiled, with nobody but the worker at work:

        apart(k) = (decode(64) - decode(16)) / 48 - profiled(k)

    The first steps of a changed batch take longer. An answer of 24 tokens sees one change more if another one, of ``n``
    tokens, has begun before it and ends meanwhile; the others' part in its steps is what 6 of them more take:

        change = decode(24 | 6) - decode(24) - 5 / 6 (decode(24 | 12) - decode(24 | 6))

    With a single slot the only change is the beginning: (23 decode(6) - 5 decode(24)) / 18.

    Args:
        endpoint: a hotbunk server, at which nobody else asks meanwhile.
        model: one of its models.
        prompts: of ids that the model has.
        slots: sequences that the model has room for.
        rounds: how often each is asked, for a long answer a third of that.
        profiled: seconds of a step of so many sequences with few tokens behind them; without it nothing is apart.

    Raises:
        EngineError: it does not answer as hotbunk does.
    """
    asking = _Asking(endpoint, model, prompts)
    await asking.ask([1])  # it may have to be loaded first

    async def apart(sequences: int) -> float:
        return await _steady(asking, sequences, max(1, rounds // 3)) - profiled(sequences) if profiled else 0.0

    alone = [(await asking.ask([_OUTPUT]))[0] for _ in range(rounds)]
    one = many = median(each.beside for each in alone) + await apart(1)
    if slots > 1:
        groups = [await asking.ask([_OUTPUT] * slots) for _ in range(rounds)]
        many = median(max(group, key=lambda each: each.began).beside for group in groups) + await apart(slots)
    draw = max(0.0, many - one) / max(1, slots - 1)
    change = await _changed(asking, rounds, slots)
    latency, hop = (median(getattr(each, name) for each in alone) for name in ("latency", "hop"))
    return Delays(max(0.0, latency), max(0.0, hop), max(0.0, one - draw), draw, max(0.0, change))


@dataclass(frozen=True, slots=True)
class _Seen:
    """Of one answer: ``latency`` and ``hop`` as above, ``decode`` of all its steps, and what each took ``beside`` that.

    ``began``: when its first token came.
    """

    latency: float
    hop: float
    decode: float
    beside: float
    began: float


@dataclass
class _Asking:
    """Whom to ask. No prompt is asked with twice, since a server could have kept it."""

    endpoint: Endpoint
    model: str
    prompts: Prompts
    row: int = 0

    async def ask(self, outputs: Sequence[int]) -> list[_Seen]:
        """Answers of so many tokens each, all at once."""
        answers = [Answer(asyncio.get_running_loop().time()) for _ in outputs]
        bodies = [
            asked(self.model, self.prompts.tokens(self.row + at, _PROMPT), output) for at, output in enumerate(outputs)
        ]
        self.row += len(outputs)
        await asyncio.gather(*(self.endpoint.complete(*each) for each in zip(bodies, answers, strict=True)))
        return [_seen(answer, output) for answer, output in zip(answers, outputs, strict=True)]

    async def decode(self, outputs: Sequence[int], rounds: int) -> float:
        """Seconds of all decode steps of the last of these answers; the median."""
        return median([(await self.ask(outputs))[-1].decode for _ in range(rounds)])


async def _steady(asking: _Asking, sequences: int, rounds: int) -> float:
    """Seconds of a step among others that have begun and go on."""
    others = [2 * _LONG] * (sequences - 1)
    short, long = [await asking.decode([*others, output], rounds) for output in (_OUTPUT, _LONG)]
    return (long - short) / (_LONG - _OUTPUT)


async def _changed(asking: _Asking, rounds: int, slots: int) -> float:
    """Seconds that a changed batch takes more."""
    if slots == 1:
        short, long = [await asking.decode([output], rounds) for output in (_OTHER, _CHANGED)]
        return ((_CHANGED - 1) * short - (_OTHER - 1) * long) / (_CHANGED - _OTHER)
    alone = await asking.decode([_CHANGED], rounds)
    once, longer = [await asking.decode([output, _CHANGED], rounds) for output in (_OTHER, 2 * _OTHER)]
    return once - alone - (_OTHER - 1) / _OTHER * (longer - once)


def _seen(answer: Answer, output: int) -> _Seen:
    if answer.fate is not Fate.DONE or answer.first is None or "ttft_ms" not in answer.timings:
        raise EngineError(f"the server's delays cannot be measured: {answer.message or 'it is no hotbunk server'}")
    took = {name.removesuffix("_ms"): each / _MS for name, each in answer.timings.items() if name.endswith("_ms")}
    hop = took["ttft"] - took["queued"] - took["loading"] - took["prefill"]
    beside = (took["total"] - took["ttft"] - took["decode"]) / max(1, output - 1)
    return _Seen(answer.first - answer.sent - took["ttft"], hop, took["decode"], beside, answer.first)


def _standing(model: Mapping[str, Any]) -> Standing:
    offers = tuple(_placement(offer, model["context"], model["slots"]) for offer in model["offers"])
    return Standing(offers, model["load_seconds_bound"], model["leave_seconds_bound"])


def _placement(told: Mapping[str, Any], context: int, slots: int) -> Placement:
    sizes = ({n: told[side][n] for n in ("weights", "kv", "compute")} for side in ("device", "host"))
    device, host = (Footprint(**each) for each in sizes)
    return Placement(told["layers"], context, slots, device, host, told["experts"], cached=told["layers"])
