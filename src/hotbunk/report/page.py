"""What a report consists of, whether it becomes a page or plain text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

__all__ = ["Block", "Page", "Plot", "Section", "Table", "Text", "method"]


@dataclass(frozen=True)
class Text:
    """A sentence that was computed from the data."""

    text: str


@dataclass(frozen=True)
class Plot:
    """A plot, ready to be shown as an image; ``caption`` says in a sentence what is to be seen.

    A ``wide`` one takes the whole width of the page.
    """

    title: str
    image: str
    caption: str
    wide: bool = False


@dataclass(frozen=True)
class Table:
    """Rows of text; the first column names, the others are figures."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""


def method(doc: str | None) -> str:
    """An experiment's docstring, but for its name, which is the section's title."""
    text = (doc or "").partition(": ")[2]
    return text[:1].upper() + text[1:]


Block = Text | Plot | Table


@dataclass(frozen=True)
class Section:
    """A part of the report. ``method`` says how it was measured; ``key`` is its name in links."""

    key: str
    title: str
    method: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Page:
    """A whole report. ``name`` heads the text, ``title`` the page; ``about`` tells where and with what it was made.

    ``tables`` come before all sections, ``source`` (whose work is repeated or used) after them, and then ``beside``:
    where else the figures are.
    """

    name: str
    title: str
    intro: str
    sections: Sequence[Section]
    about: Sequence[tuple[str, str]] = ()
    tables: Sequence[Table] = field(default_factory=tuple)
    source: str = ""
    beside: str = "All figures are in the tables (Parquet and CSV) beside this page."
