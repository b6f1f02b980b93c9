"""The beginning of a GGUF file: what the model is, its tokenizer, and where its tensors lie.

The format (version 3, little-endian), from llama.cpp's ``ggml/include/gguf.h``:

    "GGUF", version u32, tensors i64, pairs i64
    each pair: key, type i32, value;                       a string is its length u64 and its bytes
    each tensor: name, dimensions u32, each one i64, type i32, offset u64 in the data
    zeroes up to a multiple of 32; then the data, each tensor at a multiple of 32
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache

from hotbunk.study.shapes import Shape
from hotbunk.study.tensors import Tensor
from hotbunk.study.tokenizer import TEMPLATE, tokenizer

__all__ = ["ALIGNMENT", "header", "padding"]

ALIGNMENT = 32
_FILE_TYPES = {"F16": 1, "Q4_0": 2, "Q8_0": 7, "Q4_K_M": 15, "BF16": 32}
_UINT32, _INT32, _FLOAT32, _BOOL, _STRING, _ARRAY = 4, 5, 6, 7, 8, 9
_NORMAL, _CONTROL = 1, 3  # types of tokens

Value = int | float | str | Sequence[int] | Sequence[str]


def header(shape: Shape, kind: str, tensors: Sequence[Tensor]) -> bytes:
    """All that comes before the first tensor's data.

    Raises:
        ConfigError: there is no tokenizer for such a vocabulary.
    """
    facts = dict(_describe(shape, kind))
    count, words = _tokenizer(shape.vocabulary)
    start = b"GGUF" + struct.pack("<Iqq", 3, len(tensors), len(facts) + count)
    whole = b"".join([start, _pairs(facts), words, *_places(tensors)])
    return whole + bytes(padding(len(whole)))


def padding(size: int) -> int:
    """How many bytes are missing to the next multiple of the alignment."""
    return -size % ALIGNMENT


def _describe(shape: Shape, kind: str) -> Iterator[tuple[str, Value]]:
    yield "general.architecture", shape.architecture
    yield "general.file_type", _FILE_TYPES[kind]
    facts: dict[str, Value] = {
        "context_length": shape.context,
        "embedding_length": shape.width,
        "block_count": shape.blocks,
        "feed_forward_length": shape.ffn,
        "attention.head_count": shape.heads,
        "attention.head_count_kv": shape.kv_heads,
        "attention.key_length": shape.head,
        "attention.value_length": shape.head,
        "attention.layer_norm_rms_epsilon": shape.epsilon,
        "rope.dimension_count": shape.head,
        "rope.freq_base": shape.rope,
        "vocab_size": shape.vocabulary,
    }
    if shape.experts:
        facts |= {"expert_count": shape.experts, "expert_used_count": shape.active}
    if shape.architecture == "qwen3moe":
        facts["expert_feed_forward_length"] = shape.ffn
    for key, value in facts.items():
        yield f"{shape.architecture}.{key}", value


@lru_cache(maxsize=4)
def _tokenizer(vocabulary: int) -> tuple[int, bytes]:
    """How many pairs there are, and their bytes: nearly all of the header, and the same for many shapes."""
    tokens, merges = tokenizer(vocabulary)
    facts: dict[str, Value] = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [_NORMAL] * (vocabulary - 2) + [_CONTROL] * 2,
        "tokenizer.ggml.merges": merges,
        "tokenizer.ggml.bos_token_id": vocabulary - 2,
        "tokenizer.ggml.eos_token_id": vocabulary - 1,
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.chat_template": TEMPLATE,
    }
    return len(facts), _pairs(facts)


def _pairs(facts: Mapping[str, Value]) -> bytes:
    return b"".join(_string(key) + _value(value) for key, value in facts.items())


def _places(tensors: Iterable[Tensor]) -> Iterator[bytes]:
    offset = 0
    for tensor in tensors:
        dimensions = struct.pack(f"<I{len(tensor.shape)}q", len(tensor.shape), *tensor.shape)
        yield _string(tensor.name) + dimensions + struct.pack("<iQ", tensor.type.number, offset)
        offset += tensor.size + padding(tensor.size)


def _value(value: Value) -> bytes:
    match value:
        case bool():
            return struct.pack("<i?", _BOOL, value)
        case int():
            return struct.pack("<iI", _UINT32, value)
        case float():
            return struct.pack("<if", _FLOAT32, value)
        case str():
            return struct.pack("<i", _STRING) + _string(value)
    return struct.pack("<i", _ARRAY) + _array(value)


def _array(values: Sequence[int] | Sequence[str]) -> bytes:
    numbers = [value for value in values if isinstance(value, int)]
    if numbers:
        return struct.pack(f"<iQ{len(numbers)}i", _INT32, len(numbers), *numbers)
    return struct.pack("<iQ", _STRING, len(values)) + b"".join(_string(str(value)) for value in values)


def _string(text: str) -> bytes:
    raw = text.encode()
    return struct.pack("<Q", len(raw)) + raw
