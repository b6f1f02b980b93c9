"""What a server takes besides evaluating, seen from outside."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from hotbunk.outcomes import Fate
from hotbunk.replay.client import Answer, Endpoint
from hotbunk.replay.prompts import Prompts
from hotbunk.replay.standing import measured
from hotbunk.simulator.pace import Delays

OWN = Delays(latency=0.004, hop=0.002, turn=0.0003, draw=0.0001, change=0.009)


def step(sequences: int) -> float:
    return 0.005 + 0.001 * sequences


class Server:
    """Answers all that are asked at once together, and takes for it what the formulas say."""

    def __init__(self) -> None:
        self._together: list[int] = []

    async def complete(self, body: dict[str, Any], answer: Answer) -> None:
        """As ``Endpoint.complete``."""
        place, together = len(self._together), self._together
        together.append(body["max_tokens"])
        await asyncio.sleep(0)  # until all have come
        self._together = []
        decode = beside = 0.0
        before = 0
        for made in range(1, body["max_tokens"]):
            with_it = sum(output > made for output in together)
            decode += step(with_it) + (OWN.change if with_it != before else 0.0)
            beside += OWN.turn + with_it * OWN.draw
            before = with_it
        ttft = 0.02 + OWN.hop
        answer.first = answer.sent + ttft + OWN.latency + 1e-9 * place
        answer.fate = Fate.DONE
        took = {"queued": 0.001, "loading": 0.0, "prefill": 0.019, "ttft": ttft, "decode": decode}
        took["total"] = ttft + decode + beside
        answer.timings = {f"{name}_ms": 1e3 * seconds for name, seconds in took.items()}


def ask(slots: int, **options: Any) -> Delays:
    return asyncio.run(measured(cast(Endpoint, Server()), "m", Prompts(), slots, 3, **options))


@pytest.mark.parametrize("slots", [2, 4])
def test_what_was_put_in_comes_out(slots: int) -> None:
    found = ask(slots)
    for name in ("latency", "hop", "turn", "draw", "change"):
        assert getattr(found, name) == pytest.approx(getattr(OWN, name), abs=1e-6)


def test_a_single_slot_tells_of_the_beginning_alone() -> None:
    found = ask(1)
    assert found.turn == pytest.approx(OWN.turn + OWN.draw)
    assert found.draw == 0.0
    assert found.change == pytest.approx(OWN.change)


def test_steps_slower_than_profiled_are_the_servers_own() -> None:
    found = ask(4, profiled=lambda sequences: step(sequences) - 0.0002 * sequences - 0.0001)
    assert found.turn == pytest.approx(OWN.turn + 0.0001)
    assert found.draw == pytest.approx(OWN.draw + 0.0002)
