"""Files that are there whole or not at all: written aside, under a name of this process, and renamed at the end."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from glob import escape
from io import BufferedWriter
from pathlib import Path

__all__ = ["sweep", "whole"]


@contextmanager
def whole(path: Path) -> Iterator[BufferedWriter]:
    """A file that takes that place once all is written; where it is not, nothing of it is left.

    Raises:
        OSError: it cannot be written.
    """
    sweep(path)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with aside.open("wb") as file:
            yield file
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def sweep(path: Path) -> None:
    """Remove what processes that were killed have left aside of a file."""
    for left in path.parent.glob(f".{escape(path.name)}.*"):
        pid = left.suffix.removeprefix(".")
        if pid.isdecimal() and not _alive(int(pid)):
            with suppress(OSError):  # of someone else
                left.unlink()


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # of someone else
        pass
    return True
