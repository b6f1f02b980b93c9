"""Traces into files, in hotbunk's own form."""

from __future__ import annotations

import csv
import gzip
import io
from pathlib import Path

import numpy as np

from hotbunk.aside import whole
from hotbunk.errors import ConfigError
from hotbunk.traces.forms import OWN
from hotbunk.traces.trace import ROOT, Trace

__all__ = ["write"]


def write(trace: Trace, path: Path, force: bool = False) -> None:
    """Write a trace so that the same is read again; gzipped if the file's name ends with ``.gz``.

    The column ``after`` is there only if a request follows an answer. A trace that is not written to its end is not
    there: half of one would read as a whole.

    Raises:
        ConfigError: the file is there already, unless ``force``, or cannot be written.
    """
    try:
        if path.exists() and not force:
            raise ConfigError(f"{path}: it is there already; --force replaces it")
        # a device or a pipe is written to as it is, of a link what it leads to
        aside = path.is_file() or not path.exists()
        with whole(path.resolve()) if aside else path.open("wb") as raw:
            if path.suffix == ".gz":
                # without name and time, so that the same trace gives the same bytes
                with gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as zipped:
                    _write(trace, io.BufferedWriter(zipped))
            else:
                _write(trace, raw)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}") from error


def _write(trace: Trace, out: io.BufferedIOBase) -> None:
    columns = [trace.arrival.tolist(), np.array(trace.models, object)[trace.model].tolist()]
    columns += [trace.prompt.tolist(), trace.output.tolist()]
    header = [*OWN.needed]
    if np.any(trace.after != ROOT):
        header.append(str(OWN.columns.after))
        columns.append(["" if row == ROOT else row for row in trace.after.tolist()])
    with io.TextIOWrapper(out, encoding="utf-8", newline="") as file:  # type: ignore[type-var]
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(zip(*columns, strict=True))
