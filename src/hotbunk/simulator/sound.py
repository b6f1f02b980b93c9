"""Whether a device profile's numbers can be reckoned with, which its form alone does not say."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

__all__ = ["check"]

_BY_TYPE = ("read", "multiply")  # rates of each type of weights
_RATES = ("attend", "h2d_pinned", "d2h_pinned", "h2d_pageable", "d2h_pageable", "pin", "rate")
_NEEDED = (*_BY_TYPE, "layers", "factors")


def check(profile: msgspec.Struct) -> None:
    """Look at all that it says.

    Raises:
        ValueError: something is wrong; says where it stands and what it is.
    """
    for place, value in _parts(msgspec.to_builtins(profile), ("",)):
        name, where = ".".join(place[1:]), place[-1]
        if isinstance(value, list | tuple | dict):
            if where in _NEEDED and not value:
                raise ValueError(f"{name} is empty; something must be in it")
            if where == "factors" and not any(value):
                raise ValueError(f"{name} are all 0; nothing takes no time")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            above = where in _RATES or place[-2] in _BY_TYPE  # whatever is divided by
            if value < 0 or (above and value == 0):
                raise ValueError(f"{name} is {value:g}; it must be {'above' if above else 'at least'} 0")


def _parts(value: Any, place: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """All parts of a value with the keys that lead there; only covariances may be negative, and are left out."""
    yield place, value
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else ()
    for key, each in inner:
        if key != "covariance":
            yield from _parts(each, (*place, str(key)))
