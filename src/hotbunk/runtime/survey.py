"""Before anything is served: which models fit the device's budget, and how."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable

from hotbunk.costs.model import Costs
from hotbunk.errors import ConfigError, EngineError, UnusableModel
from hotbunk.llama import header
from hotbunk.llama.gguf import Gguf, read
from hotbunk.models import Served
from hotbunk.runtime.catalog import Entry
from hotbunk.runtime.process import WorkerLost
from hotbunk.units import brief_size
from hotbunk.worker.protocol import Open, Opened, Predict, Predicted

log = logging.getLogger("hotbunk.runtime")

Ask = Callable[[Open | Predict], Awaitable[Opened | Predicted]]
Meet = Callable[[Served, Gguf], Costs | None]
"""Says what a model costs, if that is known."""


async def survey(entries: Iterable[Entry], budget: int, ask: Ask, meet: Meet) -> None:
    """Open and price every model; those to be kept first, the others in what is left.

    A model that cannot be served gets its ``problem`` and the others go on.

    Raises:
        ConfigError: a model to be kept resident does not fit beside the others to be kept.
    """
    room = budget
    for entry in sorted(entries, key=lambda e: not e.served.keep_resident):
        entry.problem = await consider(entry, room, budget, ask, meet)
        if entry.problem:
            log.warning("%s cannot be served: %s", entry.served.id, entry.problem)
            if entry.served.keep_resident:
                raise ConfigError(f"{entry.served.id} cannot be kept resident: {entry.problem}")
        elif entry.served.keep_resident and entry.placement:
            room -= entry.placement.device.total


async def consider(entry: Entry, room: int, budget: int, ask: Ask, meet: Meet) -> str | None:
    """Open a model and price it for ``room`` bytes of the ``budget``; why it cannot be served, None if it can."""
    served = entry.served
    try:
        facts = read(served.path)  # a file that is not what it should be never reaches the worker
        entry.sources, entry.layers, entry.context = facts.sources, facts.blocks + 1, served.tokens(facts.context)
        await ask(Open(served.id, str(facts.path)))
        answer = await ask(Predict(served.id, entry.context, served.slots, served.layers, room))
        assert isinstance(answer, Predicted)
        header.check(facts.sources)
        if answer.placement.device.total > room:
            return _too_large(answer, room, budget)
        entry.priced(answer.placement, meet(served, facts))
    except (UnusableModel, EngineError) as error:
        return str(error)
    except WorkerLost:
        return "the worker died while it opened the file; the file is damaged or beyond this libllama"
    return None


def _too_large(answer: Predicted, room: int, budget: int) -> str:
    placement = answer.placement
    kept = f" ({brief_size(budget - room)} of it is for models kept resident)" if room < budget else ""
    return (
        f"with {placement.layers} layers on the device and {placement.slots} slots of {placement.context} tokens it "
        f"needs {brief_size(placement.device.total)} of device memory, but the budget is {brief_size(budget)}{kept}; "
        "raise the budget, or lower context or slots"
    )
