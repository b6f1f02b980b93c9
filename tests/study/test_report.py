"""The report: one page that needs nothing else, with what was measured and no more."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import pytest

from hotbunk.report.curves import band
from hotbunk.report.words import figure, listed, percent, seconds
from hotbunk.study import concurrency, offload
from hotbunk.study.report import write
from hotbunk.study.report.sweep import Model
from hotbunk.study.results import Results, Row
from tests.study.machine import MODELS, SESSION, Maker, about


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Page and summary of a machine with known rates."""
    folder = tmp_path_factory.mktemp("study")
    results = Maker(folder, ["llama3-8b", "qwen3-8b"], repeats=2).all()
    row: Row = {"model": "qwen3-8b", "how": "--quick", "seconds": 60.0}
    results.add("profile", [{**row, "kind": "decode", "error": 0.031, "points": 9}])
    results.note("bus", "no time for <3> points")
    files = write(results)
    assert {"report.html", "summary.txt", "offload.parquet", "preemption.csv"} <= {file.name for file in files}
    return (folder / "report.html").read_text(), " ".join((folder / "summary.txt").read_text().split())


def test_the_page_needs_nothing_else(made: tuple[str, str]) -> None:
    page, _ = made
    assert "<script" not in page
    assert not re.search(r'(src|href)="(?!data:|#)', page)
    assert "no time for &lt;3&gt; points" in page
    assert page.count("<img") == page.count("alt=") > 15
    # seven models and all their plots must stay below 2 MB
    assert len(page) * 7 / 2 < 2 * 2**20


def test_where_and_how_is_told_first(made: tuple[str, str]) -> None:
    for text in made:
        for part in ("NVIDIA Example", "driver 580.1", "15 threads", "hotbunk study all models", "arXiv 2605.19593"):
            assert part in text


def test_the_sentences_come_from_the_data(made: tuple[str, str]) -> None:
    _, summary = made
    # one preemption moves 4.3 and 15.1 GB, at 50 and at 5 GB/s
    assert re.search(r"qwen3-8b for llama3-8b moving weights 0\.4\d+ \(0\.4\d+ to 0\.4\d+\)", summary)
    assert re.search(r"qwen3-8b for llama3-8b ordinary load 3\.9\d? .* 5\.16 and 4\.06", summary)
    # 79 GB/s is what HOST and FIXED make together
    assert re.search(r"GB/s on the device and 7\d\.\d GB/s on the host \(mean error 0\.\d %\)", summary)
    assert "llama3-8b keeps 4" in summary
    assert re.search(r"qwen3-8b, --quick 60\.0 3\.1 % \(9\)", summary)
    assert "bus: no time for <3> points" in summary


def test_each_method_says_how_much_of_it_was_made(made: tuple[str, str]) -> None:
    _, summary = made
    for said in (
        "50, 150, 300, 500, 1,000 and 5,000 tokens at 15 to 16 residencies between 0 % and 100 % of the layers, ",
        "1, 2, 4, 8, 16 and 32 sequences at 6 residencies between 0 % and 100 % of the layers, each 2 times.",
        "sequences of 256, 512, 1,024, 2,048, 4,096, 8,192, 16,384 and 32,768 tokens at 2 residencies between 48 % and",
        "preemptions at 100, 250, 500, 1,000, 1,500, 2,000, 3,000, 4,000 and 5,000 tokens, each 2 times",
        "; answers of 500 tokens; jobs preempted 1, 2, 4 and 8 times.",
        "each 2 times; pinning of qwen3-8b.",
    ):
        assert said in summary


def test_no_more_is_said_to_be_made_than_was(tmp_path: Path) -> None:
    maker, results = Maker(tmp_path / "whole", ["llama3-8b"], repeats=2), Results(tmp_path / "few")
    maker.concurrency("llama3-8b")
    rows = maker.results.rows("concurrency")
    results.add("concurrency", [row for row in rows if row["layers"] == 33 and row["sequences"] <= 2])
    results.add("concurrency", [row for row in rows if (row["layers"], row["repeat"], row["sequences"]) == (30, 0, 2)])
    summary = " ".join(write(results)[1].read_text().split())
    assert "1 and 2 sequences at 2 residencies between 91 % and 100 % of the layers, each 1 to 2 times." in summary


