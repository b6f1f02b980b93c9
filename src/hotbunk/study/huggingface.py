"""The shape of a model from its ``config.json``, as Hugging Face's Transformers writes them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hotbunk.errors import ConfigError
from hotbunk.study.shapes import CONTEXT, Shape
from hotbunk.study.tokenizer import MOST

__all__ = ["read"]

_ARCHITECTURES = {
    "llama": "llama",
    "mistral": "llama",
    "mixtral": "llama",
    "qwen2": "qwen2",
    "qwen3": "qwen3",
    "qwen3_moe": "qwen3moe",
}
"""libllama's name for each ``model_type`` that is understood."""


def read(path: Path) -> Shape:
    """The shape that a ``config.json`` describes.

    Raises:
        ConfigError: it cannot be read, is of a kind that is not understood, or lacks a key.
    """
    config = _Config(path, _load(path))
    kind = config.text("model_type")
    if kind not in _ARCHITECTURES:
        raise ConfigError(f"{path}: model_type {kind!r} is not understood; there are {', '.join(_ARCHITECTURES)}")
    return _shape(config, kind)


def _shape(config: _Config, kind: str) -> Shape:
    width, heads = config.number("hidden_size"), config.number("num_attention_heads")
    experts = {"mixtral": "num_local_experts", "qwen3_moe": "num_experts"}.get(kind)
    shape = Shape(
        architecture=_ARCHITECTURES[kind],
        blocks=config.number("num_hidden_layers", most=512),
        width=width,
        ffn=config.number("moe_intermediate_size" if kind == "qwen3_moe" else "intermediate_size"),
        heads=heads,
        kv_heads=config.number("num_key_value_heads", heads),
        head=config.number("head_dim", width // heads),
        vocabulary=config.number("vocab_size", most=MOST),
        experts=config.number(experts, most=512) if experts else 0,
        active=config.number("num_experts_per_tok") if experts else 0,
        tied=config.value("tie_word_embeddings") is True,
        context=config.number("max_position_embeddings", CONTEXT),
        rope=config.real("rope_theta", 10000.0),
        epsilon=config.real("rms_norm_eps", 1e-6),
    )
    _check(config.path, shape)
    return shape


def _check(path: Path, shape: Shape) -> None:
    """What libllama would refuse, only later and in other words."""
    if shape.architecture == "qwen2" and shape.head * shape.heads != shape.width:
        raise ConfigError(f"{path}: {shape.heads} heads of {shape.head} do not make the hidden_size {shape.width}")
    if shape.heads % shape.kv_heads:
        raise ConfigError(f"{path}: {shape.heads} attention heads cannot share {shape.kv_heads} key-value heads")
    if shape.active > shape.experts:
        raise ConfigError(f"{path}: {shape.active} of {shape.experts} experts cannot work on a token")


class _Config:
    """The keys of a file, checked as they are asked for."""

    def __init__(self, path: Path, values: Mapping[str, Any]) -> None:
        self.path = path
        self._values = values

    def value(self, key: str, default: object = None) -> Any:
        """A value, or the default where the file says nothing, or null."""
        value = self._values.get(key)
        return default if value is None else value

    def text(self, key: str) -> str:
        """A string that has to be there."""
        return str(self._needed(key))

    def number(self, key: str, default: int | None = None, most: int = 1 << 24) -> int:
        """A positive whole number."""
        value = self._needed(key) if default is None else self.value(key, default)
        if type(value) is not int or not 1 <= value <= most:  # JSON's true is an int as well
            raise ConfigError(f"{self.path}: {key} is {value!r}; a whole number from 1 to {most} is wanted")
        return value

    def real(self, key: str, default: float) -> float:
        """A positive number, of a size that a GGUF's 32 bits have room for."""
        value = self.value(key, default)
        if type(value) not in (int, float) or not 1e-30 <= value <= 1e30:
            raise ConfigError(f"{self.path}: {key} is {value!r}; a number from 1e-30 to 1e30 is wanted")
        return float(value)

    def _needed(self, key: str) -> Any:
        if self._values.get(key) is None:
            raise ConfigError(f"{self.path}: {key} is missing; is it the config.json of a language model?")
        return self._values[key]


def _load(path: Path) -> Mapping[str, Any]:
    try:
        values = json.loads(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"{path}: not JSON: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: not an object of keys and values")
    return values
