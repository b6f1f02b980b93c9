"""Runs as tables, files and a page."""

from __future__ import annotations

import base64
import csv
import json
import re
from math import nan
from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet
import pytest

from hotbunk.errors import ConfigError
from hotbunk.outcomes import Fate, Run, Usage
from hotbunk.outcomes.activity import busiest, queues, stays, waits
from hotbunk.outcomes.files import write_page, write_requests, write_summary
from hotbunk.outcomes.metrics import errors, summarise
from hotbunk.outcomes.page import page
from hotbunk.outcomes.slo import Slo, Slos
from hotbunk.outcomes.table import as_rows, tables, validation
from hotbunk.traces.trace import Floats
from tests.outcomes.runs import SMALL, run

UNKNOWN = Usage(*[nan] * 10)


def test_tables_have_a_row_for_each_run() -> None:
    summaries = [summarise(each) for each in (run(), run(name="other", usage=UNKNOWN))]
    service, times, device, *models = tables(summaries, Slos(Slo(), {"b": Slo(ttft=30)}))
    assert [row[:7] for row in service.rows] == [
        [name, "5", "3", "1", "0", "1", "20.0 %"] for name in ("test", "other")
    ]
    assert "SLO: TTFT 2 s, TPOT 100 ms; b TTFT 30 s, TPOT 100 ms." in service.caption
    assert times.rows[:2] == [
        [f"TTFT, {name}", "1.67 s", "1.00 s", "2.80 s", "2.96 s", "3.00 s"] for name in ("test", "other")
    ]
    assert [row[2] for row in device.rows] == ["3", "-"]
    assert [table.title for table in models] == ["By model, test", "By model, other"]
    assert all(len(row) == len(table.columns) for table in (service, times, device, *models) for row in table.rows)


def test_errors_have_signs() -> None:
    table = validation({"swaps": errors(run(usage=Usage(loads=2)), run())})
    assert dict(zip(table.columns, table.rows[0], strict=True))["loads"] == "+50.0 %"


def test_rows_are_json() -> None:
    rows = json.loads(json.dumps(as_rows(summarise(run(usage=UNKNOWN))), allow_nan=False))
    assert rows["all"]["ttft"]["p50"] == 1
    assert rows["usage"]["loads"] is None
    assert rows["models"]["a"]["attainment"] == 0.5


def test_files_hold_what_was_measured(tmp_path: Path) -> None:
    write_requests(run(), Slos(), tmp_path / "requests.parquet")
    rows = parquet.read_table(tmp_path / "requests.parquet").to_pylist()
    assert [row["fate"] for row in rows] == ["done", "done", "done", "refused", "open", "open"]
    assert (rows[0]["model"], rows[0]["ttft"], rows[0]["met"], rows[0]["after"]) == ("a", 1.0, True, None)
    assert rows[1]["tpot"] is None
    write_summary([summarise(run())], tmp_path / "summary.csv")
    with (tmp_path / "summary.csv").open() as file:
        found = list(csv.DictReader(file))
    assert [(row["model"], row["requests"], row["loads"]) for row in found] == [
        ("", "5", "3"),
        ("a", "2", ""),
        ("b", "3", ""),
    ]
    assert (found[0]["computing"], found[0]["computing_share"]) == ("6.0", "0.6")


@pytest.mark.parametrize("write", [lambda path: write_page("", path), lambda path: write_summary([], path)])
def test_a_file_that_cannot_be_written_is_said(write: object, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be written: No such file or directory; give another file"):
        write(tmp_path / "missing" / "file")  # type: ignore[operator]


def test_the_page_needs_nothing_else() -> None:
    text = page([run(), run(name="other", usage=UNKNOWN)], Slos(), about=[("command", "hotbunk simulate")])
    assert not re.search(r'(src|href)="(?!data:|#)', text)
    assert text.count("<img") == 5
    for part in ("Time to first token", "By model, other", "Requests at once: at most 1 waiting, 2 running."):
        assert part in text


def test_the_page_of_a_long_run_shows_its_busiest_part() -> None:
    rng = np.random.default_rng(0)
    arrived = np.sort(np.concatenate([rng.uniform(0, 86400, 20000), rng.uniform(40000, 40100, 20000)]))
    text = page([_long(arrived)], Slos())
    shown = re.search(r"Seconds ([\d,]+) to ([\d,]+), 0\.7 % of the run", text)
    assert shown
    begin, end = (int(each.replace(",", "")) for each in shown.groups())
    assert begin <= 40005
    assert end >= 40095
    assert len(text) < 2**21


def _long(arrived: Floats) -> Run:
    return run(
        [("a", float(at), float(at), float(at) + 1, float(at) + 2, 5, Fate.DONE) for at in arrived], duration=86400.0
    )


def test_who_waits_and_who_runs() -> None:
    steps = queues(run(), (0.0, 10.0), 100)
    found = {time: (waits, runs) for time, waits, runs in zip(steps.times, steps.waiting, steps.running, strict=True)}
    assert found[0.0] == (1, 0)
    assert found[0.5] == (0, 1)
    assert found[2.0] == (1, 1)  # b waits, the second of a begins as the first ends
    assert found[3.0] == (0, 2)  # one of b begins, the other is refused
    assert found[10.0] == (0, 0)
    thinned = queues(run(), (0.0, 10.0), 5)
    assert thinned.times.tolist() == [0, 2.5, 5, 7.5, 10]
    assert thinned.waiting.tolist() == [1, 1, 0, 0, 0]


def test_whom_requests_waited_for() -> None:
    assert waits(run(), (0.0, 10.0), 0.0) == {"a": [(0.0, 0.5)], "b": [(1.0, 3.0), (4.0, 5.0)]}
    assert waits(run(), (2.5, 10.0), 1.0) == {"b": [(2.5, 5.0)]}
    assert waits(run(SMALL[5:]), (0.0, 10.0), 0.0) == {}  # nobody came


def test_who_was_there() -> None:
    assert {model: len(each) for model, each in stays(run(), (0.0, 10.0)).items()} == {"a": 2, "b": 1}
    assert list(stays(run(), (5.0, 10.0))) == ["b"]
    assert busiest(run(), 600) == (0.0, 10.0)
    assert busiest(run(), 3.5) == (0.0, 3.5)


def test_ticks_below_a_hundredth_keep_their_digits() -> None:
    fast = [("a", n / 10, n / 10, n / 10 + 0.002 * (n + 1), n / 10 + 1, 5, Fate.DONE) for n in range(9)]
    images = re.findall(r"base64,([^\"]+)", page([run(fast)], Slos()))
    assert any(b">0.005</text>" in base64.b64decode(image) for image in images)
