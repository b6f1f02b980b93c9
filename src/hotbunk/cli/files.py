"""Models of a command by their names."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from hotbunk.errors import ConfigError
from hotbunk.llama.gguf import stem

__all__ = ["named"]


def named(files: Iterable[Path]) -> dict[str, Path]:
    """The files by name, in the order given; one that is given twice counts once.

    Raises:
        ConfigError: two of them have the same name, or a name is not UTF-8.
    """
    names: dict[str, Path] = {}
    for file in files:
        if (shown := os.fsencode(file).decode(errors="replace")) != str(file):
            raise ConfigError(f"{shown}: its name is not UTF-8, which a worker and a store could not keep; rename it")
        name = stem(file)
        if name in names and names[name].resolve() != file.resolve():
            raise ConfigError(f"two files are called {name!r}: {names[name]} and {file}; rename one of them")
        names[name] = file
    return names
