"""Forms in which traces are published: which column holds what, and how its cells are read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import msgspec

__all__ = ["MOONCAKE", "OWN", "TABLES", "Cells", "Form", "from_json", "from_row", "tokens"]

_EPOCH, _TICK = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)
_MOST = 2**31 - 1  # tokens: what a trace's columns hold
_LARGEST = 1e18  # a date in nanoseconds is greater than anything that makes sense
_SHOWN = 40  # characters of a cell that is quoted


class Cells(NamedTuple):
    """What a row says, still as it is written; None where the form has no such column."""

    time: object
    model: object
    prompt: object
    output: object
    after: object


def number(column: str, value: object) -> float:
    """A number of at least 0, whose square is still one.

    Raises:
        ValueError: it is none, or it is missing.
    """
    if value is None or value == "":
        raise ValueError(f"{column} is missing")
    try:
        found = float(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else -1.0
    except (ValueError, OverflowError):
        found = -1.0
    if not 0 <= found <= _LARGEST:
        raise ValueError(f"{column} is {_quoted(value)}, which is no number from 0 to {_LARGEST:g}")
    return found


def tokens(column: str, value: object) -> int:
    """A number of tokens, at least 1.

    Raises:
        ValueError: it is none, or it is missing.
    """
    found = number(column, value)
    if not (1 <= found <= _MOST and found.is_integer()):
        raise ValueError(f"{column} is {_quoted(value)}, which is no number of tokens from 1 on")
    return int(found)


def moment(column: str, value: object) -> float:
    """A date with its time, in microseconds; without a time zone it is that of Greenwich.

    Raises:
        ValueError: it is none, or it is missing.
    """
    if not value:
        raise ValueError(f"{column} is missing")
    try:
        found = datetime.fromisoformat(str(value).strip())
    except ValueError:
        raise ValueError(f"{column} is {_quoted(value)}, which is no date with a time") from None
    return float(((found if found.tzinfo else found.replace(tzinfo=UTC)) - _EPOCH) // _TICK)


@dataclass(frozen=True)
class Form:
    """Columns by what they hold. Without ``model`` all requests of a file are for one; ``after`` may be left out.

    ``clock`` reads a time, of which ``ticks`` make a second. Times are ``absolute`` if they do not count from the
    trace's beginning.
    """

    name: str
    columns: Cells
    clock: Callable[[str, object], float] = number
    ticks: float = 1.0
    absolute: bool = True

    @property
    def needed(self) -> list[str]:
        """The columns that must be there."""
        return [str(column) for column in self.columns[:4] if column is not None]


AZURE = Form(
    "Azure's", Cells("TIMESTAMP", None, "ContextTokens", "GeneratedTokens", None), moment, 1 / _TICK.total_seconds()
)
"""Azure public dataset, LLM inference traces of 2023 and 2024."""
OWN = Form("hotbunk's", Cells("arrival_s", "model", "prompt_tokens", "output_tokens", "after"), absolute=False)
BURSTGPT = Form("BurstGPT's", Cells("Timestamp", "Model", "Request tokens", "Response tokens", None))
"""BurstGPT, with or without its columns ``Session ID`` and ``Elapsed time``; seconds."""
MOONCAKE = Form("Mooncake's", Cells("timestamp", None, "input_length", "output_length", None), ticks=1000.0)
"""Mooncake: a line of JSON for each request; milliseconds."""
TABLES = (AZURE, OWN, BURSTGPT)


class _Line(msgspec.Struct):
    """A line of Mooncake's; what else is in it is passed over."""

    timestamp: Any = None
    input_length: Any = None
    output_length: Any = None


_decoder = msgspec.json.Decoder(_Line)


def from_json(line: str) -> Cells:
    """The cells of a line of Mooncake's.

    Raises:
        ValueError: it is no object of JSON.
    """
    try:
        found = _decoder.decode(line)
    except msgspec.DecodeError as error:
        raise ValueError(f"{_quoted(line.strip())} is no object of JSON: {error}") from None
    return Cells(found.timestamp, None, found.input_length, found.output_length, None)


def from_row(form: Form, header: Sequence[str]) -> Callable[[Sequence[str]], Cells]:
    """How to pick a form's cells from a row below that header; it raises ValueError if their numbers differ."""
    places = [header.index(str(column)) if column in header else None for column in form.columns]

    def pick(row: Sequence[str]) -> Cells:
        if len(row) != len(header):
            raise ValueError(f"{_quoted(','.join(row))} has {len(row)} cells, but the header has {len(header)}")
        return Cells(*(None if place is None else row[place] for place in places))

    return pick


def _quoted(value: object) -> str:
    """As it is written in the file, but not at length."""
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
