"""What the store knows as tables for other programs: Parquet and CSV."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from hotbunk import tables
from hotbunk.costs.store import Known, Store
from hotbunk.errors import ConfigError
from hotbunk.extras import needs
from hotbunk.profile.rows import Row, machine, parameters

__all__ = ["check", "write"]


def check(folder: Path) -> None:
    """See early, before anything takes long, that tables can be written there; the folder is made.

    Raises:
        ConfigError: they cannot, or pyarrow is missing.
    """
    needs("pyarrow")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--export {folder}: cannot be made: {error.strerror}; give another folder") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ConfigError(f"--export {folder}: it cannot be written; give another folder")


def write(store: Store, known: Sequence[Known], folder: Path) -> None:
    """Write ``machines``, ``records`` and ``parameters``, each as ``.parquet`` and ``.csv``.

    Raises:
        ConfigError: pyarrow is missing, or the folder cannot be written.
    """
    tables.write(folder, "machines", [machine(here, line) for here, line in store.machines().items()])
    tables.write(folder, "records", [row for each in known for row in _records(store, each)])
    tables.write(folder, "parameters", [row for each in known for row in _parameters(store, each)])


def _records(store: Store, known: Known) -> list[Row]:
    return [_who(known) | _flat(asdict(record)) for record in store.records(known.machine, known.model)]


def _parameters(store: Store, known: Known) -> list[Row]:
    costs = store.costs(known.machine, known.model, known.anatomy)
    return [_who(known) | row for row in (parameters(costs) if costs else [])]


def _who(known: Known) -> Row:
    return {"model": known.name, "content": known.model, "device": known.machine.device, "machine": known.machine.key}


def _flat(values: Row, prefix: str = "") -> Row:
    """Nested values under names joined by underscores."""
    flat: Row = {}
    for name, value in values.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}_")
        else:
            flat[prefix + name] = str(value) if name == "kind" else value
    return flat