@pytest.mark.parametrize("part", ["offload", "concurrency", "context", "preemption", "nothing"])
def test_whatever_there_is_makes_a_report(part: str, tmp_path: Path) -> None:
    maker = Maker(tmp_path, ["llama3-8b"], repeats=1)
    maker.results.add("sessions", [SESSION])
    maker.results.add("models", [about("llama3-8b")])
    if part == "preemption":
        maker.preemption("llama3-8b", "qwen3-8b")
    elif part != "nothing":
        getattr(maker, part)("llama3-8b")
    page = write(maker.results)[0].read_text()
    assert (f'id="{part}"' in page) == (part != "nothing")


def test_a_single_row_makes_a_report(tmp_path: Path) -> None:
    whole = Maker(tmp_path / "whole").all()
    results = Results(tmp_path / "part")
    for table in ("models", "offload", "memory", "preemption", "concurrency", "context", "bus"):
        results.add(table, whole.rows(table)[:1])
    page = write(results)[0].read_text()
    assert all(f'id="{part}"' in page for part in ("offload", "preemption", "concurrency", "context", "bus"))


def test_a_count_that_a_residency_lacks_leaves_its_cell_empty(tmp_path: Path) -> None:
    whole = Maker(tmp_path / "whole", ["llama3-8b"], repeats=1)
    whole.concurrency("llama3-8b")
    lacking = {33: {8}, 30: {1, 32}}  # all layers, and nine in ten
    results = Results(tmp_path / "part")
    rows = whole.results.rows("concurrency")
    results.add("concurrency", [row for row in rows if row["sequences"] not in lacking.get(row["layers"], ())])
    summary = write(results)[1].read_text()
    table = summary.partition("tokens a second of each sequence")[2].splitlines()[1:8]
    ends = {line.split("%")[0].strip(): line.rstrip() for line in table[1:]}
    where = [table[0].index(f" {count:g}") + len(f" {count:g}") for count in concurrency.COUNTS]
    for share, absent in (("100", [8]), ("91", [1, 32]), ("0", [])):
        cells = [ends[share][max(0, end - 6) : end].strip() for end in where]
        assert [n for n, cell in zip(concurrency.COUNTS, cells, strict=True) if not cell] == absent
    told = " ".join(summary.split())
    assert re.search(r"From 1 to 32 sequences the total speed grows \S+ times at 100 % on the device, \S+ times", told)
    assert "times at 91 % on the device (from 2 to 16)" in told and "ms at 91 % (from 2 to 16)" in told


