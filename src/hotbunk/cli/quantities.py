"""Bytes and seconds that options give."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from hotbunk.errors import ConfigError
from hotbunk.units import parse_duration, parse_size

__all__ = ["duration", "size"]

T = TypeVar("T", int, float)
_MOST = 1 << 60
"""Bytes or seconds: more than there are, and few enough to be calculated with."""


def size(option: str, text: str | None) -> int | None:
    """Bytes that an option gives; None where it was not given.

    Raises:
        ConfigError: it is no size, or too large a one.
    """
    return _read(option, text, parse_size)


def duration(option: str, text: str | None) -> float | None:
    """Seconds that an option gives; None where it was not given.

    Raises:
        ConfigError: it is no duration, or too long a one.
    """
    return _read(option, text, parse_duration)


def _read(option: str, text: str | None, parse: Callable[[str], T]) -> T | None:
    if text is None:
        return None
    try:
        found = parse(text)
    except ValueError as error:
        raise ConfigError(f"{option} {text}: {error}") from error
    except OverflowError:
        found = None
    if found is None or found > _MOST:
        raise ConfigError(f"{option} {text}: more than there can be; give less")
    return found
