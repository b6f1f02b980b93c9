"""The replay against hotbunk itself: two real models where one fits, on this machine's CPU."""

from __future__ import annotations

import asyncio
import os
import signal
from itertools import pairwise
from pathlib import Path

import numpy as np

from hotbunk.config import Config
from hotbunk.gateway.server import serve
from hotbunk.outcomes import Fate
from hotbunk.outcomes.metrics import summarise
from hotbunk.outcomes.page import page
from hotbunk.outcomes.slo import Slos
from hotbunk.replay.client import Endpoint
from hotbunk.replay.prompts import Prompts
from hotbunk.replay.replay import Replay, Replayed, check
from hotbunk.runtime import Runtime
from hotbunk.traces import Request, Trace
from tests.runtime.rig import run, settings

TRACE = Trace.of(
    "live",
    [
        Request(0.0, "small", 20, 60),
        Request(0.0, "large", 10, 8),
        Request(0.1, "small", 30, 5, after=1),
        Request(0.2, "small", 5, 1),
        Request(0.3, "large", 600, 4),  # longer than the context
        Request(0.5, "large", 12, 6),
    ],
)


def test_two_models_where_one_fits(smollm2: Path, gemma3: Path) -> None:
    async def body() -> None:
        async with Runtime(settings(smollm2, gemma3)) as runtime:
            address: asyncio.Future[str] = asyncio.get_running_loop().create_future()
            server = asyncio.create_task(serve(runtime, "127.0.0.1", 0, address.set_result))
            async with Endpoint(await address) as endpoint:
                await check(TRACE, endpoint)
                made = await Replay(TRACE, endpoint, Prompts()).run(asyncio.Event())
            os.kill(os.getpid(), signal.SIGTERM)
            await server
        _judge(made)

    run(body)


def _judge(made: Replayed) -> None:
    outcomes, usage = made.run.outcomes, made.run.usage
    done = np.array([True, True, True, True, False, True])
    assert outcomes.fate.tolist() == np.where(done, Fate.DONE, Fate.REFUSED).tolist()
    assert outcomes.tokens[done].tolist() == TRACE.output[done].tolist()
    assert made.reasons == {"400 context_length_exceeded": 1}
    assert made.words == ""
    times = [column[done] for column in (outcomes.arrived, outcomes.started, outcomes.first, outcomes.ended)]
    for before, after in pairwise(times):
        assert np.all(before <= after)
    assert outcomes.arrived[2] >= outcomes.ended[1] + 0.1
    # both were loaded, and since only one of them fits, one had to leave
    assert usage.loads >= 2
    assert usage.unloads >= 1
    assert usage.moved > 0
    assert usage.suspends <= outcomes.preemptions.sum()  # whose last token was under way need not be carried
    assert (usage.carried > 0) == (usage.suspends > 0)
    assert 0 < usage.moving < made.run.duration
    assert 0 < usage.computing < made.run.duration
    assert {stay.model for stay in made.run.stays} == {"small", "large"}
    assert all(0 <= stay.begin <= stay.end for stay in made.run.stays)
    assert summarise(made.run).all.done == 5
    assert made.run.name == f"{Config().policy}, live"
    assert len(page([made.run], Slos())) < 2**20
