"""What a placement takes in bytes, by formula, where there is no worker to ask for a dry load.

    weights = dense and experts of the layers on a side
    kv      = slots * sum over the cached layers of row * min(context, window + CHUNK)
    compute = COMPUTE on a device that has layers, and on the host min(CHUNK, context) (8 width + 2 context)

where a window's cache holds a chunk besides the window. The embedding table is always on the host and is not counted,
nor is what the host store has anyway. libllama's dry loads say the same of the KV cache, and of weights but for the
alignment of tensors (tests/llama/test_placement.py). The device's compute buffers depend on the width of a model and
hardly on its context; ``COMPUTE`` is about what they say of models of 3 to 30 billion parameters, and of small ones far
too much. The host's, through which inputs and masks pass, is what they say on a GPU of models of 8 billion.
"""

from __future__ import annotations

from collections.abc import Sequence

from hotbunk.costs.anatomy import Anatomy, Share
from hotbunk.costs.plan import ladder
from hotbunk.costs.steps import CHUNK
from hotbunk.placement import Footprint, Placement

__all__ = ["COMPUTE", "offers", "price"]

COMPUTE = 120_000_000


def price(anatomy: Anatomy, layers: int, context: int, slots: int, experts: int | None = None) -> Placement:
    """A placement with its bytes."""
    bare = Placement(layers, context, slots, experts=experts, cached=layers)
    device, host = anatomy.shares(bare)
    kv = _kv(device, context) * slots, _kv(host, context) * slots
    here = Footprint(_weights(device), kv[0], COMPUTE if layers > 1 else 0)
    there = Footprint(0, kv[1], _inputs(anatomy, context))
    return Placement(layers, context, slots, here, there, experts, layers)


def offers(anatomy: Anatomy, context: int, slots: int, budget: int) -> tuple[Placement, ...]:
    """The placements worth offering within a budget, the most that fits first, and below it some rungs.

    The last is the model on the host alone, which takes nothing of the device.
    """
    layers = len(anatomy.layers)
    places = [price(anatomy, count, context, slots) for count in range(layers, -1, -1)]
    if anatomy.experts:  # experts are given up first: each token reads but a few of them
        blocks = range(anatomy.blocks - 1, -1, -1)
        places[1:1] = [price(anatomy, layers, context, slots, count) for count in blocks]
    fitting = [place for place in places if place.device.total <= budget]
    return tuple(dict.fromkeys([*fitting[:1], *_rungs(fitting, layers)]))


def _rungs(places: Sequence[Placement], layers: int) -> list[Placement]:
    whole = [place for place in places if place.layers == layers]
    mixed = whole[1 :: max(1, len(whole) // 4)]
    return [
        *whole[:1],
        *mixed,
        *(place for place in places if place.layers in ladder(layers) and place.layers < layers),
    ]


def _weights(share: Share) -> int:
    dense = sum(sum(layer.dense.values()) for layer in share.weights)
    return dense + sum(sum(layer.experts.values()) for layer in share.experts)


def _inputs(anatomy: Anatomy, context: int) -> int:
    width = anatomy.layers[-1].elements // anatomy.vocabulary if anatomy.vocabulary else 0
    return min(CHUNK, context) * (8 * width + 2 * context)


def _kv(share: Share, context: int) -> int:
    return sum(layer.row * min(context, layer.window + CHUNK if layer.window else context) for layer in share.cached)
