"""Traces from files: those that others publish, and hotbunk's own. The header tells which it is."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from hotbunk.errors import ConfigError
from hotbunk.traces.forms import MOONCAKE, TABLES, Cells, Form, from_json, from_row, tokens
from hotbunk.traces.trace import ROOT, Trace

__all__ = ["Bad", "Reading", "read", "read_all"]

Bad = Literal["refuse", "skip"]
_GZIP = b"\x1f\x8b"
_TOLD = 3  # rows that are left out whose reason is kept
_Rows = Iterator[tuple[int, Any]]  # numbers of lines, and what stands there
_Pick = Callable[[Any], Cells]


@dataclass(frozen=True)
class Reading:
    """A trace, how many rows were left out of it, and of the first few of them why."""

    trace: Trace
    skipped: int = 0
    reasons: tuple[str, ...] = ()

    @property
    def told(self) -> str:
        """What was left out, in a sentence; empty if nothing was."""
        if not self.skipped:
            return ""
        rows = "1 row was" if self.skipped == 1 else f"{self.skipped:,} rows were"
        more = "; ..." if self.skipped > len(self.reasons) else ""
        return f"{rows} left out: {'; '.join(self.reasons)}{more}"


def read_all(paths: Sequence[Path], bad: Bad = "refuse") -> Reading:
    """Read one or more files as one trace, each from its own beginning.

    Raises:
        ConfigError: as for ``read``.
    """
    found = [read(path, bad=bad) for path in paths]
    if len(found) == 1:
        return found[0]
    trace = Trace.together(" + ".join(each.trace.name for each in found), [each.trace for each in found])
    return Reading(trace, sum(each.skipped for each in found), tuple(why for each in found for why in each.reasons))


def read(path: Path, model: str | None = None, bad: Bad = "refuse") -> Reading:
    """Read a file, which may be gzipped. Rows need not be in order; those of published traces begin at 0.

    ``model`` is whom all requests are for where the file does not say so (else: its name). ``bad`` says what to do with
    rows that no request can be made of: to refuse the file, or to skip them and all that follow them.

    Raises:
        ConfigError: it cannot be read, its form is unknown, a row is bad, or no request is in it.
    """
    stem = path.name.removesuffix(".gz").rpartition(".")[0] or path.name
    with _opened(path) as file:
        form, rows, pick = _recognised(file, path)
        sheet = _Sheet(form, model or stem)
        for line, row in rows:
            try:
                sheet.add(pick(row))
            except ValueError as error:
                if bad == "refuse":
                    raise ConfigError(f"{path}, line {line}: {error}; --skip-bad leaves such rows out") from None
                sheet.leave_out(f"{path.name}, line {line}: {error}")
    if not any(sheet.kept):
        raise ConfigError(f"{path}: there is no request in it" + (f"; {sheet.reasons[0]}" if sheet.reasons else ""))
    return Reading(sheet.trace(stem), sheet.skipped, tuple(sheet.reasons))


class _Sheet:
    """Columns that grow; a row that is left out keeps its place until the end, since others may name it."""

    def __init__(self, form: Form, model: str) -> None:
        self.kept = bytearray()
        self.skipped = 0
        self.reasons: list[str] = []
        self._form = form
        self._models = {model: 0} if form.columns.model is None else {}
        self._time = array("d")
        self._model, self._prompt, self._output, self._after = (array("i") for _ in range(4))

    def add(self, cells: Cells) -> None:
        """Append a row; raises ValueError, and appends nothing, if it is bad."""
        names = self._form.columns
        time = self._form.clock(str(names.time), cells.time)
        prompt, output = tokens(str(names.prompt), cells.prompt), tokens(str(names.output), cells.output)
        after = self._followed(cells.after) if cells.after else ROOT
        self._append(time, self._place(cells.model), prompt, output, after)
        self.kept.append(True)

    def leave_out(self, reason: str) -> None:
        """Append a row that is not to be kept."""
        self._append(0.0, 0, 1, 1, ROOT)
        self.kept.append(False)
        self.skipped += 1
        if len(self.reasons) < _TOLD:
            self.reasons.append(reason)

    def trace(self, name: str) -> Trace:
        """What was kept."""
        kept = np.frombuffer(self.kept, np.bool_)
        arrival = np.array(self._time)[kept]
        model, prompt, output, after = (
            np.array(column, np.int32)[kept] for column in (self._model, self._prompt, self._output, self._after)
        )
        if self._form.absolute:
            arrival = (arrival - arrival.min()) / self._form.ticks
        places = np.cumsum(kept) - 1
        after = np.where(after == ROOT, ROOT, places[after]).astype(np.int32)
        return Trace.arranged(name, tuple(self._models), arrival, model, prompt, output, after)

    def _append(self, time: float, *values: int) -> None:
        self._time.append(time)
        for column, value in zip((self._model, self._prompt, self._output, self._after), values, strict=True):
            column.append(value)

    def _place(self, model: object) -> int:
        """The model's place among the models, of which it is one from now on."""
        if self._form.columns.model is None:
            return 0
        name = str(model or "").strip()
        if not name:
            raise ValueError(f"{self._form.columns.model} is missing")
        return self._models.setdefault(name, len(self._models))

    def _followed(self, cell: object) -> int:
        """The row that is followed."""
        text = str(cell).strip()
        row = int(text) if text.isdecimal() else -1
        if not 0 <= row < len(self.kept):
            rows = f"0 to {len(self.kept) - 1}, the rows above" if self.kept else "empty in the first row"
            raise ValueError(f"after is {text!r}; it must be {rows}")
        if not self.kept[row]:
            raise ValueError(f"it follows row {row}, which is left out")
        return row


def _recognised(file: io.TextIOWrapper, path: Path) -> tuple[Form, _Rows, _Pick]:
    """The file's form, its rows, and how to pick their cells."""
    first = next((line for line in iter(file.readline, "") if line.strip()), "")
    file.seek(0)
    if first.lstrip().startswith("{"):
        return MOONCAKE, ((n, line) for n, line in enumerate(file, 1) if line.strip()), from_json
    reader = csv.reader(file)
    header = [name.strip() for name in next((row for row in reader if any(row)), [])]
    for form in TABLES:
        if set(form.needed) <= set(header):
            return form, ((reader.line_num, row) for row in reader if row), from_row(form, header)
    known = "; ".join(f"{','.join(form.needed)} ({form.name})" for form in TABLES)
    begins = f"it begins with {first.strip()[:80]!r}" if first else "it is empty"
    names = MOONCAKE.columns
    objects = f"objects of JSON with {names.time}, {names.prompt} and {names.output} ({MOONCAKE.name})"
    raise ConfigError(f"{path}: not a trace that hotbunk knows: {begins}; it must be {known}; or {objects}")


@contextmanager
def _opened(path: Path) -> Iterator[io.TextIOWrapper]:
    """The file as text, with its lines' ends as they are."""
    try:
        with path.open("rb") as raw:
            zipped = raw.read(2) == _GZIP
            raw.seek(0)
            with (
                gzip.GzipFile(fileobj=raw) if zipped else raw as plain,
                io.TextIOWrapper(plain, encoding="utf-8-sig", newline="") as file,
            ):
                yield file
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ConfigError(f"{path}: cannot be unzipped: {error}") from error
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not text in UTF-8: {error.reason}") from error
    except csv.Error as error:
        raise ConfigError(f"{path}: not a table: {error}") from error
