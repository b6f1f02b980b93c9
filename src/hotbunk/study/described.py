"""A shape as the metadata of the file that ``make-model`` would write of it, for those who need no more than that."""

from __future__ import annotations

from math import prod

from hotbunk.llama.gguf import Gguf, Tensor
from hotbunk.study.shapes import Shape
from hotbunk.study.tensors import BF16, F16, F32, Q4_0, Q4_K, Q5_0, Q6_K, Q8_0, tensors

__all__ = ["described"]

_NAMES = {F32: "f32", F16: "f16", BF16: "bf16", Q4_0: "q4_0", Q5_0: "q5_0", Q8_0: "q8_0", Q4_K: "q4_K", Q6_K: "q6_K"}


def described(shape: Shape, kind: str | None = None) -> Gguf:
    """Its metadata, written as ``kind`` (None: the shape's own type); there are no files."""
    found = tuple(
        Tensor(each.name, _NAMES[each.type], each.size, prod(each.shape)) for each in tensors(shape, kind or shape.type)
    )
    return Gguf(
        sources=(),
        architecture=shape.architecture,
        name="",
        blocks=shape.blocks,
        heads=(shape.heads,) * shape.blocks,
        kv_heads=(shape.kv_heads,) * shape.blocks,
        key_length=shape.head,
        value_length=shape.head,
        vocabulary=shape.vocabulary,
        context=shape.context,
        window=0,
        windowed=(False,) * shape.blocks,
        experts=shape.experts,
        active=shape.active,
        quantisation=kind or shape.type,
        tensors=found,
    )
