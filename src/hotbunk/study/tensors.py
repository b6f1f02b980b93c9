"""The tensors of a shape, in the types that llama.cpp's own quantising gives them.

``Q4_K_M`` takes Q6_K for the head, and in some blocks for the values and the way down; ``Q4_0`` for the head alone.
Where rows are no multiple of a type's block of values, the next simpler type is taken (``tensor_type_fallback`` in
llama-quant.cpp). Norms, biases and the router of a mixture stay in F32.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

from hotbunk.study.shapes import Shape

__all__ = ["BF16", "F16", "F32", "Tensor", "Type", "tensors"]


@dataclass(frozen=True, slots=True)
class Type:
    """How weights are stored: libggml's number for it, and how many ``values`` take how many ``size`` bytes."""

    number: int
    values: int
    size: int


F32 = Type(0, 1, 4)
F16 = Type(1, 1, 2)
BF16 = Type(30, 1, 2)
Q4_0 = Type(2, 32, 18)
Q5_0 = Type(6, 32, 22)
Q8_0 = Type(8, 32, 34)
Q4_K = Type(12, 256, 144)
Q6_K = Type(14, 256, 210)
_MAIN = {"F16": F16, "BF16": BF16, "Q8_0": Q8_0, "Q4_0": Q4_0, "Q4_K_M": Q4_K}
_BETTER = {Q4_0: Q6_K, Q4_K: Q6_K}
_SIMPLER = {Q4_K: Q5_0, Q6_K: Q8_0}


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor; ``shape`` as libggml writes it, the length of a row first."""

    name: str
    shape: tuple[int, ...]
    type: Type

    @property
    def size(self) -> int:
        """Bytes."""
        return prod(self.shape) // self.type.values * self.type.size


def tensors(shape: Shape, kind: str) -> Iterator[Tensor]:
    """All tensors of a shape, written as ``kind`` (one of ``TYPES``), in the order of the file."""
    main = _MAIN[kind]
    head = _BETTER.get(main, main)
    whole = (shape.width, shape.vocabulary)
    yield _matrix("token_embd.weight", whole, head if shape.tied else main)
    for number in range(shape.blocks):
        better = Q6_K if kind == "Q4_K_M" and _more_bits(number, shape.blocks) else main
        for tensor in (*_attention(shape, main, better), *_feed_forward(shape, main, better)):
            yield Tensor(f"blk.{number}.{tensor.name}", tensor.shape, tensor.type)
    yield _vector("output_norm.weight", shape.width)
    if not shape.tied:
        yield _matrix("output.weight", whole, head)


def _attention(shape: Shape, main: Type, better: Type) -> Iterator[Tensor]:
    queries, keys = shape.heads * shape.head, shape.kv_heads * shape.head
    yield _vector("attn_norm.weight", shape.width)
    for name, length, kind in (("q", queries, main), ("k", keys, main), ("v", keys, better)):
        yield _matrix(f"attn_{name}.weight", (shape.width, length), kind)
        if shape.architecture == "qwen2":
            yield _vector(f"attn_{name}.bias", length)
    if shape.architecture in ("qwen3", "qwen3moe"):
        yield _vector("attn_q_norm.weight", shape.head)
        yield _vector("attn_k_norm.weight", shape.head)
    yield _matrix("attn_output.weight", (queries, shape.width), main)


def _feed_forward(shape: Shape, main: Type, better: Type) -> Iterator[Tensor]:
    yield _vector("ffn_norm.weight", shape.width)
    count = (shape.experts,) if shape.experts else ()
    ending = "_exps" if shape.experts else ""
    if shape.experts:
        yield Tensor("ffn_gate_inp.weight", (shape.width, shape.experts), F32)
    yield _matrix(f"ffn_gate{ending}.weight", (shape.width, shape.ffn, *count), main)
    yield _matrix(f"ffn_up{ending}.weight", (shape.width, shape.ffn, *count), main)
    yield _matrix(f"ffn_down{ending}.weight", (shape.ffn, shape.width, *count), better)


def _vector(name: str, length: int) -> Tensor:
    return Tensor(name, (length,), F32)


def _matrix(name: str, shape: tuple[int, ...], kind: Type) -> Tensor:
    if shape[0] % kind.values:
        kind = _SIMPLER.get(kind, F16)
    return Tensor(name, shape, F16 if shape[0] % kind.values else kind)


def _more_bits(number: int, blocks: int) -> bool:
    """Where Q4_K_M takes Q6_K (``use_more_bits``)."""
    return number < blocks // 8 or number >= 7 * blocks // 8 or (number - blocks // 8) % 3 == 2
