"""Results are on disk at once, whole points only, and are found again; what cannot be written is told plainly."""

from __future__ import annotations

import errno
import os
import resource
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from hotbunk.cli.study.order import make_report
from hotbunk.errors import ConfigError, OutOfMemory
from hotbunk.measure.wire import Outrun
from hotbunk.study import results as module
from hotbunk.study.environment import check_in, enter
from hotbunk.study.offload import further
from hotbunk.study.pace import Clock, Point, go
from hotbunk.study.report import write
from hotbunk.study.results import Results, Row
from hotbunk.worker.protocol import Hello
from tests.study.machine import SESSION, about


def test_rows_are_there_again_when_the_folder_is_opened_anew(tmp_path: Path) -> None:
    Results(tmp_path).add("bus", [{"size": 1, "speed": 2.5}, {"size": 2, "speed": 3.0}])
    again = Results(tmp_path)
    assert again.rows("bus") == [{"size": 1, "speed": 2.5}, {"size": 2, "speed": 3.0}]
    assert again.rows("bus", size=2, speed=3.0) == [{"size": 2, "speed": 3.0}]
    assert again.rows("offload") == []


def test_half_a_line_is_dropped_and_written_over(tmp_path: Path) -> None:
    Results(tmp_path).add("bus", [{"size": 1}])
    with (tmp_path / "bus.jsonl").open("a") as journal:
        journal.write('{"size": 2, "spe')
    again = Results(tmp_path)
    again.add("bus", [{"size": 3}])
    assert Results(tmp_path).rows("bus") == [{"size": 1}, {"size": 3}]


def test_results_are_not_added_to_by_accident(tmp_path: Path) -> None:
    Results(tmp_path, resume=False).add("bus", [{"size": 1}])
    with pytest.raises(ConfigError, match=f"{tmp_path}: has results already; give --resume to go on, or another --out"):
        Results(tmp_path, resume=False)


