"""What one side, device or host, has to do under a placement, in amounts and in the roofline's seconds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from hotbunk.costs.anatomy import Anatomy, Share
from hotbunk.costs.roofline import Roofline, Side
from hotbunk.placement import Placement

__all__ = ["Sides", "Work", "sides"]

_OPERATIONS = 16  # libllama's launches for a block, about, once small ones are fused


@dataclass(frozen=True, slots=True)
class Work:
    """One side's share of a model.

    ``dense`` and ``experts`` are bytes, ``dense_read`` and ``experts_read`` the seconds to read them once at best;
    ``dense_multiply`` and ``experts_multiply`` those to multiply one token with them in a large batch. ``launches`` is
    the seconds that the operations of its layers take to launch. ``rows`` (bytes of KV cache for each token) and
    ``pairs`` (multiplications for each pair of tokens) are grouped by window; ``attended`` is seconds for each byte of
    KV cache, ``paired`` and ``alone`` seconds for each pair of a large batch, and of one token.
    """

    layers: int
    dense: float
    experts: float
    dense_read: float
    experts_read: float
    dense_multiply: float
    experts_multiply: float
    launches: float
    rows: tuple[tuple[int, int], ...]
    pairs: tuple[tuple[int, int], ...]
    attended: float
    paired: float
    alone: float

    def bytes(self, spread: float) -> float:
        """Bytes of weights read, with that share of the experts."""
        return self.dense + spread * self.experts

    def reading(self, spread: float) -> float:
        """Seconds to read them."""
        return self.dense_read + spread * self.experts_read

    def multiplying(self, busy: float) -> float:
        """Seconds for each token of a large batch, of whose experts that share is at work."""
        return self.dense_multiply + busy * self.experts_multiply

    def kv(self, tokens: int) -> int:
        """Bytes of KV cache that a token reads which has so many behind it."""
        return _seen(self.rows, tokens)

    def attending(self, tokens: int) -> float:
        """Seconds for a token that has so many behind it: it reads them, and multiplies with them."""
        return max(self.kv(tokens) * self.attended, _seen(self.pairs, tokens) * self.alone)

    def attention(self, start: int, tokens: int) -> float:
        """Multiplications of attention while tokens ``start`` to ``start + tokens`` are evaluated.

        Each looks at what came before it, so the mean length of context counts.
        """
        return float(_seen(self.pairs, start + (tokens + 1) // 2) * tokens)


@dataclass(frozen=True, slots=True)
class Sides:
    """Both sides of a placement, and what of its experts a batch reads or a token uses."""

    device: Work
    host: Work
    anatomy: Anatomy

    @property
    def split(self) -> bool:
        """Whether a token's evaluation crosses the bus."""
        return bool(self.device.layers) and bool(self.host.layers or self.host.rows or self.host.experts)


def sides(anatomy: Anatomy, roofline: Roofline, placement: Placement) -> Sides:
    """Take a placement apart."""
    device, host = anatomy.shares(placement)
    return Sides(_work(device, roofline.device), _work(host, roofline.host), anatomy)


def _work(share: Share, side: Side) -> Work:
    dense = _sum(layer.dense for layer in share.weights)
    experts = _sum(layer.experts for layer in share.experts)
    elements = sum(layer.elements for layer in share.weights)
    mixed = sum(layer.expert_elements for layer in share.experts)
    layers = len(share.weights)
    return Work(
        layers=layers,
        dense=sum(dense.values()),
        experts=sum(experts.values()),
        dense_read=side.reading(dense),
        experts_read=side.reading(experts),
        dense_multiply=side.multiplying(dense, elements),
        experts_multiply=side.multiplying(experts, mixed),
        launches=_OPERATIONS * layers * side.launch,
        rows=_by_window((layer.window, layer.row) for layer in share.cached),
        pairs=_by_window((layer.window, layer.pairs) for layer in share.cached),
        attended=side.reading({"F16": 1.0}),
        paired=side.multiplying({"F16": 1.0}, 1.0),
        alone=1 / side.attend,
    )


def _sum(sizes: Iterable[Mapping[str, int]]) -> dict[str, float]:
    total: Counter[str] = Counter()
    for each in sizes:
        total.update(each)
    return dict[str, float](total)


def _by_window(pairs: Iterable[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    total: Counter[int] = Counter()
    for window, amount in pairs:
        total[window] += amount
    return tuple((window, amount) for window, amount in total.items() if amount)


def _seen(groups: tuple[tuple[int, int], ...], tokens: int) -> int:
    return sum(amount * (min(tokens, window) if window else tokens) for window, amount in groups)
