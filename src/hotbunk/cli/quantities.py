"""Bytes and seconds that options give."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from hotbunk.errors import ConfigError
from hotbunk.units import parse_duration, parse_size

__all__ = ["duration", "size"]

T = TypeVar("T")


def size(option: str, text: str | None) -> int | None:
    """Bytes that an option gives; None where it was not given.

    Raises:
        ConfigError: it is no size.
    """
    return _read(option, text, parse_size)


def duration(option: str, text: str | None) -> float | None:
    """Seconds that an option gives; None where it was not given.

    Raises:
        ConfigError: it is no duration.
    """
    return _read(option, text, parse_duration)


def _read(option: str, text: str | None, parse: Callable[[str], T]) -> T | None:
    try:
        return None if text is None else parse(text)
    except ValueError as error:
        raise ConfigError(f"{option} {text}: {error}") from error
