"""GGUF metadata: what a model's files say of it. The numbers come from strangers, so none is trusted unchecked."""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from hotbunk.errors import ConfigError, UnusableModel
from hotbunk.llama.header import File, Header, Tensor
from hotbunk.llama.lib import api

__all__ = ["Gguf", "Tensor", "find", "read", "stem"]

_BLOCKS_MOST = 512  # LLAMA_MAX_LAYERS
_SPLIT = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})(?P<suffix>\.gguf)", re.IGNORECASE)
_BLOCK = re.compile(r"blk\.(\d{1,4})\.")
# one block in so many has full attention, where libllama knows it and the file need not say
_PERIODS = {"gemma2": 2, "gemma3": 6, "gemma3n": 5, "cohere2": 4, "gpt-oss": 2, "llama4": 4, "exaone4": 4, "olmo2": 4}
_FTYPE = re.compile(r"LLAMA_FTYPE_(?:ALL|MOSTLY)_(\w+)")
_QUANTISATIONS = {value: match[1] for name, value in vars(api).items() if (match := _FTYPE.fullmatch(name))}


@dataclass(frozen=True)
class Gguf:
    """What the files of a model say.

    ``sources`` holds the splits in order, ``path`` is the first of them. ``heads`` and ``kv_heads`` are for each block.
    ``vocabulary``, ``context`` (as trained) and ``window`` (sliding; 0: none) are in tokens; ``windowed`` tells which
    blocks have the window. ``experts`` is 0 for a dense model; ``active`` of them work on each token.
    """

    sources: tuple[File, ...]
    architecture: str
    name: str
    blocks: int
    heads: tuple[int, ...]
    kv_heads: tuple[int, ...]
    key_length: int
    value_length: int
    vocabulary: int
    context: int
    window: int
    windowed: tuple[bool, ...]
    experts: int
    active: int
    quantisation: str
    tensors: tuple[Tensor, ...]

    @property
    def files(self) -> tuple[Path, ...]:
        """The splits' paths."""
        return tuple(source.path for source in self.sources)

    @property
    def path(self) -> Path:
        """The file to give to libllama, which finds the other splits by itself."""
        return self.sources[0].path

    @cached_property
    def parameters(self) -> int:
        """Elements of all tensors."""
        return sum(tensor.elements for tensor in self.tensors)

    @cached_property
    def weights(self) -> int:
        """Bytes of all tensors."""
        return sum(tensor.size for tensor in self.tensors)

    @cached_property
    def tied(self) -> bool:
        """Whether the head shares the weights of the token embeddings."""
        return all(tensor.name != "output.weight" for tensor in self.tensors)

    @cached_property
    def block_bytes(self) -> tuple[int, ...]:
        """Bytes of each block's tensors, first block first."""
        sizes = [0] * self.blocks
        for tensor in self.tensors:
            match = _BLOCK.match(tensor.name)
            if match and int(match[1]) < self.blocks:
                sizes[int(match[1])] += tensor.size
        return tuple(sizes)

    @cached_property
    def head_bytes(self) -> int:
        """Bytes of the output head, tied embeddings included."""
        tied = ("token_embd.weight",) if self.tied else ()
        return sum(t.size for t in self.tensors if t.name.startswith("output") or t.name in tied)

    def kv_bytes(self, tokens: int) -> int:
        """Estimate the KV cache of one sequence of ``tokens`` tokens, in bytes, with keys and values in F16.

        A block with a sliding window keeps no more tokens than the window. libllama rounds up and adds a prefill chunk
        to windows; a dry load tells the exact bytes.
        """
        row = 2 * (self.key_length + self.value_length)
        kept = [min(tokens, self.window) if windowed else tokens for windowed in self.windowed]
        return sum(heads * row * n for heads, n in zip(self.kv_heads, kept, strict=True))


def read(path: Path) -> Gguf:
    """Read the metadata of a model from any of its files.

    Raises:
        UnusableModel: a file is unreadable, no GGUF, truncated or corrupt; a split is missing; or it is no language
            model.
    """
    parts = [Header.read(file) for file in _siblings(path)]
    stated = parts[0].number("split.count", 1)
    if stated > 1 and stated != len(parts):
        ending = f"-00001-of-{stated:05}.gguf"
        raise UnusableModel(f"{path.name}: one of {stated} splits, so the first one's name must end in {ending}")
    return _describe(parts)


def find(paths: Iterable[Path]) -> list[Path]:
    """List the models among files and folders, subfolders included: sorted, the first of a model's splits only.

    In folders, multimodal projectors (``mmproj``) are passed over: they are no models.

    Raises:
        ConfigError: a path does not exist or cannot be searched, or a folder holds no GGUF file.
    """
    models: dict[tuple[Path, str], Path] = {}
    for path in paths:
        for file in _files(path.expanduser()):
            models.setdefault((file.parent.resolve(), stem(file)), _first(file))
    return sorted(models.values())


