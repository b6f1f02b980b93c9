"""The shapes of models, as data: what of a model's configuration decides its speed.

The six of the study, with the type that it ran them in (Ollama's default for the three of its offloading, 16 bits for
its preemption pairs), a mixture of experts, and two small ones. Sources: each model's ``config.json``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from hotbunk.errors import ConfigError

__all__ = ["SHAPES", "TYPES", "Shape", "named"]

TYPES = ("F16", "BF16", "Q8_0", "Q4_0", "Q4_K_M")
"""How weights may be written."""
CONTEXT = 32768
"""Tokens that all named shapes say they were trained for, since the study goes there; their speed does not depend."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A model but for its weights.

    ``architecture`` is libllama's (llama, qwen2, qwen3, qwen3moe), ``head`` the length of a key and of a value. With
    ``experts``, of which ``active`` work on each token, ``ffn`` is the width of one of them. ``tied``: the embeddings
    are the head as well. ``type``: how its weights are written if nobody says otherwise.
    """

    architecture: str
    blocks: int
    width: int
    ffn: int
    heads: int
    kv_heads: int
    head: int
    vocabulary: int
    experts: int = 0
    active: int = 0
    tied: bool = False
    context: int = CONTEXT
    rope: float = 1e6
    epsilon: float = 1e-6
    type: str = "F16"

    def scaled(self, scale: float) -> Shape:
        """The same with fewer heads, a narrower feed-forward part and fewer tokens, but as many blocks and experts."""
        if scale == 1:
            return self
        heads = max(4, round(self.heads * scale / 4) * 4)
        most = max(1, heads * self.kv_heads // self.heads)
        kv_heads = next(count for count in range(most, 0, -1) if heads % count == 0)
        square = self.width == self.heads * self.head
        return replace(
            self,
            width=heads * 64 if square else _shrunk(self.width, scale, 256),
            ffn=_shrunk(self.ffn, scale, 256),
            heads=heads,
            kv_heads=kv_heads,
            head=64,
            vocabulary=max(2048, int(self.vocabulary * scale)),
        )

    def cut(self, blocks: int | None) -> Shape:
        """The same with so many blocks; None: all.

        Raises:
            ConfigError: it has not so many.
        """
        if blocks is not None and not 1 <= blocks <= self.blocks:
            raise ConfigError(f"--blocks {blocks}: the shape has {self.blocks}; give a number from 1 to {self.blocks}")
        return replace(self, blocks=blocks or self.blocks)


SHAPES = {
    "llama3-8b": Shape("llama", 32, 4096, 14336, 32, 8, 128, 128256, rope=500000.0, epsilon=1e-5, type="Q4_0"),
    "qwen3-32b": Shape("qwen3", 64, 5120, 25600, 64, 8, 128, 151936, type="Q4_K_M"),
    "llama2-70b": Shape("llama", 80, 8192, 28672, 64, 8, 128, 32000, rope=10000.0, epsilon=1e-5, type="Q4_0"),
    "qwen2.5-3b": Shape("qwen2", 36, 2048, 11008, 16, 2, 128, 151936, tied=True),
    "qwen3-8b": Shape("qwen3", 36, 4096, 12288, 32, 8, 128, 151936),
    "qwen2.5-14b": Shape("qwen2", 48, 5120, 13824, 40, 8, 128, 152064, epsilon=1e-5),
    "qwen3-30b-a3b": Shape("qwen3moe", 48, 2048, 768, 32, 4, 128, 151936, experts=128, active=8, type="Q4_K_M"),
    "1b": Shape("llama", 16, 2048, 8192, 32, 8, 64, 128256, rope=500000.0, epsilon=1e-5),
    "half": Shape("llama", 24, 896, 4864, 14, 2, 64, 151936, rope=500000.0, epsilon=1e-5),
}
"""By the names that ``hotbunk study make-model`` takes."""


def named(name: str) -> Shape:
    """One of the shapes.

    Raises:
        ConfigError: there is none of that name.
    """
    if name not in SHAPES:
        raise ConfigError(f"{name}: no such shape; take one of {', '.join(SHAPES)}, or a config.json of Hugging Face")
    return SHAPES[name]


def _shrunk(size: int, scale: float, least: int) -> int:
    return max(least, int(size * scale) // 256 * 256)
