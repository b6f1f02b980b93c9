"""What figures hold for: a machine with its versions, and a model's content."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import msgspec

__all__ = ["Machine", "content"]

_SAMPLES, _SAMPLE = 8, 1 << 16  # of each file's bytes, besides its beginning and its length


@dataclass(frozen=True, slots=True)
class Machine:
    """A device in a machine, driven by these versions. ``driver`` is empty where there is none."""

    device: str
    driver: str
    cpu: str
    cores: int
    threads: int
    libllama: str

    @property
    def key(self) -> str:
        """A short name for all of it."""
        return _digest([msgspec.json.encode(self)])

    def differences(self, other: Machine) -> str:
        """What is not the same, in words: from this machine to the ``other``."""
        mine, others = asdict(self), asdict(other)
        return ", ".join(f"{name} {mine[name]} -> {others[name]}" for name in mine if mine[name] != others[name])


def content(files: Iterable[Path]) -> str:
    """Tell models apart by what their ``files`` hold, in milliseconds: their beginnings, lengths and a few samples.

    Raises:
        OSError: a file cannot be read.
    """
    return _digest(part for file in files for part in _parts(file))


def _parts(file: Path) -> Iterator[bytes]:
    size = file.stat().st_size
    yield str(size).encode()
    with file.open("rb") as stream:
        for number in range(_SAMPLES):
            stream.seek(max(0, size - _SAMPLE) * number // (_SAMPLES - 1))
            yield stream.read(_SAMPLE)


def _digest(parts: Iterator[bytes] | list[bytes]) -> str:
    found = hashlib.blake2b(digest_size=10)
    for part in parts:
        found.update(part)
    return found.hexdigest()
