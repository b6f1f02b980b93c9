"""A page as HTML that needs nothing else, and as plain text."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from importlib.resources import files

import jinja2

from hotbunk.report.page import Page, Plot, Table, Text

__all__ = ["html", "text"]

_WIDTH = 110  # of the text


def html(page: Page) -> str:
    """As one file: styles and images are in it."""
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["paragraphs"] = _paragraphs
    template = environment.from_string(files(__package__).joinpath("page.html.jinja").read_text(encoding="utf-8"))
    return template.render(page=page)


def text(page: Page) -> str:
    """The same for a terminal, and for those who compare versions: plots become their captions."""
    lines = [page.name, "", *(f"{name:10}{value}" for name, value in page.about)]
    for table in page.tables:
        lines += ["", *_aligned(table)]
    for part in page.sections:
        lines += ["", "", part.title, "=" * len(part.title)]
        for paragraph in _paragraphs(part.method):
            lines += ["", *textwrap.wrap(paragraph, _WIDTH)]
        for block in part.blocks:
            lines += ["", *_block(block)]
    return "\n".join([*lines, "", *textwrap.wrap(page.source, _WIDTH), ""])


def _paragraphs(text: str) -> list[str]:
    """A docstring's paragraphs, without the signs of markup."""
    return [" ".join(part.split()).replace("``", "") for part in re.split(r"\n\s*\n", text.strip()) if part.strip()]


def _block(block: Plot | Table | Text) -> Iterator[str]:
    if isinstance(block, Text):
        yield from textwrap.wrap(block.text, _WIDTH)
    elif isinstance(block, Plot):
        yield from textwrap.wrap(f"{block.title}. {block.caption}", _WIDTH)
    else:
        yield from _aligned(block)


def _aligned(table: Table) -> Iterator[str]:
    """In columns: the first to the left, the others to the right."""
    yield table.title
    rows = [list(table.columns), *map(list, table.rows)]
    widths = [max(len(row[place]) for row in rows) for place in range(len(table.columns))]
    for row in rows:
        first, *others = (
            cell.ljust(width) if not place else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        yield "  " + "  ".join([first, *others]).rstrip()
    yield from textwrap.wrap(table.caption, _WIDTH)
