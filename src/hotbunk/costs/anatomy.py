"""What a model is made of, as far as it costs time: bytes that a token reads, and elements that it multiplies with.

A plain value, made of a GGUF's metadata alone (``dissect``); nothing here is measured.

    bytes read for n tokens at once = dense + experts * (1 - (1 - active / all) ** n)

since each token picks ``active`` of ``all`` experts: a batch reads the union of its picks, taken as independent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hotbunk.placement import Placement

__all__ = ["Anatomy", "Layer", "Share"]


@dataclass(frozen=True, slots=True)
class Layer:
    """A block, or the output head.

    ``dense`` and ``experts`` are bytes of weights by type (``F16``, ``Q4_K``); experts' are of all together.
    ``elements`` and ``expert_elements`` count their values. ``row`` is the bytes of KV cache of one token, ``pairs``
    the multiplications of one query token with one cached one. ``window``: tokens that it looks back at most; 0: all.
    """

    dense: Mapping[str, int]
    experts: Mapping[str, int]
    elements: int
    expert_elements: int
    row: int = 0
    pairs: int = 0
    window: int = 0


@dataclass(frozen=True, slots=True)
class Share:
    """What of a model one side works on: the ``weights`` and ``experts`` of layers, and the KV cache of ``cached``."""

    weights: tuple[Layer, ...]
    experts: tuple[Layer, ...]
    cached: tuple[Layer, ...]


@dataclass(frozen=True, slots=True)
class Anatomy:
    """A model: its blocks, first to last, and then its output head. ``active`` of ``experts`` work on a token.

    ``vocabulary``: tokens it has; 0: not known.
    """

    name: str
    layers: tuple[Layer, ...]
    experts: int = 0
    active: int = 0
    vocabulary: int = 0

    @property
    def blocks(self) -> int:
        """Layers but for the head."""
        return len(self.layers) - 1

    @property
    def weights(self) -> int:
        """Bytes of all weights that layers have."""
        return sum(sum(layer.dense.values()) + sum(layer.experts.values()) for layer in self.layers)

    def spread(self, tokens: int) -> float:
        """The share of the experts that a batch of so many tokens reads."""
        return 1 - (1 - self.active / self.experts) ** tokens if self.experts else 1.0

    @property
    def busy(self) -> float:
        """The share of the experts that works on one token."""
        return self.active / self.experts if self.experts else 1.0

    def shares(self, placement: Placement) -> tuple[Share, Share]:
        """What the device works on, and what the host does, under a placement."""
        first = len(self.layers) - min(placement.layers, len(self.layers))  # the head is the first to move
        placed, left = self.layers[first:], self.layers[:first]
        experts = len(placed) if placement.experts is None else min(placement.experts + 1, len(placed))
        begin = len(placed) - experts
        cached = len(self.layers) - min(_first(placement.cached, placement.layers), len(self.layers))
        device = Share(placed, placed[begin:], self.layers[cached:])
        return device, Share(left, (*left, *placed[:begin]), self.layers[:cached])


def _first(value: int | None, otherwise: int) -> int:
    return otherwise if value is None else value
