"""Models of real shapes with random weights and a tokenizer of their own: speed does not depend on the values.

    python benchmarks/shapes.py 8b 8b.gguf [--scale 1.0]

The tokenizer is a byte-level BPE made of the 256 bytes and of merged lower-case letters, so that any text can be
tokenised and nearly every token is plain text. ``--scale`` shrinks widths and vocabulary, not the number of blocks.
"""

from __future__ import annotations

import argparse
import ctypes as C
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice, product
from pathlib import Path
from string import ascii_lowercase

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type
from numpy.typing import NDArray

_POOL = 1 << 22  # distinct random values; larger matrices repeat them
_SPREAD = 0.02  # their standard deviation
_SHIFT = 256 * 97  # how far into the pool the next matrix begins, in values: no two layers are the same
_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@dataclass(frozen=True)
class Shape:
    """A Llama: ``head`` is the length of a key, ``mixed`` whether in Q4_K_M instead of F16."""

    blocks: int
    width: int
    ffn: int
    heads: int
    kv_heads: int
    head: int
    vocabulary: int
    mixed: bool = False

    def scaled(self, scale: float) -> Shape:
        """The same with fewer heads, a narrower feed-forward part and fewer tokens."""
        if scale == 1:
            return self
        heads = max(4, round(self.heads * scale / 4) * 4)
        most = max(1, heads * self.kv_heads // self.heads)
        kv_heads = next(count for count in range(most, 0, -1) if heads % count == 0)
        ffn = max(512, int(self.ffn * scale) // 256 * 256)
        vocabulary = max(2048, int(self.vocabulary * scale))
        return replace(self, width=heads * 64, ffn=ffn, heads=heads, kv_heads=kv_heads, head=64, vocabulary=vocabulary)


SHAPES = {
    "8b": Shape(36, 4096, 12288, 32, 8, 128, 151936),
    "3b": Shape(36, 2048, 11008, 16, 2, 128, 151936),
    "8b-q4": Shape(36, 4096, 12288, 32, 8, 128, 151936, mixed=True),
    "1b": Shape(16, 2048, 8192, 32, 8, 64, 128256),
    "half": Shape(24, 896, 4864, 14, 2, 64, 151936),
}
"""The models of the suite: 16.4, 6.8, 5.0, 3.0 and 1.3 GB."""


class _Pools:
    """Random matrices of any type, cut from one pool of each."""

    def __init__(self) -> None:
        self._values = np.random.default_rng(0).standard_normal(_POOL, dtype=np.float32) * np.float32(_SPREAD)
        self._pools: dict[Type, NDArray[np.uint8]] = {}
        self._shift = 0

    def matrix(self, kind: Type, rows: int, columns: int) -> NDArray[np.uint8]:
        """Bytes of a matrix, by rows."""
        block, size = gguf.GGML_QUANT_SIZES[kind]
        self._shift = (self._shift + _SHIFT) % _POOL
        begin, count = self._shift // block * size, rows * columns // block * size
        pool = self._pools.get(kind)
        if pool is None or len(pool) < begin + count:
            once = self._encode(kind)
            pool = self._pools[kind] = np.tile(once, -(-(begin + count) // len(once)) + 1)
        return pool[begin : begin + count].reshape(rows, -1)

    def _encode(self, kind: Type) -> NDArray[np.uint8]:
        if kind is Type.F16:
            return self._values.astype(np.float16).view(np.uint8)
        # here and not above: who wants the shapes alone can do without libllama
        from hotbunk.llama.lib import Pointer, base, bind

        quantize = bind(base, "ggml_quantize_chunk", C.c_size_t, C.c_int, Pointer, Pointer, *[C.c_int64] * 3, Pointer)
        block, size = gguf.GGML_QUANT_SIZES[kind]
        out = np.empty(_POOL // block * size, np.uint8)
        rows = _POOL // 4096
        assert quantize(kind, self._values.ctypes.data, out.ctypes.data, 0, rows, 4096, None) == len(out)
        return out


def write(path: Path, shape: Shape) -> None:
    """Write a GGUF of that shape."""
    writer, pools = gguf.GGUFWriter(path, "llama"), _Pools()
    _describe(writer, shape)

    def matrix(name: str, rows: int, columns: int, kind: Type = Type.Q4_K) -> None:
        kind = kind if shape.mixed else Type.F16
        values = pools.matrix(kind, rows, columns)
        if kind is Type.F16:
            writer.add_tensor(name, values.view(np.float16))
        else:
            writer.add_tensor(name, values, raw_dtype=kind)

    def norm(name: str) -> None:
        writer.add_tensor(name, np.ones(shape.width, np.float32))

    queries, keys = shape.heads * shape.head, shape.kv_heads * shape.head
    matrix("token_embd.weight", shape.vocabulary, shape.width)
    for number in range(shape.blocks):
        block = f"blk.{number}."
        better = Type.Q6_K if _more_bits(number, shape.blocks) else Type.Q4_K
        norm(block + "attn_norm.weight")
        norm(block + "ffn_norm.weight")
        matrix(block + "attn_q.weight", queries, shape.width)
        matrix(block + "attn_k.weight", keys, shape.width)
        matrix(block + "attn_v.weight", keys, shape.width, better)
        matrix(block + "attn_output.weight", shape.width, queries)
        matrix(block + "ffn_gate.weight", shape.ffn, shape.width)
        matrix(block + "ffn_up.weight", shape.ffn, shape.width)
        matrix(block + "ffn_down.weight", shape.width, shape.ffn, better)
    norm("output_norm.weight")
    matrix("output.weight", shape.vocabulary, shape.width, Type.Q6_K)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _more_bits(number: int, blocks: int) -> bool:
    """Where Q4_K_M takes Q6_K, as libllama does."""
    return number < blocks // 8 or number >= 7 * blocks // 8 or (number - blocks // 8) % 3 == 2


def _describe(writer: gguf.GGUFWriter, shape: Shape) -> None:
    writer.add_context_length(32768)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.blocks)
    writer.add_feed_forward_length(shape.ffn)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_key_length(shape.head)
    writer.add_value_length(shape.head)
    writer.add_rope_dimension_count(shape.head)
    writer.add_rope_freq_base(500000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(shape.vocabulary)
    writer.add_file_type(15 if shape.mixed else 1)
    _add_tokenizer(writer, shape.vocabulary)


def _add_tokenizer(writer: gguf.GGUFWriter, vocabulary: int) -> None:
    merges = list(islice(_merges(), vocabulary - 256 - 2))
    tokens = [*_byte_letters(), *(left + right for left, right in merges), "<|im_start|>", "<|im_end|>"]
    assert len(tokens) == vocabulary, "the letters do not suffice for so many tokens"
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([1] * (vocabulary - 2) + [3, 3])
    writer.add_token_merges([f"{left} {right}" for left, right in merges])
    writer.add_bos_token_id(vocabulary - 2)
    writer.add_eos_token_id(vocabulary - 1)
    writer.add_add_bos_token(False)
    writer.add_chat_template(_TEMPLATE)


def _merges() -> Iterator[tuple[str, str]]:
    """Pairs, triples and then quadruples of letters, each of parts that are tokens already."""
    pairs = ["".join(pair) for pair in product(ascii_lowercase, repeat=2)]
    yield from product(ascii_lowercase, repeat=2)
    yield from product(pairs, ascii_lowercase)
    yield from product(pairs, pairs)


def _byte_letters() -> list[str]:
    """The letters that stand for the bytes: printable ones for themselves, the others from 256 on."""
    shown = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = iter(range(256, 512))
    return [chr(byte if byte in shown else next(others)) for byte in range(256)]


def main() -> None:
    """Write one model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=SHAPES)
    parser.add_argument("path", type=Path)
    parser.add_argument("--scale", type=float, default=1.0)
    arguments = parser.parse_args()
    write(arguments.path, SHAPES[arguments.name].scaled(arguments.scale))


if __name__ == "__main__":
    main()