def test_page_and_summary_are_of_one_making(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    maker = Maker(tmp_path, ["llama3-8b"], repeats=1)
    maker.concurrency("llama3-8b")
    before = [path.read_text() for path in write(maker.results)[:2]]
    maker.context("llama3-8b")
    with monkeypatch.context() as patch, pytest.raises(IndexError):
        patch.setattr(import_module(write.__module__), "text", lambda page: page.tables[1])
        write(maker.results)
    assert [(tmp_path / name).read_text() for name in ("report.html", "summary.txt")] == before
    assert (tmp_path / "context.csv").exists()


def test_every_host_is_told_once(tmp_path: Path) -> None:
    results = Results(tmp_path)
    results.add(
        "sessions", [SESSION, {**SESSION, "command": "hotbunk study bus"}, {**SESSION, "host_memory": 252 << 30}]
    )
    summary = write(results)[1].read_text()
    assert re.findall(r"^host .*cores, (.*);", summary, re.MULTILINE) == ["128 GiB", "252 GiB"]
    assert summary.count("NVIDIA Example") == 1


def offloaded(folder: Path, outputs: int) -> str:
    """The summary of runs of a model that came to so many of the lengths."""
    maker = Maker(folder / "whole", ["llama3-8b"], repeats=1)
    maker.offload("llama3-8b")
    results = Results(folder / "part")
    results.add("models", [about("llama3-8b")])
    reached = offload.LENGTHS[:outputs]
    results.add("offload", [row for row in maker.results.rows("offload") if row["output"] in reached])
    return " ".join(write(results)[1].read_text().split())


def test_lengths_that_were_not_reached_are_told(tmp_path: Path) -> None:
    summary = offloaded(tmp_path, 4)
    assert "the longest output is 500 tokens of llama3-8b." in summary
    assert "llama3-8b: outputs of 1,000 and 5,000 tokens, not reached" in summary
    assert "No runs of one length alone were made" in summary


def test_no_more_than_was_asked_for_is_missed(tmp_path: Path) -> None:
    assert "reached" not in offloaded(tmp_path / "all", 6).partition("left out.")[2]
    results = Results(tmp_path / "few")
    results.add("models", [about("llama3-8b")])
    row: Row = {
        "model": "llama3-8b",
        "layers": 33,
        "repeat": 0,
        "device_read": 1.0,
        "host_read": 0.0,
        "lengths": "16,64",
    }
    times = {"decode": 1.0, "latency": 1.1, "step": 0.1}
    results.add("offload", [{**row, **times, "alone": alone, "output": 16} for alone in (False, True)])
    summary = " ".join(write(results)[1].read_text().split())
    assert "llama3-8b: outputs of 64 tokens, not reached" in summary
    assert "differ from the same length within a longer run" in summary and "No runs of one length" not in summary


@pytest.mark.parametrize(
    ("outputs", "step"), [((1000, 5000), 1000), ((50, 500, 1000), 500), ((50,), 50), ((501, 300), 300)]
)
def test_curves_are_of_runs_that_are_not_too_long(outputs: tuple[int, ...], step: int) -> None:
    rows = [{"layers": 33, "repeat": 0, "output": output, "step": output} for output in outputs]
    assert [row["step"] for row in Model("llama3-8b", about("llama3-8b"), rows).runs] == [step]


def test_each_pair_has_its_own_last_point_and_medians(tmp_path: Path) -> None:
    maker = Maker(tmp_path / "whole", ["qwen3-8b"], repeats=1)
    for model, other in (("qwen3-8b", "llama3-8b"), ("llama3-8b", "qwen3-8b")):
        maker.preemption(model, other)
    rows = [row for row in maker.results.rows("preemption", way="fast", times=1) if row["repeat"] == 0]
    few = [row for row in rows if row["model"] == "qwen3-8b" or row["tokens"] <= 500]
    outlier = {**few[0], "load_other": 100.0}
    results = Results(tmp_path / "part")
    results.add("preemption", [outlier, *few[1:]])
    summary = " ".join(write(results)[1].read_text().split())
    assert re.search(r"% for qwen3-8b for llama3-8b \(5,000\) and .* % for llama3-8b for qwen3-8b \(500\)\.", summary)
    cells = re.search(r"qwen3-8b for llama3-8b moving weights \S+ \(\S+ to \S+\) (\S+) ", summary)
    assert cells and float(cells[1]) == pytest.approx(4.3 / 50, rel=0.03)
    assert "5.16 and 4.06 2.1 % and 1.9 %" in summary


def test_all_models_of_the_machine_are_drawn(tmp_path: Path) -> None:
    page = write(Maker(tmp_path, repeats=1).all())[0].read_text()
    for model in MODELS:
        assert f"{model}: time per token" in page


def test_a_band_reaches_from_the_least_to_the_greatest() -> None:
    rows: list[Row] = [{"x": 2, "y": 5}, {"x": 1, "y": 1}, {"x": 2, "y": 9}, {"x": 2, "y": 6}]
    curve = band(rows, "x", lambda row: row["y"])
    assert (curve.x, curve.middle, curve.low, curve.high) == ([1, 2], [1, 6], [1, 5], [1, 9])
    assert curve.scaled(2).high == [2, 18]
    assert curve.at(1.4) == 1


def test_figures_in_words() -> None:
    assert [figure(value) for value in (0, 0.00012, 0.1234, 1.234, 12.34, 1234.5)] == [
        "0.000",
        "0.0001",
        "0.123",
        "1.23",
        "12.3",
        "1,234",
    ]
    assert (percent(0.0312), percent(0.98), percent(0.5, 1)) == ("3.1 %", "98 %", "50.0 %")
    assert [seconds(value) for value in (0, 2e-5, 0.0123, 3.21)] == ["0 s", "20.0 µs", "12.3 ms", "3.21 s"]
    assert (listed(["a"]), listed(["a", "b", "c"])) == ("a", "a, b and c")
