"""Immutable values of many fields, from which more follows that is worked out once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, Self, TypeVar

__all__ = ["Value", "lazy"]

T = TypeVar("T")


class lazy(Generic[T]):
    """A property that is worked out once: ``functools.cached_property`` without the lock that it has up to 3.11."""

    def __init__(self, function: Callable[[Any], T]) -> None:
        self._function, self.__doc__ = function, function.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, value: Any, owner: type | None = None) -> T:
        found = value.__dict__[self._name] = self._function(value)
        return found


class Value:
    """A dataclass of many fields, some of which change from one moment to the next."""

    def but(self, **changes: Any) -> Self:
        """The same with other values for some fields: ``replace``, only faster, since it is done for every event."""
        values = self.__dict__.copy()
        fields: int = len(self.__dataclass_fields__)  # type: ignore[attr-defined]
        for _ in range(len(values) - fields):  # what was worked out came after the fields
            values.popitem()
        values.update(changes)
        assert len(values) == fields, f"no fields: {changes.keys() - self.__dict__.keys()}"
        made = object.__new__(type(self))
        object.__setattr__(made, "__dict__", values)
        return made
