"""The memory a context takes, as libllama itself accounts for it: bytes by buffer type and purpose."""

from __future__ import annotations

import ctypes as C
from collections.abc import Iterator

from hotbunk.errors import EngineError
from hotbunk.llama.device import Device
from hotbunk.llama.lib import Pointer, Size, bind, llama
from hotbunk.placement import Footprint

__all__ = ["footprints"]

_SYMBOL = "_Z26llama_get_memory_breakdownPK13llama_context"


class _Map(C.Structure):
    """A ``std::map``: the header of a red-black tree, whose parent is the root, and the number of its nodes."""

    _fields_ = (("compare", Size), ("colour", Size), ("root", Pointer), ("ends", Pointer * 2), ("count", Size))


class _Node(C.Structure):
    _fields_ = (
        ("colour", Size),
        ("parent", Pointer),
        ("left", Pointer),
        ("right", Pointer),
        ("buffer_type", Pointer),
        ("weights", Size),
        ("kv", Size),
        ("compute", Size),
    )


def footprints(context: int, device: Device) -> tuple[Footprint, Footprint]:
    """Bytes of a context and its model on the device and in host memory. On the CPU, all of it is on the device.

    Raises:
        EngineError: libllama does not tell, or not in the form expected.
    """
    try:
        breakdown = bind(llama, _SYMBOL, _Map, Pointer)
    except AttributeError as error:
        raise EngineError(f"libllama does not export {_SYMBOL}") from error
    tree = breakdown(context)
    nodes = list(_take(tree.root)) if tree.root else []
    if len(nodes) != tree.count:
        raise EngineError("libllama's account of its memory is not laid out as expected")
    sides = {True: Footprint(), False: Footprint()}
    for node in nodes:
        here = device.is_cpu or node.buffer_type == device.buffer_type
        side = sides[here]
        sides[here] = Footprint(side.weights + node.weights, side.kv + node.kv, side.compute + node.compute)
    return sides[True], sides[False]


def _take(address: int) -> Iterator[_Node]:
    """Walk a tree that is ours to free, copying its nodes."""
    node = _Node.from_buffer_copy(C.string_at(address, C.sizeof(_Node)))
    for child in (node.left, node.right):
        if child:
            yield from _take(child)
    bind(C.CDLL("libstdc++.so.6"), "_ZdlPv", None, Pointer)(address)
    yield node
