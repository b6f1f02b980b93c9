"""The store of measurements: one SQLite file for all machines and models that were profiled with it."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import time
from types import TracebackType
from typing import Any

import msgspec

from hotbunk.costs.anatomy import Anatomy
from hotbunk.costs.fingerprint import Machine
from hotbunk.costs.model import Costs
from hotbunk.costs.record import Record
from hotbunk.costs.roofline import Roofline
from hotbunk.errors import ConfigError

__all__ = ["Known", "Store", "default_path"]

SCHEMA = 4
"""Raised whenever what is stored changes its meaning."""
_SECOND = ("UPDATE machines SET roofline = NULL", "DELETE FROM records WHERE kind IN ('load', 'unload')")
_THIRD = ("DELETE FROM records WHERE kind = 'prefill'",)
_FOURTH = ("DELETE FROM records WHERE kind = 'load'",)
_CHANGES = {1: _SECOND, 2: _THIRD, 3: _FOURTH}
"""What of a store of each earlier format is to be measured anew.

Of format 1: rooflines lack attention, and moves had shells opened in them. Of format 2: prefills do not say what
decoded beside them, and there were many of a single token. Of format 3: loads do not say what was given back right
before, nor whether the context stayed.
"""
_RECORDS = """
CREATE TABLE records (
    id INTEGER PRIMARY KEY, machine TEXT NOT NULL, model TEXT NOT NULL, at REAL NOT NULL,
    kind TEXT NOT NULL, seconds REAL NOT NULL, held_out INTEGER NOT NULL, record TEXT NOT NULL
)
"""
_TABLES = (
    "CREATE TABLE machines (key TEXT PRIMARY KEY, machine TEXT NOT NULL, roofline TEXT)",
    "CREATE TABLE models (content TEXT PRIMARY KEY, name TEXT NOT NULL, anatomy TEXT NOT NULL)",
    _RECORDS,
    "CREATE INDEX by_model ON records (machine, model)",
)
_ADD = "INSERT INTO records (machine, model, at, kind, seconds, held_out, record) VALUES (?, ?, ?, ?, ?, ?, ?)"
_KNOWN = """
SELECT machines.machine, models.content, models.name, models.anatomy, count(*), max(at) FROM records
JOIN machines ON machines.key = records.machine JOIN models ON models.content = records.model
GROUP BY records.machine, records.model ORDER BY max(at)
"""


class Known(msgspec.Struct, frozen=True):
    """A model with records on a machine: how many, and when the last was made (seconds since 1970)."""

    machine: Machine
    model: str
    name: str
    anatomy: Anatomy
    count: int
    last: float


def default_path() -> Path:
    """``costs.sqlite`` in hotbunk's folder of the user's data."""
    home = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(home) / "hotbunk" / "costs.sqlite"


class Store:
    """Use it as a context manager. Whatever is added is on disk when the call returns.

    Raises:
        ConfigError: here and in every method: the file is no store, is damaged, was written by a newer hotbunk, is in
            use by another process for long, or cannot be written.
    """

    def __init__(self, path: Path | None = None, make: bool = True) -> None:
        """Open the file, or ``make`` it; in a folder that cannot be written to, to read what is there."""
        self.path = path or default_path()
        if not (make or self.path.exists()):
            raise ConfigError(f"there is no store {self.path}; hotbunk profile MODEL makes it, or name another file")
        with self._told():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._open(str(self.path))
            except sqlite3.OperationalError:
                if not self._sealed:
                    raise
                self._open(f"{self.path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def roofline(self, machine: Machine) -> Roofline | None:
        """What was measured of the machine itself."""
        with self._told():
            found = self._one("SELECT roofline FROM machines WHERE key = ?", machine.key)
            return _roofline(*found) if found else None

    def machines(self) -> dict[Machine, Roofline | None]:
        """All machines that something was measured on, and what was measured of themselves."""
        with self._told():
            rows = self._database.execute("SELECT machine, roofline FROM machines ORDER BY rowid").fetchall()
            return {msgspec.json.decode(machine, type=Machine): _roofline(line) for machine, line in rows}

    def keep_roofline(self, machine: Machine, roofline: Roofline) -> None:
        """Keep it, in place of an earlier one."""
        values = machine.key, _text(machine), _text(roofline)
        self._write("INSERT OR REPLACE INTO machines (key, machine, roofline) VALUES (?, ?, ?)", *values)

    def records(self, machine: Machine, model: str) -> list[Record]:
        """All that was measured of a model's ``content`` on that machine, oldest first."""
        query = "SELECT record FROM records WHERE machine = ? AND model = ? ORDER BY id"
        with self._told():
            rows = self._database.execute(query, (machine.key, model)).fetchall()
            return [msgspec.json.decode(row[0], type=Record) for row in rows]

    def add(self, machine: Machine, model: str, name: str, anatomy: Anatomy, record: Record) -> None:
        """Keep one more."""
        with self._told(writing=True), self._database:
            run = self._database.execute
            run("INSERT OR IGNORE INTO machines (key, machine) VALUES (?, ?)", (machine.key, _text(machine)))
            run("INSERT OR REPLACE INTO models VALUES (?, ?, ?)", (model, name, _text(anatomy)))
            values = machine.key, model, time(), record.kind, record.seconds, record.check, _text(record)
            run(_ADD, values)

    def costs(self, machine: Machine, model: str, anatomy: Anatomy) -> Costs | None:
        """The costs fitted to all records; None if not even the machine is known."""
        roofline = self.roofline(machine)
        return Costs.fitted(anatomy, roofline, self.records(machine, model)) if roofline else None

    def known(self) -> list[Known]:
        """All models with records, by machine."""
        with self._told():
            decode = msgspec.json.decode
            return [
                Known(decode(machine, type=Machine), model, name, decode(anatomy, type=Anatomy), count, last)
                for machine, model, name, anatomy, count, last in self._database.execute(_KNOWN)
            ]

    def near(self, machine: Machine, model: str, name: str) -> str:
        """In words, why figures of this model do not hold here; empty if some do, or there are none."""
        if self.records(machine, model):
            return ""
        for known in reversed(self.known()):
            if known.model == model and known.machine != machine:
                return f"{name} was profiled under other conditions: {known.machine.differences(machine)}"
            if known.name == name and known.model != model:
                return f"{name} was profiled, but its file has changed since"
        return ""

    @property
    def _sealed(self) -> bool:
        """Whether the file is there, whole, in a folder where SQLite cannot put its own files beside it."""
        beside = self.path.with_name(f"{self.path.name}-wal")
        return self.path.exists() and not beside.exists() and not os.access(self.path.parent, os.W_OK)

    def _open(self, name: str, uri: bool = False) -> None:
        self._database = sqlite3.connect(name, timeout=10.0, uri=uri)
        try:
            self._prepare()
        except BaseException:
            self._database.close()
            raise

    def _prepare(self) -> None:
        if self._version() == SCHEMA:
            return
        with self._database:
            self._database.execute("BEGIN IMMEDIATE")
            version = self._version()  # another process may have made the store, or changed it, meanwhile
            if not version and self._database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                raise ConfigError(f"{self.path} is a database of something else; name another file with --store")
            changes = [_CHANGES[each] for each in range(version, SCHEMA)] if version else [_TABLES]
            for statement in (each for change in changes for each in change):
                self._database.execute(statement)
            self._database.execute(f"PRAGMA user_version = {SCHEMA}")
        self._database.execute("PRAGMA journal_mode = WAL")  # which a transaction cannot change

    def _version(self) -> int:
        version: int = self._database.execute("PRAGMA user_version").fetchone()[0]
        if version > SCHEMA:
            raise ConfigError(
                f"{self.path} was written by a newer hotbunk (format {version}, this one knows {SCHEMA}); "
                "update hotbunk, or name another file with --store"
            )
        return version

    def _one(self, query: str, *values: str) -> tuple[Any, ...]:
        with self._told():
            found: tuple[Any, ...] | None = self._database.execute(query, values).fetchone()
        return found or ()

    def _write(self, query: str, *values: str) -> None:
        with self._told(writing=True), self._database:
            self._database.execute(query, values)

    @contextmanager
    def _told(self, writing: bool = False) -> Iterator[None]:
        """Say in one sentence what went wrong with the file."""
        remedy = "what was measured before is kept: make room, or name" if writing else "name"
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise ConfigError(
                f"the store {self.path} cannot be used: {error}; {remedy} another file with --store"
            ) from error
        except msgspec.DecodeError as error:
            raise ConfigError(
                f"the store {self.path} is damaged: {error}; move it away to measure anew, or name another file with "
                "--store"
            ) from error


def _roofline(text: str | None) -> Roofline | None:
    return None if text is None else msgspec.json.decode(text, type=Roofline)


def _text(value: object) -> str:
    return msgspec.json.encode(value).decode()
