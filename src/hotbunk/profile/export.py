"""What the store knows as tables for other programs: Parquet and CSV."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hotbunk import tables
from hotbunk.costs.store import Known, Store

__all__ = ["write"]

_Row = dict[str, Any]


def write(store: Store, known: Sequence[Known], folder: Path) -> None:
    """Write ``records`` and ``parameters``, each as ``.parquet`` and ``.csv``.

    Raises:
        ConfigError: pyarrow is missing, or the folder cannot be written.
    """
    tables.write(folder, "records", [row for each in known for row in _records(store, each)])
    tables.write(folder, "parameters", [row for each in known for row in _parameters(store, each)])


def _records(store: Store, known: Known) -> list[_Row]:
    return [_who(known) | _flat(asdict(record)) for record in store.records(known.machine, known.model)]


def _parameters(store: Store, known: Known) -> list[_Row]:
    costs = store.costs(known.machine, known.model, known.anatomy)
    return [
        _who(known)
        | {"kind": str(each.kind), "term": each.term.name, "meaning": each.term.meaning, "unit": each.term.unit}
        | {"factor": each.factor, "error": each.error}
        for each in (costs.parameters() if costs else [])
    ]


def _who(known: Known) -> _Row:
    return {"model": known.name, "content": known.model, "device": known.machine.device, "machine": known.machine.key}


def _flat(values: _Row, prefix: str = "") -> _Row:
    """Nested values under names joined by underscores."""
    flat: _Row = {}
    for name, value in values.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}_")
        else:
            flat[prefix + name] = str(value) if name == "kind" else value
    return flat
