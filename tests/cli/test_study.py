"""``hotbunk study`` on real devices: every point asked for is measured once, and what it says of bytes is true."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from hotbunk.study.job import STEPS
from hotbunk.study.results import TABLES, Results, Row
from hotbunk.study.shapes import SHAPES
from hotbunk.study.stage import Subject
from hotbunk.study.write import write

LAYERS, POINTS, TIMES = 5, (40, 80), (1, 2, 4, 8)
FEW = ["--counts", "1,3", "--repeats", "1", "--threads", "1"]
SMALL = [*FEW, "--lengths", "4,8", "--points", "40,80", "--run", "4", "--contexts", "64,256"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of 4 blocks with random weights (19 MB)."""
    path = tmp_path_factory.mktemp("models") / "tiny.gguf"
    write(path, SHAPES["1b"].scaled(0.1).cut(4))
    return path


@dataclass(frozen=True)
class Ended:
    """How a command ended, and all that it said."""

    status: int
    said: str


@pytest.fixture(scope="module")
def hotbunk(environment: dict[str, str]) -> Callable[..., Ended]:
    """The command line, in a process of its own."""

    def run(*arguments: object) -> Ended:
        command = [sys.executable, "-m", "hotbunk", *map(str, arguments)]
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        return Ended(done.returncode, done.stdout)

    return run


@pytest.fixture(scope="module")
def made(
    model: Path, spare_device: str, hotbunk: Callable[..., Ended], tmp_path_factory: pytest.TempPathFactory
) -> Results:
    """All experiments, on a device with memory of its own."""
    out = tmp_path_factory.mktemp("study")
    ended = hotbunk("study", "all", model, "--device", spare_device, "--out", out, *SMALL)
    assert ended.status == 0, ended.said
    return Results(out)


def test_every_point_asked_for_is_there(made: Results) -> None:
    assert {(row["layers"], row["output"]) for row in made.rows("offload", alone=False)} == {
        (layers, output) for layers in range(LAYERS + 1) for output in (4, 8)
    }
    assert {(row["layers"], row["asked"]) for row in made.rows("offload", alone=True)} == {(5, 4), (4, 4)}
    assert {(row["layers"], row["sequences"]) for row in made.rows("concurrency")} == {
        (layers, count) for layers in (5, 4, 2, 1, 0) for count in (1, 3)
    }
    assert Counter((row["layers"], row["tokens"]) for row in made.rows("context")) == {
        (layers, tokens): 3 for layers in (5, 2) for tokens in (64, 256)
    }
    for way in ("fast", "ordinary"):
        rows = made.rows("preemption", model="tiny", other="tiny-2", way=way)
        assert [row["tokens"] for row in rows if row["repeat"] == 0] == list(POINTS)
        assert Counter(row["times"] for row in rows if row["repeat"] < 0) == {times: times for times in TIMES}
    assert {row["size"] for row in made.rows("bus")} == {1 << power for power in range(16, 27, 2)}
    assert made.notes == {}


def test_bytes_are_those_of_the_model(made: Results, model: Path) -> None:
    subject = Subject.of(model)
    whole = sum(subject.read(LAYERS))
    for row in made.rows("offload"):
        assert (row["device_read"], row["host_read"]) == subject.read(row["layers"])
        assert row["device_read"] + row["host_read"] == whole
    for row in made.rows("preemption"):
        assert row["moved"] == row["moved_other"] == whole
        assert all(row[step] > 0 for step in STEPS if step != "between")
        assert row["overhead"] == pytest.approx(sum(row[step] for step in STEPS))
        assert row["run_tokens"] == 4


def test_the_cache_grows_with_its_tokens(made: Results) -> None:
    [about] = made.rows("models")
    for row in made.rows("preemption"):
        assert row["behind"] >= row["tokens"]
        assert row["kv_bytes"] == pytest.approx(row["behind"] * about["kv_token"], rel=0.1)
    short, long = (
        [row["kv_bytes"] for row in made.rows("context", layers=LAYERS, tokens=tokens)] for tokens in (64, 256)
    )
    assert (long[0] - short[0]) / about["kv_token"] == pytest.approx(256 - 64, rel=0.05)


def test_the_report_tells_of_all_of_it(made: Results) -> None:
    page = (made.folder / "report.html").read_text()
    assert all(f'id="{part}"' in page for part in ("offload", "preemption", "concurrency", "context", "bus"))
    assert len(page) < 2 * 2**20
    summary = (made.folder / "summary.txt").read_text()
    for words in ("tiny for tiny-2", "moving weights", "ordinary load", "mean error", "study all"):
        assert words in summary
    for table in TABLES:
        for ending in ("parquet", "csv"):
            assert (made.folder / f"{table}.{ending}").exists() is bool(made.rows(table))


