"""Bytes and seconds as people write them: ``6GiB``, ``500MB``; ``2s``, ``500ms``."""

import re

_BINARY = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
_BYTES = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12} | _BINARY
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_LETTERS = {unit.lower(): factor for unit, factor in _BYTES.items()}
_QUANTITY = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)")


def parse_size(text: str) -> int:
    """Read a number of bytes, such as ``6GiB``, ``1.5GB`` or ``4096``.

    Raises:
        ValueError: it is no size, or its unit is none of B, KB, MB, GB, TB, KiB, MiB, GiB, TiB.
    """
    match = _QUANTITY.fullmatch(text.strip())
    factor = _LETTERS.get((match[2] or "B").lower()) if match else None
    if match is None or factor is None:
        raise ValueError("not a size; write it like 6GiB, 500MB or 4096 (bytes)")
    return round(float(match[1]) * factor) if "." in match[1] else int(match[1]) * factor


def parse_duration(text: str) -> float:
    """Read a number of seconds, such as ``2s``, ``500ms``, ``2m`` or ``1h``; without a unit they are seconds.

    Raises:
        ValueError: it is no duration, or its unit is none of ms, s, m, h.
    """
    match = _QUANTITY.fullmatch(text.strip())
    factor = _SECONDS.get(match[2] or "s") if match else None
    if match is None or factor is None:
        raise ValueError("not a duration; write it like 2s, 500ms, 2m or 1.5 (seconds)")
    return float(match[1]) * factor


def exact_size(size: int) -> str | int:
    """Write bytes so that ``parse_size`` reads the same number again."""
    for unit, factor in reversed(_BINARY.items()):
        if size and size % factor == 0:
            return f"{size // factor}{unit}"
    return size


def brief_size(size: int) -> str:
    """Write bytes for a table, with three figures: ``92.1 MiB``."""
    value = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 999.5:
            return f"{value:.3g} {unit}"
        value /= 1024
    return f"{value:,.0f} TiB" if value > 99.5 else f"{value:.3g} TiB"


def brief_count(count: int) -> str:
    """Write a large number for a table, with three figures: ``135M``, ``8.03B``."""
    value = float(count)
    for unit in ("", "K", "M", "B"):
        if value < 999.5:
            return f"{value:.3g}{unit}"
        value /= 1000
    return f"{value:.3g}T"
