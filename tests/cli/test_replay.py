"""``bench replay`` against a small server: what is printed, what is written, and what is refused."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hotbunk.cli import main
from tests.replay.fake import Fake, served

TRACE = """arrival_s,model,prompt_tokens,output_tokens,after
0.0,good,4,3,
0.01,chat,4,3,
0.0,good,4,2,0
0.02,chat,4,1,
100.0,elsewhere,4,1,
"""


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[Fake, str]]:
    fake = Fake()
    with served(fake.app) as url:
        yield fake, url


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    path = tmp_path / "trace.csv"
    path.write_text(TRACE)
    return path


def replay(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["hotbunk", "bench", "replay", *map(str, arguments)])
    try:
        main()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 0
    return 0


def test_figures_are_printed_and_written(
    server: tuple[Fake, str],
    trace: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    files = {kind: tmp_path / f"out.{kind}" for kind in ("parquet", "csv", "page")}
    options = [word for kind, path in files.items() for word in (f"--{kind}", path)]
    mine = ("--url", server[1], "--until", "5s", "--map", "chat=busy", "--slo", "good:ttft=9s", "--api-key=hush")
    assert replay(monkeypatch, trace, *mine, *options) == 0
    told = " ".join(capsys.readouterr().out.split())
    for part in ("good TTFT 9 s", "By model, http", "429 overloaded (2): come back later", "ms too late"):
        assert part in told
    assert all(path.stat().st_size > 100 for path in files.values())
    assert "hush" not in files["page"].read_text()


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("--csv", "."), "--csv .: it is a folder; give a file"),
        (("--page", "."), "--page .: it is a folder; give a file"),
        (("--parquet", "trace.csv"), "--parquet trace.csv: it is a file; give a folder"),
        (("--page", "x.html", "--to", "0"), "--to 0 is not after --from 0; give a later one"),
        (("--until", "0"), "--until 0: nothing arrives before that; give more"),
        (("--map", "chat=good", "--map", "chat=busy"), "--map chat=busy: chat is good already; say it once"),
    ],
)
def test_what_cannot_be_is_told_before_anything_is_sent(
    options: tuple[str, ...],
    why: str,
    trace: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(trace.parent)
    assert replay(monkeypatch, trace, "--url", "http://127.0.0.1:1", *options) == 1
    assert capsys.readouterr().err == f"hotbunk: error: {why}\n"


def test_json_has_all_that_is_printed(
    server: tuple[Fake, str], trace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--until", "0.005", "--speed", "2", "--name", "mine", "--json")
    assert replay(monkeypatch, trace, "--url", server[1], "--map", "chat=wordy", *options) == 0
    rows: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert rows["name"] == "mine"
    assert rows["all"]["done"] == rows["models"]["good"]["requests"] == 2
    assert rows["usage"]["loads"] is None
    assert (rows["slo"]["default"]["ttft"], rows["reasons"], rows["whole"], rows["words"]) == (2.0, [], True, "")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--until", "soon"], "--until soon: not a duration"),
        (["--until", "0s"], "--until 0s: nothing arrives before that"),
        (["--map", "good"], "--map good: write TRACE_MODEL=SERVER_MODEL; the trace's models are good, chat, elsewhere"),
        (["--map", "gpt=good"], "--map gpt=good: write TRACE_MODEL=SERVER_MODEL"),
        (["--tokens", "9-3"], "--tokens 9-3: not a range of token ids"),
        (["--tokens", f"1-{10**20}"], f"--tokens 1-{10**20}: not a range of token ids, below 2,147,483,648"),
        (["--api-key", "clé"], "--api-key has 'é', which no HTTP header takes"),
        (["--slo", "good:tpot=never"], "'never' is not a duration"),
        (["--from", "5m", "--to", "1m"], "--to 60 is not after --from 300"),
        (["--page", "/nowhere/page.html"], "there is no folder /nowhere"),
        (["--speed", "0"], "--speed 0: not a speed"),
        ([], "has no model chat, elsewhere; it has good, busy"),
    ],
)
def test_what_cannot_be_is_said(
    server: tuple[Fake, str],
    trace: Path,
    options: list[str],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert replay(monkeypatch, trace, "--url", server[1], *options) == 1
    assert said in capsys.readouterr().err


def test_ctrl_c_tells_what_has_come(server: tuple[Fake, str], tmp_path: Path, environment: dict[str, str]) -> None:
    path = tmp_path / "trace.csv"
    path.write_text("arrival_s,model,prompt_tokens,output_tokens\n0,good,4,3\n0.05,endless,4,3\n900,good,4,3\n")
    command = [sys.executable, "-m", "hotbunk", "bench", "replay", str(path), "--url", server[1]]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=environment, stdout=pipe, stderr=subprocess.DEVNULL, text=True) as process:
        assert server[0].endless.wait(60)
        process.send_signal(signal.SIGINT)
        told, _ = process.communicate()
    assert process.returncode == 130
    assert "It was broken off" in told
