"""A folder of results: what an experiment has measured is in its journal at once, and stays there.

Each table has a journal of JSON lines (``offload.jsonl``), which is the truth: a run that is cut short leaves what it
has, and goes on with it later. ``export`` writes each table as Parquet and CSV, too. A row says by its key which point
it belongs to; what is measured of a point at a time is written together, so that it is there whole or not at all.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hotbunk import tables
from hotbunk.aside import whole
from hotbunk.errors import ConfigError

__all__ = ["FORMAT", "TABLES", "Results", "Row"]

Row = dict[str, Any]

FORMAT = 1
"""Of the tables; raised whenever what is in them changes its meaning. It is in each row of ``sessions``."""

TABLES = (
    "sessions",
    "models",
    "offload",
    "memory",
    "preemption",
    "concurrency",
    "context",
    "bus",
    "pinning",
    "profile",
    "notes",
)


class Results:
    """The tables of one folder."""

    def __init__(self, folder: Path, resume: bool = True) -> None:
        """Make the folder, or read what is there.

        Raises:
            ConfigError: it cannot be made or read, or was written by a newer hotbunk; or there are results in it, and
                ``resume`` is not set.
        """
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._tables = {name: self._read(name) for name in TABLES}
        except OSError as error:
            raise ConfigError(f"{folder}: cannot be used for results: {error.strerror}") from error
        if (found := max((row.get("format", FORMAT) for row in self.rows("sessions")), default=FORMAT)) > FORMAT:
            raise ConfigError(
                f"{folder}: was written by a newer hotbunk (format {found}, this one knows {FORMAT}); update hotbunk, "
                "or give another --out"
            )
        if any(self._tables.values()) and not resume:
            raise ConfigError(f"{folder}: has results already; give --resume to go on, or another --out")

    def rows(self, table: str, **key: object) -> list[Row]:
        """The rows of a table that have these values."""
        return [row for row in self._tables[table] if all(row.get(name) == value for name, value in key.items())]

    def add(self, table: str, rows: Iterable[Row]) -> None:
        """Append rows, which are on disk when this returns.

        Raises:
            ConfigError: the disk is full, or cannot be written to; what was there before still is.
        """
        new = list(rows)
        if not new:
            return
        path = self._journal(table)
        size = path.stat().st_size if path.exists() else 0
        try:
            with path.open("ab", buffering=0) as file:
                _write(file.write, "".join(json.dumps(row) + "\n" for row in new).encode())
        except OSError as error:
            _cut(path, size)
            raise ConfigError(
                f"{path}: cannot be written: {error.strerror}; what was measured before is kept: make room and give "
                "--resume to go on"
            ) from error
        self._tables[table] += new

    def note(self, about: str, text: str = "") -> None:
        """Something that a reader of the results should know; it takes the place of what was said of it before.

        With no text that is taken back.
        """
        if self.notes.get(about, "") != text:
            self.add("notes", [{"about": about, "text": text}])

    @property
    def notes(self) -> dict[str, str]:
        """What should be known of the results, by what it is about."""
        return {name: text for name, text in {r["about"]: r["text"] for r in self.rows("notes")}.items() if text}

    def export(self) -> list[Path]:
        """Write each table as Parquet and CSV; returns the files.

        Raises:
            ConfigError: they cannot be written, or pyarrow is missing.
        """
        return [file for name, rows in self._tables.items() if rows for file in tables.write(self.folder, name, rows)]

    def text(self, name: str, text: str) -> Path:
        """Write a file beside the tables.

        Raises:
            ConfigError: it cannot be written, and is as it was before.
        """
        path = self.folder / name
        try:
            with whole(path) as file:
                file.write(text.encode())
        except OSError as error:
            raise ConfigError(f"{path}: cannot be written: {error.strerror}; the measurements are kept") from error
        return path

    def _journal(self, table: str) -> Path:
        return self.folder / f"{table}.jsonl"

    def _read(self, table: str) -> list[Row]:
        path = self._journal(table)
        if not path.exists():
            return []
        text = path.read_bytes()
        if (whole := text.rfind(b"\n") + 1) < len(text):  # the last line was being written when the machine went down
            _cut(path, whole)
        return [_row(path, number, line) for number, line in enumerate(text[:whole].splitlines(), 1)]


def _row(path: Path, number: int, line: bytes) -> Row:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise ConfigError(f"{path}, line {number}: is not a table of results ({error}); give another --out") from error
    if not isinstance(row, dict):
        raise ConfigError(f"{path}, line {number}: is not a table of results (no object); give another --out")
    return row


def _write(write: Any, data: bytes) -> None:
    while data:  # a full disk may take a part
        data = data[write(data) :]


def _cut(path: Path, size: int) -> None:
    if path.exists():
        with path.open("r+b") as file:
            file.truncate(size)
