"""Rows as files for other programs: Parquet and CSV."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, cast

from hotbunk.aside import whole
from hotbunk.errors import ConfigError
from hotbunk.extras import needs

__all__ = ["write"]


def write(folder: Path, name: str, rows: Sequence[Mapping[str, Any]]) -> list[Path]:
    """Write ``NAME.parquet`` and ``NAME.csv``; a row that lacks a column has null there. Returns the files.

    One that cannot be written stays as it was.

    Raises:
        ConfigError: they cannot be written, or pyarrow is missing.
    """
    needs("pyarrow")
    # here and not above: who does not export can do without
    pyarrow, csv, parquet = (cast(Any, import_module(f"pyarrow{part}")) for part in ("", ".csv", ".parquet"))
    table = pyarrow.Table.from_pydict({column: [row.get(column) for row in rows] for column in _columns(rows)})
    files = [folder / f"{name}.parquet", folder / f"{name}.csv"]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, put in zip(files, (parquet.write_table, csv.write_csv), strict=True):
            with whole(path) as file:
                put(table, file)
    except OSError as error:
        raise ConfigError(
            f"{folder}: tables cannot be written: {error.strerror or error}; the measurements are kept"
        ) from error
    return files


def _columns(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """All names, in the order in which they first come."""
    return list(dict.fromkeys(name for row in rows for name in row))