def stem(path: Path) -> str:
    """Name a model after its file: without ``.gguf`` and the number of the split."""
    split = _SPLIT.fullmatch(path.name)
    return split["stem"] if split else path.stem


def _files(path: Path) -> list[Path]:
    try:
        if path.is_file():
            return [path]
        if not path.is_dir():
            raise ConfigError(f"{path}: no such file or folder")
        files = sorted(file for file in path.rglob("*") if _is_model(file))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be searched: {error.strerror}") from error
    if not files:
        raise ConfigError(f"{path}: this folder holds no GGUF file")
    return files


def _is_model(file: Path) -> bool:
    return file.suffix.lower() == ".gguf" and "mmproj" not in file.name.lower() and file.is_file()


def _first(path: Path) -> Path:
    """Prefer a model's first split, which is the one that libllama opens."""
    split = _SPLIT.fullmatch(path.name)
    if not split:
        return path
    first = path.with_name(f"{split['stem']}-00001-of-{split['count']}{split['suffix']}")
    return first if first.exists() else path


def _siblings(path: Path) -> list[Path]:
    split = _SPLIT.fullmatch(path.name)
    if not split:
        return [path]
    count = int(split["count"])
    if not count:
        raise UnusableModel(f"{path.name}: by its name one of 0 splits; give it another one")
    files = [path.with_name(f"{split['stem']}-{n:05}-of-{count:05}{split['suffix']}") for n in range(1, count + 1)]
    for number, file in enumerate(files, 1):
        if not file.exists():
            raise UnusableModel(f"{path.name}: split {number} of {count} is missing: {file.name}")
    return files


def _describe(parts: list[Header]) -> Gguf:
    first = parts[0]
    architecture = first.text("general.architecture")
    if not architecture:
        raise UnusableModel(f"{first.file.name}: general.architecture is missing: not a language model")
    blocks = _required(first, f"{architecture}.block_count")
    if blocks > _BLOCKS_MOST:
        raise UnusableModel(f"{first.file.name}: {blocks:,} blocks, of {_BLOCKS_MOST} that libllama takes at most")
    vocabulary = first.lengths.get("tokenizer.ggml.tokens", 0)
    if not vocabulary:
        raise UnusableModel(f"{first.file.name}: tokenizer.ggml.tokens is missing: a model without a vocabulary")
    heads = first.each(f"{architecture}.attention.head_count", blocks, (0,) * blocks)
    width = first.number(f"{architecture}.embedding_length") // max(1, *heads)
    tensors = tuple(tensor for part in parts for tensor in part.tensors)
    return Gguf(
        sources=tuple(part.file for part in parts),
        architecture=architecture,
        name=first.text("general.name") or stem(first.file.path),
        blocks=blocks,
        heads=heads,
        kv_heads=first.each(f"{architecture}.attention.head_count_kv", blocks, heads),
        key_length=first.number(f"{architecture}.attention.key_length", width),
        value_length=first.number(f"{architecture}.attention.value_length", width),
        vocabulary=vocabulary,
        context=_required(first, f"{architecture}.context_length"),
        window=first.number(f"{architecture}.attention.sliding_window"),
        windowed=_windowed(first, architecture, blocks),
        experts=first.number(f"{architecture}.expert_count"),
        active=first.number(f"{architecture}.expert_used_count"),
        quantisation=_quantisation(first, tensors),
        tensors=tensors,
    )


def _required(header: Header, key: str) -> int:
    value = header.number(key)
    if value <= 0:
        raise UnusableModel(f"{header.file.name}: {key} is missing or not a positive number: not a language model")
    return value


def _windowed(header: Header, architecture: str, blocks: int) -> tuple[bool, ...]:
    if not header.number(f"{architecture}.attention.sliding_window"):
        return (False,) * blocks
    key = f"{architecture}.attention.sliding_window_pattern"
    if isinstance(header.values.get(key), list):
        return tuple(map(bool, header.each(key, blocks, ())))
    period = header.number(key, _PERIODS.get(architecture, 1))
    return tuple(period == 0 or block % period < period - 1 for block in range(blocks))


def _quantisation(header: Header, tensors: tuple[Tensor, ...]) -> str:
    stated = _QUANTISATIONS.get(header.number("general.file_type", -1))
    if stated or not tensors:
        return stated or "none"
    sizes: Counter[str] = Counter()
    for tensor in tensors:
        sizes[tensor.type] += tensor.size
    return sizes.most_common(1)[0][0].upper()
