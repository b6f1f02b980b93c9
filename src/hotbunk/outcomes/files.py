"""Runs as files: a table of requests for each, and a summary of all."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import numpy as np

from hotbunk.errors import ConfigError
from hotbunk.extras import needs
from hotbunk.outcomes.metrics import Summary, Times
from hotbunk.outcomes.outcome import Fate, Run
from hotbunk.outcomes.slo import Slos
from hotbunk.outcomes.table import flat

__all__ = ["write_page", "write_requests", "write_summary"]


def write_requests(run: Run, slos: Slos, path: Path) -> None:
    """Write a row for each request as Parquet: what was asked, when it came to what, and whether its SLO was met.

    Times are seconds, and null where it did not come to that.

    Raises:
        ConfigError: it cannot be written, or pyarrow is missing.
    """
    needs("pyarrow")
    # here and not above: who does not write can do without
    pyarrow, parquet = (cast(Any, import_module(f"pyarrow{part}")) for part in ("", ".parquet"))
    outcomes, trace, times = run.outcomes, run.outcomes.trace, Times(run, slos)
    columns = {
        "model": pyarrow.array(trace.models, pyarrow.string()).take(pyarrow.array(trace.model)),
        "arrival": trace.arrival,
        "after": pyarrow.array(trace.after, mask=trace.after < 0),
        "prompt": trace.prompt,
        "output": trace.output,
        **{name: getattr(outcomes, name) for name in ("arrived", "started", "first", "ended", "tokens", "preemptions")},
        "fate": pyarrow.array([fate.name.lower() for fate in Fate]).take(pyarrow.array(outcomes.fate)),
        **{name: getattr(times, name) for name in ("ttft", "tpot", "latency", "wait", "met")},
    }
    table = pyarrow.table({name: _column(pyarrow, column) for name, column in columns.items()})
    with _writing(path):
        parquet.write_table(table, path)


def write_summary(summaries: Sequence[Summary], path: Path) -> None:
    """Write the figures of runs as CSV: a row for all requests of each, with an empty model, and one for each model.

    Raises:
        ConfigError: it cannot be written.
    """
    rows = [row for summary in summaries for row in flat(summary)]
    with _writing(path), path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]) if rows else [])
        writer.writeheader()
        writer.writerows(rows)


def write_page(page: str, path: Path) -> None:
    """Write a page of HTML.

    Raises:
        ConfigError: it cannot be written.
    """
    with _writing(path):
        path.write_text(page, encoding="utf-8")


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror or error}; give another file") from error


def _column(pyarrow: Any, values: Any) -> Any:
    """With nulls for NaN."""
    return pyarrow.array(values, from_pandas=True) if isinstance(values, np.ndarray) else values