def test_a_full_disk_leaves_whole_points(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = Results(tmp_path)
    results.add("bus", [{"size": 1}])

    def half(write: Callable[[bytes], int], data: bytes) -> None:
        write(data[: len(data) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched, pytest.raises(ConfigError) as error:
        patched.setattr(module, "_write", half)
        results.add("bus", [{"size": 2}, {"size": 3}])
    assert str(error.value).startswith(f"{tmp_path}/bus.jsonl: cannot be written: No space left on device; what was")
    assert results.rows("bus") == Results(tmp_path).rows("bus") == [{"size": 1}]


def test_a_folder_that_cannot_be_had(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be used for results: Not a directory"):
        Results(tmp_path / "file" / "folder")
    (tmp_path / "bus.jsonl").write_text("no table\n")
    with pytest.raises(ConfigError, match=r"bus.jsonl, line 1: is not a table of results \(Expecting value"):
        Results(tmp_path)
    (tmp_path / "bus.jsonl").write_text('{"size": 1}\n[1]\n')
    with pytest.raises(ConfigError, match=r"bus.jsonl, line 2: is not a table of results \(no object\)"):
        Results(tmp_path)


def test_tables_are_exported_with_all_columns(tmp_path: Path) -> None:
    results = Results(tmp_path)
    results.add("context", [{"tokens": 1, "step": 0.5}, {"tokens": 2, "step": 1, "tier": "pinned"}])
    files = results.export()
    assert [file.name for file in files] == ["context.parquet", "context.csv"]
    assert pyarrow.parquet.read_table(files[0]).to_pylist() == [
        {"tokens": 1, "step": 0.5, "tier": None},
        {"tokens": 2, "step": 1.0, "tier": "pinned"},
    ]
    assert files[1].read_text().splitlines()[0] == '"tokens","step","tier"'


def test_what_cannot_be_written_anew_stays_as_it_was(tmp_path: Path) -> None:
    results = Results(tmp_path)
    results.add("bus", [{"size": 1, "speed": 2.5}])
    before = {path: path.read_bytes() for path in [*results.export(), results.text("summary.txt", "as it was")]}
    with full_disk(), pytest.raises(ConfigError, match=r"summary\.txt: cannot be written: File too large"):
        results.text("summary.txt", "x" * 100_000)
    results.add("bus", [{"size": n, "speed": n / 7} for n in range(10_000)])
    with full_disk(), pytest.raises(ConfigError, match=r"tables cannot be written: .*; the measurements are kept"):
        results.export()
    assert {path: path.read_bytes() for path in before} == before
    assert {path.name for path in tmp_path.iterdir()} == {"bus.jsonl", *(path.name for path in before)}


@contextmanager
def full_disk() -> Iterator[None]:
    """No file can be written beyond a few bytes."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_note_takes_the_place_of_the_last(tmp_path: Path) -> None:
    results = Results(tmp_path)
    results.note("offload", "no time for 3 points")
    results.note("bus", "left out")
    results.note("offload", "no time for 1 points")
    assert Results(tmp_path).notes == {"offload": "no time for 1 points", "bus": "left out"}
    results.note("offload")
    assert Results(tmp_path).notes == {"bus": "left out"}


# ---------------------------------------------------------------- which models


def test_models_of_one_name_are_told_apart(tmp_path: Path) -> None:
    older, one, other = {"model": "a"}, {"model": "a", "content": "01"}, {"model": "a", "content": "02"}
    results = Results(tmp_path / "one")
    enter(results, one)
    enter(results, one)
    enter(results, older)
    assert results.rows("models") == [one]
    with pytest.raises(ConfigError, match="its results of a come from another file of that name; give another --out"):
        enter(results, other)
    enter(results, {**other, "model": "b"})
    early = Results(tmp_path / "early")
    enter(early, older)
    enter(early, other)
    assert early.rows("models") == [older]


def test_a_command_that_is_not_utf_8_makes_a_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["hotbunk", "study", "bus", "--out", os.fsdecode(b"caf\xe9")])
    results = Results(tmp_path)
    check_in(results, Hello("CPU", "", 0, 0, 1, "", True))
    assert "hotbunk study bus --out 'caf\N{REPLACEMENT CHARACTER}'" in write(results)[1].read_text()


@pytest.mark.parametrize("fault", ["machine", "model"])
def test_a_report_of_what_does_not_belong_together_writes_nothing(fault: str, tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("first", "second", "third")]
    for folder in folders:
        other = folder.name == "third"
        results = Results(folder)
        results.add("sessions", [{**SESSION, "threads": 7 if other and fault == "machine" else 15}])
        enter(results, {**about("qwen3-8b"), "content": "02" if other and fault == "model" else "01"})
    said = r"different set-ups \(threads" if fault == "machine" else "different files named qwen3-8b"
    for out in (folders[0], tmp_path / "new"):
        with pytest.raises(ConfigError, match=said):
            make_report(folders, out)
    assert sorted(tmp_path.iterdir()) == sorted(folders)
    assert [path.name for path in sorted(folders[0].iterdir())] == ["models.jsonl", "sessions.jsonl"]
    make_report(folders[:2], tmp_path / "new")
    assert len(Results(tmp_path / "new").rows("models")) == 1


# ---------------------------------------------------------------- the pace


def point(number: int, measure: Callable[[float], Mapping[str, Sequence[Row]]], repeat: int = 0) -> Point:
    return Point("bus", f"point {number}", {"number": number, "repeat": repeat}, measure)


def test_points_are_measured_once(tmp_path: Path) -> None:
    results, measured = Results(tmp_path), list[int]()

    def points() -> list[Point]:
        def row(number: int) -> dict[str, list[Row]]:
            measured.append(number)
            return {"bus": [{"value": 10 * number}], "memory": [{"value": number}]}

        return [point(n, lambda _, n=n: row(n)) for n in range(3)]  # type: ignore[misc]

    said: list[str] = []
    assert not go(points()[:2], results, Clock(), said.append)
    assert not go(points(), Results(tmp_path), Clock(), said.append)
    assert measured == [0, 1, 2]
    assert said == ["point 0 (1 of 2)", "point 1 (2 of 2)", "point 2 (1 of 1)"]
    assert Results(tmp_path).rows("memory") == [{"number": n, "repeat": 0, "value": n} for n in range(3)]


def test_time_is_shared_and_what_is_left_is_counted(tmp_path: Path) -> None:
    given: list[float] = []

    def row(seconds: float) -> dict[str, list[Row]]:
        given.append(seconds)
        return {"bus": [{}]} if len(given) < 3 else {}

    results = Results(tmp_path)
    assert len(go([point(n, row) for n in range(4)], results, Clock(1000), lambda _: None)) == 2
    assert [round(seconds) for seconds in given] == [250, 333, 500, 1000]
    assert len(go([point(9, row)], results, Clock(0), lambda _: None)) == 1
    assert len(given) == 4


def test_repeats_are_cut_before_points_are_thinned(tmp_path: Path) -> None:
    given: list[float] = []

    def row(seconds: float) -> dict[str, list[Row]]:
        given.append(seconds)
        return {"bus": [{}]}

    points = [point(n, row, repeat) for repeat in range(3) for n in range(4)]
    assert not go(points, Results(tmp_path), Clock(1200), lambda _: None)
    assert [round(seconds) for seconds in given[:4]] == [150, 200, 300, 600]  # half of the time for the first four
    assert all(seconds >= 100 for seconds in given)  # none less than an even share of all


def test_what_was_cut_short_is_measured_again_after_what_is_not_there(tmp_path: Path) -> None:
    reach, measured = [1, 5, 2, 9], list[int]()

    def points() -> list[Point]:
        def rows(number: int) -> dict[str, list[Row]]:
            measured.append(number)
            return {"bus": [{"reached": reach.pop(0)}]}

        def whole(rows: Sequence[Row]) -> bool:
            return any(row["reached"] >= 5 for row in rows)

        return [replace(point(n, lambda _, n=n: rows(n)), whole=whole) for n in range(3)]  # type: ignore[misc]

    results = Results(tmp_path)
    assert [each.key["number"] for each in go(points()[:2], results, Clock(), lambda _: None)] == [0]
    assert [each.key["number"] for each in go(points(), results, Clock(0), lambda _: None)] == [2, 0]
    assert [each.key["number"] for each in go(points(), results, Clock(), lambda _: None)] == [2]
    assert measured == [0, 1, 2, 0]


def test_a_run_adds_what_it_reached_for_the_first_time() -> None:
    lengths = (50, 150)
    assert further(200, lengths, ()) == [50, 150]
    assert further(149, lengths, ()) == [50]
    assert further(150, lengths, {50}) == [150]
    assert further(149, lengths, {50}) == []
    assert further(13, lengths, ()) == [13]
    assert further(12, lengths, {13}) == []
    assert further(49, lengths, {13}) == [49]
    assert further(60, lengths, {13}) == [50]


def test_what_fits_after_all_is_no_longer_noted(tmp_path: Path) -> None:
    results = Results(tmp_path)
    results.note("point 0", "left out: no room for 3 bytes")
    assert not go([point(0, lambda _: {"bus": [{}]})], results, Clock(), lambda _: None)
    assert results.notes == {}


def test_what_does_not_fit_is_noted_and_the_others_go_on(tmp_path: Path) -> None:
    def refuse(seconds: float) -> Any:
        raise OutOfMemory("no room for 3 bytes")

    results = Results(tmp_path)
    assert not go([point(0, refuse), point(1, lambda _: {"bus": [{}]})], results, Clock(), lambda _: None)
    assert results.notes == {"point 0": "left out: no room for 3 bytes"}
    assert results.rows("bus") == [{"number": 1, "repeat": 0}]


def test_a_point_that_outran_the_study_is_tried_again(tmp_path: Path) -> None:
    tries = Counter[int]()

    def outrun(number: int, times: int) -> dict[str, list[Row]]:
        tries[number] += 1
        if tries[number] <= times:
            raise Outrun("it is over")
        return {"bus": [{}]}

    results = Results(tmp_path)
    points = [point(0, lambda _: outrun(0, 2)), point(1, lambda _: outrun(1, 99))]
    assert not go(points, results, Clock(), lambda _: None)
    assert results.rows("bus") == [{"number": 0, "repeat": 0}]
    assert results.notes == {"point 1": "left out: it is over"} and tries[1] < 99


def test_a_clock_without_a_budget_never_ends() -> None:
    assert not Clock().part(0.1).over
    assert Clock(0).over
    assert 40 < Clock(100).part(0.5).left <= 50
