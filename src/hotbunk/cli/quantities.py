"""Bytes and seconds that options give."""

from __future__ import annotations

from hotbunk.errors import ConfigError
from hotbunk.units import parse_duration, parse_size

__all__ = ["duration", "size"]


def size(option: str, text: str | None) -> int | None:
    """Bytes that an option gives; None where it was not given.

    Raises:
        ConfigError: it is no size.
    """
    try:
        return None if text is None else parse_size(text)
    except ValueError as error:
        raise ConfigError(f"{option} {text}: {error}") from error


def duration(option: str, text: str | None) -> float | None:
    """Seconds that an option gives; None where it was not given.

    Raises:
        ConfigError: it is no duration.
    """
    try:
        return None if text is None else parse_duration(text)
    except ValueError as error:
        raise ConfigError(f"{option} {text}: {error}") from error
