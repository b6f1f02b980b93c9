"""The anatomy of a model, from its GGUF metadata."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from hotbunk.costs.anatomy import Anatomy, Layer
from hotbunk.llama.gguf import Gguf, Tensor

__all__ = ["dissect"]

_BLOCK = re.compile(r"blk\.(\d+)\.")
_EXPERTS = re.compile(r"_exps\b")
_F16 = 2  # bytes of a value in the KV cache


def dissect(gguf: Gguf, name: str | None = None) -> Anatomy:
    """Take a model's metadata apart."""
    blocks: list[list[Tensor]] = [[] for _ in range(gguf.blocks)]
    head: list[Tensor] = []
    for tensor in gguf.tensors:
        match = _BLOCK.match(tensor.name)
        if match and int(match[1]) < gguf.blocks:
            blocks[int(match[1])].append(tensor)
        elif tensor.name.startswith("output") or (gguf.tied and tensor.name == "token_embd.weight"):
            head.append(tensor)
    layers = [_block(gguf, number, tensors) for number, tensors in enumerate(blocks)]
    return Anatomy(name or gguf.name, (*layers, _weights(head)), gguf.experts, gguf.active, gguf.vocabulary)


def _block(gguf: Gguf, number: int, tensors: Iterable[Tensor]) -> Layer:
    layer = _weights(tensors)
    length = gguf.key_length + gguf.value_length
    window = gguf.window if gguf.windowed[number] else 0
    row, pairs = gguf.kv_heads[number] * length * _F16, gguf.heads[number] * length
    return Layer(layer.dense, layer.experts, layer.elements, layer.expert_elements, row, pairs, window)


def _weights(tensors: Iterable[Tensor]) -> Layer:
    dense, experts = Counter[str](), Counter[str]()
    elements = [0, 0]
    for tensor in tensors:
        expert = bool(_EXPERTS.search(tensor.name))
        (experts if expert else dense)[tensor.type.upper()] += tensor.size
        elements[expert] += tensor.elements
    return Layer(dict(dense), dict(experts), *elements)