def test_resuming_measures_nothing_twice(
    made: Results, model: Path, spare_device: str, hotbunk: Callable[..., Ended]
) -> None:
    before = {table: made.rows(table) for table in TABLES if table != "sessions"}
    ended = hotbunk("study", "all", model, "--device", spare_device, "--out", made.folder, *SMALL, "--resume")
    assert ended.status == 0, ended.said
    again = Results(made.folder)
    assert {table: again.rows(table) for table in before} == before
    where = ["--device", spare_device, "--threads", "1", "--repeats", "1", "--out", made.folder, "--resume"]
    ended = hotbunk("study", "bus", *where)
    assert ended.status == 0, ended.said
    assert Results(made.folder).rows("bus") == before["bus"]
    refused = hotbunk("study", "all", model, "--device", spare_device, "--out", made.folder, *SMALL)
    assert refused.status == 1 and "has results already; give --resume to go on" in refused.said


def test_resuming_measures_what_is_asked_beyond_what_is_there(
    made: Results, model: Path, spare_device: str, tmp_path: Path, hotbunk: Callable[..., Ended]
) -> None:
    shutil.copytree(made.folder, tmp_path, dirs_exist_ok=True)
    more = [*FEW, "--lengths", "4,8,12", "--points", "40,80", "--run", "6", "--contexts", "64", "--counts", "1,2,3"]
    ended = hotbunk("study", "all", model, "--device", spare_device, "--out", tmp_path, *more, "--resume")
    assert ended.status == 0, ended.said
    again, new = Results(tmp_path), dict[str, list[Row]]()
    for table in ("offload", "concurrency", "preemption", "context", "memory"):
        before = made.rows(table)
        assert again.rows(table)[: len(before)] == before
        new[table] = again.rows(table)[len(before) :]
    grid, checks = ([row for row in new["offload"] if row["alone"] is alone] for alone in (False, True))
    assert [(row["layers"], row["output"]) for row in grid] == [(layers, 12) for layers in range(LAYERS, -1, -1)]
    assert [(row["layers"], row["output"]) for row in checks] == [(5, 8), (4, 8)]
    assert [(row["layers"], row["sequences"]) for row in new["concurrency"]] == [(n, 2) for n in (5, 4, 2, 1, 0)]
    assert [(row["tokens"], row["times"], row["run_tokens"]) for row in new["preemption"]] == [
        (40, 1, 6),
        (80, 1, 6),
    ] * 2
    assert not new["context"] and not new["memory"]


def test_without_pairs_nobody_is_preempted(model: Path, tmp_path: Path, hotbunk: Callable[..., Ended]) -> None:
    few = [*FEW, "--contexts", "64", "--counts", "1", "--pair", "none"]
    ended = hotbunk("study", "all", model, "--device", "cpu", "--out", tmp_path, *few)
    assert ended.status == 0 and "left out: tiny: offload: the CPU is the only device" in ended.said
    made = Results(tmp_path)
    assert "nothing to offload" in made.notes["tiny: offload"]
    assert made.rows("concurrency") and made.rows("context") and not made.rows("preemption")


def test_a_break_keeps_what_was_measured_and_the_rest_follows(
    model: Path, tmp_path: Path, environment: dict[str, str], hotbunk: Callable[..., Ended]
) -> None:
    # to all of its group, as a terminal does
    command = ["study", "concurrency", model, "--device", "cpu", "--out", tmp_path, *FEW]
    with subprocess.Popen(
        [sys.executable, "-m", "hotbunk", *map(str, command)],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        env=environment,
        start_new_session=True,
    ) as process:
        assert process.stderr
        said = next(line for line in process.stderr if "(3 of" in line)
        os.killpg(process.pid, signal.SIGINT)
        rest = process.stderr.read()
        assert process.wait(60) == 130, said + rest
    assert "interrupted: what was measured is kept; the same command with --resume goes on" in rest
    assert "Traceback" not in rest
    assert (tmp_path / "summary.txt").exists()
    assert Results(tmp_path).notes == {"tiny: concurrency": "broken off; --resume goes on with it"}
    kept = Results(tmp_path).rows("concurrency")
    assert len(kept) in (4, 6)  # the third may have been done just then
    ended = hotbunk(*command, "--resume")
    assert ended.status == 0, ended.said
    assert Results(tmp_path).notes == {}
    rows = Results(tmp_path).rows("concurrency")
    assert rows[: len(kept)] == kept
    assert sorted((row["layers"], row["sequences"]) for row in rows) == [
        (layers, count) for layers in (0, 1, 2, 4, 5) for count in (1, 3)
    ]


@pytest.mark.parametrize(
    ("option", "text", "said"),
    [
        ("--counts", "1,300", "300 is too large; give numbers up to 256"),
        ("--counts", "0,4", "0 is too small; give numbers from 1 on"),
        ("--counts", "few", "not a list of numbers; write it like 50,150,300"),
        ("--time-budget", "soon", "not a duration; write it like 2s"),
    ],
)
def test_numbers_that_cannot_be(option: str, text: str, said: str, model: Path, hotbunk: Callable[..., Ended]) -> None:
    done = hotbunk("study", "concurrency", model, option, text)
    assert done.status == 1 and done.said.startswith(f"hotbunk: error: {option} {text}: {said}")
