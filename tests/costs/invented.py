"""A model whose costs can be reckoned in one's head, for what calculates with costs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from hotbunk.costs.linear import Estimate
from hotbunk.costs.model import Costs
from hotbunk.costs.plan import Candidate
from hotbunk.placement import Footprint, Placement

LAYERS = 10


@dataclass(frozen=True)
class Invented:
    """Costs in seconds: of a token on the device and on the host, of its context, of a layer's load, of KV's move."""

    device: float = 0.01
    host: float = 0.1
    behind: float = 0.0
    layer: float = 0.1
    kv: float = 0.0

    def decode(self, placement: Placement, contexts: Sequence[int]) -> Estimate:
        share = placement.layers / LAYERS
        return _sure(share * self.device + (1 - share) * self.host + self.behind * sum(contexts))

    def prefill(self, placement: Placement, tokens: int, start: int = 0) -> Estimate:
        return self.decode(placement, [0]).times(tokens / 100)

    def load(self, placement: Placement, before: Placement | None = None, pinned: bool = True) -> Estimate:
        return _sure(self.layer * abs(placement.layers - (before.layers if before else 0)))

    def unload(self, placement: Placement) -> Estimate:
        return _sure(0.01)

    def kv_out(self, placement: Placement, tokens: int, pinned: bool = True) -> Estimate:
        return _sure(self.kv * tokens)

    def kv_in(self, placement: Placement, tokens: int, pinned: bool = True) -> Estimate:
        return _sure(2 * self.kv * tokens)


def candidate(name: str, costs: Invented, size: int = 10, context: int = 8192, slots: int = 2) -> Candidate:
    """A model of ``LAYERS`` layers, each of ``size`` bytes, and as many for its buffers."""
    counts = (10, 8, 5, 2, 0)
    places = (Placement(count, context, slots, Footprint(size * count, 0, size), experts=None) for count in counts)
    return Candidate(name, cast(Costs, costs), tuple(places))


def _sure(seconds: float) -> Estimate:
    return Estimate(seconds, 0.9 * seconds, 1.2 * seconds)
