"""Measurements of models' costs as a small text file: what a profile has in its store, without what can be worked out.

The first line is the machine's roofline, as JSON; then CSV, a row for each record. Placements have only their layers,
context and slots: their bytes are priced anew, by formula. Files from before ``freed`` was told have no such column;
those from before ``anew`` was have no load that kept its context.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from hotbunk.costs.anatomy import Anatomy
from hotbunk.costs.dissect import dissect
from hotbunk.costs.price import price
from hotbunk.costs.record import Kind, Record
from hotbunk.costs.roofline import Roofline
from hotbunk.costs.store import Store
from hotbunk.study.described import described
from hotbunk.study.shapes import SHAPES

__all__ = ["Measured", "read", "write"]

_WHERE, _WHAT = ("layers", "context", "slots"), ("sequences", "tokens", "moved", "pieces", "freed", "repeats")
_FLAGS = ("anew", "pinned", "check")
_COLUMNS = ("model", "quick", "kind", *_WHERE, *_WHAT, *_FLAGS, "seconds")


@dataclass(frozen=True)
class Measured:
    """A model of a named shape, and its records, of which the first ``quick`` are a quick profile's."""

    anatomy: Anatomy
    records: list[Record]
    quick: int


def write(path: Path, store: Store, quick: Mapping[str, int], note: str) -> None:
    """Write all that a store knows of one machine; ``quick`` counts the records of quick profiles by model."""
    known = store.known()
    line = store.roofline(known[0].machine)
    assert line, "no roofline was measured"
    with path.open("w", newline="", encoding="utf-8") as file:
        file.write(f"# {note}\n{msgspec.json.encode(line).decode()}\n")
        rows = csv.DictWriter(file, _COLUMNS, lineterminator="\n")
        rows.writeheader()
        for each in known:
            records = store.records(each.machine, each.model)
            for number, record in enumerate(records):
                rows.writerow({"model": each.name, "quick": int(number < quick[each.name]), **_row(record)})


def read(path: Path) -> tuple[Roofline, dict[str, Measured]]:
    """The machine's roofline, and what was measured of each model, by the name of its shape."""
    with path.open(encoding="utf-8") as file:
        file.readline()
        line = msgspec.json.decode(file.readline(), type=Roofline)
        rows = list(csv.DictReader(file))
    return line, dict(_models(rows))


def _row(record: Record) -> dict[str, object]:
    place = record.placement
    what = {name: getattr(record, name) for name in _WHAT}
    flags: dict[str, object] = {name: int(getattr(record, name)) for name in _FLAGS}
    where = {name: getattr(place, name) for name in _WHERE}
    return {"kind": str(record.kind), **where, **what, **flags, "seconds": f"{record.seconds:.5g}"}


def _models(rows: list[dict[str, str]]) -> Iterator[tuple[str, Measured]]:
    for name in dict.fromkeys(row["model"] for row in rows):
        anatomy = dissect(described(SHAPES[name]), f"{name}:{SHAPES[name].type}")
        own = [row for row in rows if row["model"] == name]
        records = [_record(anatomy, row) for row in own]
        yield name, Measured(anatomy, records, sum(row["quick"] == "1" for row in own))


def _record(anatomy: Anatomy, row: Mapping[str, str]) -> Record:
    row = {"freed": "0", "anew": "1", **row}
    place = price(anatomy, int(row["layers"]), int(row["context"]), int(row["slots"]))
    return Record(
        Kind(row["kind"]),
        place,
        float(row["seconds"]),
        **{name: int(row[name]) for name in _WHAT},
        **{name: row[name] == "1" for name in _FLAGS},
    )
