"""Placement: how much of a model is where. The one value that worker, scheduler and runtime all speak of."""

from __future__ import annotations

from dataclasses import dataclass

MOST_SLOTS = 256
"""Sequences that libllama has room for in a context, its ``LLAMA_MAX_SEQ``."""


@dataclass(frozen=True, slots=True)
class Footprint:
    """Bytes that a loaded model takes on one side (device or host), by purpose."""

    weights: int = 0
    kv: int = 0
    compute: int = 0

    @property
    def total(self) -> int:
        """All bytes together."""
        return self.weights + self.kv + self.compute


@dataclass(frozen=True, slots=True)
class Placement:
    """A residency (``layers`` of all layers on the device), a context for each of ``slots``, and their price in bytes.

    ``layers`` counts the transformer blocks plus one for the output head, as libllama's ``n_gpu_layers`` does; blocks
    are taken from the last to the first, the head before them. ``context`` is in tokens for each slot. ``host`` counts
    what lies in host memory besides the host store itself (KV cache and compute buffers of layers left there).

    ``experts`` counts the blocks among ``layers`` whose experts are on the device too, from the last on (None: all of
    them; without mixture of experts it means nothing). ``cached`` counts the layers whose KV cache is on the device
    (None: those of ``layers``): a model that gives up layers may keep its contexts as they are.
    """

    layers: int
    context: int
    slots: int
    device: Footprint = Footprint()
    host: Footprint = Footprint()
    experts: int | None = None
    cached: int | None = None

    @property
    def cache_share(self) -> float:
        """How much of the KV cache is on the device, by its bytes."""
        total = self.device.kv + self.host.kv
        return self.device.kv / total if total else 1.0

    def keeps_context(self, before: Placement) -> bool:
        """Whether the contexts of ``before`` stay as they are, so that only weights move."""
        return self._context == before._context

    @property
    def _context(self) -> tuple[int, int, int]:
        return self.context, self.slots, self.layers if self.cached is None else self.cached
