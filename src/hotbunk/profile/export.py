"""What the store knows as tables for other programs: Parquet and CSV."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from hotbunk.costs.store import Known, Store
from hotbunk.errors import ConfigError

__all__ = ["write"]


def write(store: Store, known: list[Known], folder: Path) -> None:
    """Write ``records`` and ``parameters``, each as ``.parquet`` and ``.csv``.

    Raises:
        ConfigError: pyarrow is missing, or the folder cannot be written.
    """
    try:
        import pyarrow as pa
        from pyarrow import csv, parquet
    except ImportError as error:
        raise ConfigError("--export needs pyarrow: pip install 'hotbunk[study]'") from error
    tables = {"records": [], "parameters": []}  # type: dict[str, list[dict[str, Any]]]
    for each in known:
        who = {"model": each.name, "content": each.model, "device": each.machine.device, "machine": each.machine.key}
        tables["records"] += [{**who, **_flat(asdict(r))} for r in store.records(each.machine, each.model)]
        costs = store.costs(each.machine, each.model, each.anatomy)
        for p in costs.parameters() if costs else []:
            tables["parameters"].append(
                {**who, "kind": str(p.kind), "term": p.term.name, "meaning": p.term.meaning, "unit": p.term.unit}
                | {"factor": p.factor, "error": p.error}
            )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, rows in tables.items():
            table = pa.Table.from_pylist(rows)
            parquet.write_table(table, folder / f"{name}.parquet")
            csv.write_csv(table, folder / f"{name}.csv")
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be written: {error}") from error


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested values under names joined by underscores."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}_")
        else:
            flat[prefix + name] = str(value) if name == "kind" else value
    return flat
