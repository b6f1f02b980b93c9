"""``hotbunk trace``: from nothing to a file, its figures and a page; what makes no sense is told in one line."""

import gzip
import json
import sys
from pathlib import Path

import pytest

from hotbunk.cli import main
from hotbunk.traces.read import read

BAD = "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:03,10,5\nsoon,10,5\n2023-11-16 18:17:13,20,5\n"


def trace(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["hotbunk", "trace", *map(str, arguments)])
    try:
        main()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 0
    return 0


def test_defaults_make_a_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made, again, zipped = tmp_path / "made.csv", tmp_path / "again.csv", tmp_path / "zipped.csv.gz"
    assert trace(monkeypatch, "make", made) == 0
    assert capsys.readouterr().out.startswith(f"{made}: 1,000 requests for 4 models in ")
    for path in (again, zipped):
        assert trace(monkeypatch, "make", path) == 0
    assert made.read_bytes() == again.read_bytes() == gzip.decompress(zipped.read_bytes())
    assert trace(monkeypatch, "make", made) == 1
    assert capsys.readouterr().err == f"hotbunk: error: {made}: it is there already; --force replaces it\n"
    assert trace(monkeypatch, "make", made, "--seed", 1, "--force") == 0
    assert made.read_bytes() != again.read_bytes()


def test_all_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    made = tmp_path / "made.csv"
    options = ("--duration", "1h", "--rate", 0.5, "--cv", 2, "--burst", "10s:50s:8", "--swing", "30m:0.5", "--seed", 7)
    lengths = ("--prompt", "300:0.5", "--output", "20:0:30", "--chains", 0.5, "--think", "500ms")
    assert trace(monkeypatch, "make", made, *options, "--models", "small,large", "--zipf", 0, *lengths) == 0
    found = read(made).trace
    assert set(found.models) == {"small", "large"}
    assert set(found.output) == {20}
    assert found.followers
    assert found.duration < 3600
    lent = tmp_path / "lent.csv"
    assert trace(monkeypatch, "make", lent, "--lengths", made, "--requests", 50) == 0
    assert set(read(lent).trace.output) == {20}
    capsys.readouterr()
    assert trace(monkeypatch, "show", made, lent, "--json", "--speed", 2) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["name"] == "made + lent"
    assert figures["requests"] == len(found) + 50
    assert figures["duration"] == pytest.approx(found.duration / 2)
    assert {"1", "10", "60"} == set(figures["dispersion"])
    assert sum(model["requests"] for model in figures["models"]) == figures["requests"]


def test_show_and_plot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    made, page = tmp_path / "made.csv", tmp_path / "made.html"
    assert trace(monkeypatch, "make", made, "--requests", 200, "--models", 2) == 0
    capsys.readouterr()
    assert trace(monkeypatch, "show", made, "--plot", page) == 0
    said = capsys.readouterr().out
    for text in ("requests  200 for 2 models", "CV of the intervals", "Requests by model", "model-2, output"):
        assert text in said
    assert page.read_text().count("data:image/svg+xml") == 4
    assert trace(monkeypatch, "show", made, "--plot", tmp_path / "absent" / "x.html") == 1
    early = capsys.readouterr()
    assert "x.html: there is no folder" in early.err
    assert trace(monkeypatch, "show", made, "--plot", tmp_path) == 1
    assert f"--plot {tmp_path}: it is a folder; give a file" in capsys.readouterr().err
    assert not early.out


def test_bad_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "code.csv"
    path.write_text(BAD)
    said = "line 3: TIMESTAMP is 'soon', which is no date with a time"
    assert trace(monkeypatch, "show", path) == 1
    assert capsys.readouterr().err == f"hotbunk: error: {path}, {said}; --skip-bad leaves such rows out\n"
    assert trace(monkeypatch, "show", path, "--skip-bad", "--json") == 0
    printed = capsys.readouterr()
    assert printed.err == f"hotbunk: 1 row was left out: code.csv, {said}\n"
    assert json.loads(printed.out)["requests"] == 2


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--requests", 0), "--requests 0: not a number of requests; give a number from 1 to 10,000,000"),
        (("--duration", "1 day"), "--duration 1 day: not a duration; write it like 2s, 500ms, 2m or 1.5 (seconds)"),
        (("--duration", "0s"), "--duration 0s: '0s' is wrong; it must be at least 1ms, and at most 30 years"),
        (("--duration", "1ms"), "--duration 1ms: no request arrives within it; make it longer, or --rate higher"),
        (("--duration", "1000h", "--rate", 1000), "--duration 1000h: that gives 3,600,000,000 requests; the most is "),
        (("--rate", 0), "--rate 0: not requests a second; give a number from 1e-06 to 1,000,000"),
        (("--rate", "nan"), "--rate nan: not requests a second;"),
        (("--cv", -1), "--cv -1: not a coefficient of variation; give a number from 0 to 100"),
        (("--burst", "10s:50s"), "--burst 10s:50s: write it as ON:OFF:FACTOR, like 10s:50s:8"),
        (("--burst", "10s:soon:8"), "--burst 10s:soon:8: not a duration;"),
        (("--burst", "10s:50s:x"), "--burst 10s:50s:x: 'x' is wrong; the ratio of the rates is a number from 0 to "),
        (("--burst", "1ms:1ms:2"), "--burst: 1,000 s have 500,000 periods of 0.002 s; the most is 50,000"),
        (("--swing", "24h"), "--swing 24h: write it as PERIOD:SHARE, like 24h:0.8"),
        (("--swing", "24h:2"), "--swing 24h:2: '2' is wrong; the share is a number from 0 to 1"),
        (("--models", 0), "--models 0: not a number of models; give a number from 1 to 100,000"),
        (("--models", "a,,b"), "--models a,,b: give a number, or names with commas, each once, like small,large"),
        (("--models", "a,a"), "--models a,a: give a number, or names with commas"),
        (("--zipf", -1), "--zipf -1: not an exponent; give a number from 0 to 20"),
        (("--prompt", "long"), "--prompt long: 'long' is wrong; the median is a number from 1 to"),
        (("--prompt", "10:1:5"), "--prompt 10:1:5: '5' is wrong; the most is a number from 10 to"),
        (("--output", "1:2:3:4"), "--output 1:2:3:4: write it as MEDIAN, MEDIAN:SIGMA or MEDIAN:SIGMA:MOST"),
        (("--output", "10:-1"), "--output 10:-1: '-1' is wrong; sigma is a number from 0 to 10"),
        (("--lengths", "/absent.csv"), "/absent.csv: cannot be read: No such file or directory"),
        (("--lengths", "x.csv", "--prompt", "9"), "--lengths takes the lengths from a trace; leave out --prompt and"),
        (("--chains", 1), "--chains 1: not a chance; give a number from 0 to 0.999"),
        (("--think", "a while"), "--think a while: not a duration;"),
        (("--seed", -1), "--seed -1: not a seed; give a number from 0 to"),
    ],
)
def test_what_cannot_be_made(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: tuple[object, ...],
    said: str,
) -> None:
    made = tmp_path / "made.csv"
    assert trace(monkeypatch, "make", made, *options) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"hotbunk: error: {said}")
    assert len(error.splitlines()) == 1
    assert not made.exists()


@pytest.mark.parametrize("speed", ["0", "-2", "nan", "inf"])
def test_no_speed(speed: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert trace(monkeypatch, "show", "any.csv", "--speed", speed) == 1
    assert capsys.readouterr().err.startswith(f"hotbunk: error: --speed {speed}: not a speed; give a factor above 0")
