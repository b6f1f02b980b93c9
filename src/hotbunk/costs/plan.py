"""What models would do within a budget of device memory: a calculation over their costs, with no device at hand.

For a model at a placement, with a prompt of ``P`` tokens:

    decode speed = n / decode(n sequences with P tokens each)             [tokens/s]
    TTFT, resident     = prefill(P), which yields the first token         [s]
    TTFT, not resident = load + prefill(P)                                [s]
    switch from A to B = n kv_out_A(P) + unload_A + load_B + n kv_in_B(P) [s]

with ``n`` sequences of each. Models fit together if the device bytes of their placements sum up to the budget at most;
of the ways in which they do, the one counts that keeps most of their speed,

    maximise  (prod_m speed_m / best speed_m) ** (1 / models)

which is found by adding one model after the other and keeping only the ways that no other beats in bytes and speed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import combinations, permutations
from math import exp, log
from operator import add
from typing import TYPE_CHECKING

from hotbunk.errors import ConfigError
from hotbunk.placement import Placement
from hotbunk.units import brief_size

if TYPE_CHECKING:  # SciPy takes a while, and --help can do without
    from hotbunk.costs.linear import Estimate
    from hotbunk.costs.model import Costs

__all__ = ["Candidate", "Rung", "Switch", "Together", "check", "ladder", "rungs", "sets", "switches", "together"]

SHARES = (1.0, 0.9, 0.75, 0.5, 0.25, 0.0)
"""Residencies worth looking at, besides the largest that fits."""
MANY = 5
"""Models up to which every set of them is looked at; of more, pairs and the whole."""


@dataclass(frozen=True)
class Candidate:
    """A model to plan for.

    ``placements`` are those worth looking at, priced; ``measured`` counts the points that its costs were fitted to (0:
    they are the roofline's). ``pinned``: its weights and suspended sequences lie in pinned memory.
    """

    name: str
    costs: Costs
    placements: tuple[Placement, ...]
    measured: int = 0
    pinned: bool = True


@dataclass(frozen=True)
class Rung:
    """A placement that fits the budget, and what the model costs there, for prompts of the planned length.

    ``decode`` is a step of one sequence, ``crowd`` one of as many as there are slots; ``out`` and ``back`` move the
    KV cache of one sequence.
    """

    placement: Placement
    decode: Estimate
    crowd: Estimate
    prefill: Estimate
    load: Estimate
    unload: Estimate
    out: Estimate
    back: Estimate

    @property
    def device(self) -> int:
        """Bytes of device memory."""
        return self.placement.device.total

    @property
    def speed(self) -> float:
        """Tokens a second of one sequence."""
        return 1 / self.decode.seconds

    @property
    def throughput(self) -> float:
        """Tokens a second of all slots together."""
        return self.placement.slots / self.crowd.seconds

    @property
    def arrival(self) -> Estimate:
        """Time to the first token where the model has to be loaded first."""
        return self.load + self.prefill


@dataclass(frozen=True)
class Together:
    """Models that stand on the device at once: the rung of each, their bytes, and the share of their speed kept."""

    rungs: tuple[tuple[str, Rung], ...]
    device: int
    kept: float


@dataclass(frozen=True)
class Switch:
    """One model leaves with all its sequences, the other comes with as many that were suspended before."""

    leaves: str
    comes: str
    out: Estimate
    unload: Estimate
    load: Estimate
    back: Estimate

    @property
    def total(self) -> Estimate:
        """All of it."""
        return reduce(add, (self.out, self.unload, self.load, self.back))


def ladder(layers: int) -> list[int]:
    """The residencies worth looking at of a model with so many layers, most first."""
    return sorted({round(share * layers) for share in SHARES}, reverse=True)


def check(name: str, placements: Sequence[Placement], prompt: int, budget: int) -> None:
    """Make sure that there is something to plan.

    Raises:
        ConfigError: none of a model's placements fits the budget, or the prompt does not fit a slot.
    """
    smallest = min(placements, key=lambda place: place.device.total)
    if smallest.device.total > budget:
        raise ConfigError(
            f"--budget {brief_size(budget)}: {name} needs {brief_size(smallest.device.total)} of device memory with "
            f"{smallest.layers} layers there; give more, a shorter --context or fewer --slots"
        )
    if not 0 < prompt < smallest.context:
        raise ConfigError(
            f"--prompt {prompt}: a slot of {name} has {smallest.context} tokens of context; "
            "give a shorter prompt or a longer --context"
        )


def rungs(candidate: Candidate, prompt: int, budget: int) -> tuple[Rung, ...]:
    """Those of a model's placements that fit, the fastest first.

    Raises:
        ConfigError: as ``check`` does.
    """
    check(candidate.name, candidate.placements, prompt, budget)
    fitting = {place for place in candidate.placements if place.device.total <= budget}
    found = [_rung(candidate, place, prompt) for place in fitting]
    return tuple(sorted(found, key=lambda rung: (rung.decode.seconds, rung.device)))


def together(ways: Sequence[tuple[str, Sequence[Rung]]], budget: int) -> Together | None:
    """How models, each by name with its rungs (the fastest first), stand on the device at once; None: not at all."""
    front: list[tuple[int, float, tuple[tuple[str, Rung], ...]]] = [(0, 0.0, ())]
    for name, choices in ways:
        grown = (
            (size + rung.device, lost + log(choices[0].speed / rung.speed), (*chosen, (name, rung)))
            for size, lost, chosen in front
            for rung in choices
            if size + rung.device <= budget
        )
        front = list(_unbeaten(grown))
    if not front:
        return None
    size, lost, chosen = front[-1]  # the largest, and so the fastest
    return Together(chosen, size, exp(-lost / len(ways)))


def sets(ways: Sequence[tuple[str, Sequence[Rung]]], budget: int) -> Iterator[tuple[tuple[str, ...], Together | None]]:
    """Which models fit together, pairs first."""
    sizes = range(2, len(ways) + 1) if len(ways) <= MANY else (2, len(ways))
    for size in sizes:
        for chosen in combinations(ways, size):
            yield tuple(name for name, _ in chosen), together(chosen, budget)


def switches(ways: Sequence[tuple[str, Sequence[Rung]]]) -> Iterator[Switch]:
    """Every switch from one model to another, each at its best."""
    for (leaves, before), (comes, after) in permutations(ways, 2):
        old, new = before[0], after[0]
        out, back = old.out.times(old.placement.slots), new.back.times(new.placement.slots)
        yield Switch(leaves, comes, out, old.unload, new.load, back)


def _unbeaten(
    ways: Iterable[tuple[int, float, tuple[tuple[str, Rung], ...]]],
) -> Iterator[tuple[int, float, tuple[tuple[str, Rung], ...]]]:
    """By bytes, those that lose less speed than all that take fewer."""
    least = float("inf")
    for way in sorted(ways, key=lambda way: way[:2]):
        if way[1] < least:
            least = way[1]
            yield way


def _rung(candidate: Candidate, place: Placement, prompt: int) -> Rung:
    costs, pinned = candidate.costs, candidate.pinned
    return Rung(
        placement=place,
        decode=costs.decode(place, [prompt]),
        crowd=costs.decode(place, [prompt] * place.slots),
        prefill=costs.prefill(place, prompt),
        load=costs.load(place, pinned=pinned),
        unload=costs.unload(place),
        out=costs.kv_out(place, prompt, pinned=pinned),
        back=costs.kv_in(place, prompt, pinned=pinned),
    )
