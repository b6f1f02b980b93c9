"""What a simulation of a live server has to know of it: where its models go, and what hotbunk itself takes there."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
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
_MS = 1e3


def standing(state: Mapping[str, Any]) -> dict[str, Standing]:
    """By the name of each model that can be served: how it stands, as ``/api/state`` says."""
    return {model["id"]: _standing(model) for model in state["models"] if model["planned"]}


async def measured(endpoint: Endpoint, model: str, prompts: Prompts, slots: int, rounds: int = 12) -> Delays:
    """What a server at rest takes besides evaluating, as a client sees it; medians of requests that it answers alone.

    With the worker's own seconds of a prefill and of decode steps, and the server's from submission on:

        latency = (first token at the client - sent) - ttft        hop = ttft - queued - loading - prefill
        turn + k draw = (total - ttft - decode) / (tokens - 1)     of k sequences at once

    where for ``k`` sequences the one that begins last is taken, since none of the others' prefills is beside it. The
    first steps of a changed batch take longer. An answer of 64 tokens sees one change more if another one, of ``n``
    tokens, has begun before it and ends meanwhile; the others' part in its steps is what 16 of them more take:

        change = decode(64 | 16) - decode(64) - 15 / 16 (decode(64 | 32) - decode(64 | 16))

    With a single slot the only change is the beginning: (63 decode(16) - 15 decode(64)) / 48.

    Args:
        endpoint: a hotbunk server, at which nobody else asks meanwhile.
        model: one of its models.
        prompts: of ids that the model has.
        slots: sequences that the model has room for.
        rounds: how often each is asked, for a long answer a third of that.

    Raises:
        EngineError: it does not answer as hotbunk does.
    """
    await _asked(endpoint, model, prompts, range(1))  # it may have to be loaded first
    alone = [(await _asked(endpoint, model, prompts, [row]))[0] for row in range(1, rounds + 1)]
    one = median(each.beside for each in alone)
    many = one
    if slots > 1:
        rows = [range(at, at + slots) for at in range(rounds + 1, rounds + 1 + rounds * slots, slots)]
        groups = [await _asked(endpoint, model, prompts, each) for each in rows]
        many = median(max(group, key=lambda each: each.began).beside for group in groups)
    draw = max(0.0, many - one) / max(1, slots - 1)
    change = await _changed(endpoint, model, prompts, rounds + 1 + rounds * slots, max(1, rounds // 3), slots)
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


async def _changed(endpoint: Endpoint, model: str, prompts: Prompts, first: int, rounds: int, slots: int) -> float:
    """Seconds that a changed batch takes more; ``first``: the first row of prompts that nobody has asked with."""
    rows = count(first)

    async def decode(*outputs: int) -> float:
        """Of the last of these answers, all at once; the median."""
        took = [
            (await _asked(endpoint, model, prompts, [next(rows) for _ in outputs], *outputs))[-1] for _ in range(rounds)
        ]
        return median(each.decode for each in took)

    if slots == 1:
        short, long = await decode(_OUTPUT), await decode(_LONG)
        return ((_LONG - 1) * short - (_OUTPUT - 1) * long) / (_LONG - _OUTPUT)
    alone, once, longer = await decode(_LONG), await decode(_OUTPUT, _LONG), await decode(2 * _OUTPUT, _LONG)
    return once - alone - (_OUTPUT - 1) / _OUTPUT * (longer - once)


async def _asked(endpoint: Endpoint, model: str, prompts: Prompts, rows: Sequence[int], *outputs: int) -> list[_Seen]:
    """Answers to prompts of these rows, all at once, of so many tokens each; without any, all of the same few."""
    lengths = outputs or (_OUTPUT,) * len(rows)
    answers = [Answer(asyncio.get_running_loop().time()) for _ in rows]
    bodies = [asked(model, prompts.tokens(row, _PROMPT), output) for row, output in zip(rows, lengths, strict=True)]
    await asyncio.gather(*(endpoint.complete(*each) for each in zip(bodies, answers, strict=True)))
    return [_seen(answer, output) for answer, output in zip(answers, lengths, strict=True)]


def _seen(answer: Answer, output: int) -> _Seen:
    if answer.fate is not Fate.DONE or answer.first is None or "ttft_ms" not in answer.timings:
        raise EngineError(f"the server's delays cannot be measured: {answer.message or 'it is no hotbunk server'}")
    took = {name.removesuffix("_ms"): each / _MS for name, each in answer.timings.items() if name.endswith("_ms")}
    hop = took["ttft"] - took["queued"] - took["loading"] - took["prefill"]
    beside = (took["total"] - took["ttft"] - took["decode"]) / (output - 1)
    return _Seen(answer.first - answer.sent - took["ttft"], hop, took["decode"], beside, answer.first)


def _standing(model: Mapping[str, Any]) -> Standing:
    offers = tuple(_placement(offer, model["context"], model["slots"]) for offer in model["offers"])
    return Standing(offers, model["load_seconds_bound"], model["leave_seconds_bound"])


def _placement(told: Mapping[str, Any], context: int, slots: int) -> Placement:
    sizes = ({n: told[side][n] for n in ("weights", "kv", "compute")} for side in ("device", "host"))
    device, host = (Footprint(**each) for each in sizes)
    return Placement(told["layers"], context, slots, device, host, told["experts"], cached=told["layers"])
