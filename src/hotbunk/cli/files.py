"""Models of a command by their names."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from hotbunk.errors import ConfigError
from hotbunk.llama.gguf import stem

__all__ = ["named"]


def named(files: Iterable[Path]) -> dict[str, Path]:
    """The files by name, in the order given; one that is given twice counts once.

    Raises:
        ConfigError: two of them have the same name.
    """
    names: dict[str, Path] = {}
    for file in files:
        name = stem(file)
        if name in names and names[name].resolve() != file.resolve():
            raise ConfigError(f"two files are called {name!r}: {names[name]} and {file}; rename one of them")
        names[name] = file
    return names
