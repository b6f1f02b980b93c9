"""``hotbunk profile`` on a real worker with little time, and what it says of bad input."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hotbunk.cli import main
from hotbunk.cli.profile import session
from hotbunk.costs.roofline import Roofline, Side
from hotbunk.measure import machine as measured
from hotbunk.measure.wire import Wire

SIDE = Side({"F16": 1e10, "Q4_K": 8e9}, {"F16": 3e10, "Q4_K": 4e10}, 5e9, 1e-6, 1e-5)
LINE = Roofline(SIDE, SIDE, None, None, 1e10, 1e10, None, False)
SMALL = ["--device", "cpu", "--threads", "1", "--context", "256", "--slots", "2"]


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr("sys.argv", ["hotbunk", "profile", *arguments])
    monkeypatch.setattr(measured, "roofline", lambda *_: LINE)  # for itself in tests/measure
    with pytest.raises(SystemExit) as exit:
        main()
    return int(exit.value.code or 0)


@pytest.mark.usefixtures("ticking")
def test_profiles_goes_on_shows_and_exports(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], smollm2: Path, tmp_path: Path
) -> None:
    store = str(tmp_path / "costs.sqlite")
    for _ in range(2):
        assert run(monkeypatch, str(smollm2), "--store", store, "--time-budget", "4s", "--json", *SMALL) == 0
        [row] = json.loads(capsys.readouterr().out)
        assert row["device"] and {p["kind"] for p in row["parameters"]} >= {"decode", "prefill", "load"}
    assert run(monkeypatch, "--show", "--store", store) == 0
    shown = capsys.readouterr().out
    assert "GB/s" in shown and "held-out errors" in shown and f"{row['measurements']} measurements" in shown
    folder = tmp_path / "tables"
    assert run(monkeypatch, "--export", str(folder), "--store", store) == 0
    assert {f.name for f in folder.iterdir()} == {
        f"{name}.{kind}" for name in ("records", "parameters") for kind in ("csv", "parquet")
    }
    assert len((folder / "records.csv").read_text().splitlines()) == row["measurements"] + 1


@pytest.mark.usefixtures("ticking")
def test_a_worker_that_dies_is_replaced_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], smollm2: Path, tmp_path: Path
) -> None:
    deaths = [2, 1]

    def fatal(wire: Wire, *_: object) -> dict[str, object]:
        if deaths:
            deaths.pop()
            assert wire.process
            wire.process.kill()
        return {}

    monkeypatch.setattr(session, "fill", fatal)
    arguments = str(smollm2), "--store", str(tmp_path / "costs.sqlite"), "--time-budget", "2s", *SMALL
    assert run(monkeypatch, *arguments) == 1
    assert "the worker ended with status -9" in capsys.readouterr().err
    deaths.append(1)
    assert run(monkeypatch, *arguments) == 0
    told = capsys.readouterr().err
    assert "the worker ended with status -9; its last words are above; going on with another one" in told
    assert "decode" in told


def test_a_break_keeps_what_was_measured(smollm2: Path, tmp_path: Path, environment: dict[str, str]) -> None:
    store = str(tmp_path / "costs.sqlite")
    command = [sys.executable, "-m", "hotbunk", "profile"]
    # the roofline is measured for real here, and takes some seconds
    with subprocess.Popen(
        [*command, str(smollm2), "--store", store, "--time-budget", "10m", *SMALL],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        env=environment,
    ) as process:
        assert process.stderr
        for line in process.stderr:
            if "decode" in line:
                break
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
        assert process.wait(60) == 130
    assert "stopped: all that was measured is kept" in rest
    shown = subprocess.run([*command, "--show", "--json", "--store", store], capture_output=True, env=environment)
    assert json.loads(shown.stdout)[0]["measurements"] > 0


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["--quick", "--full"], "choose one"),
        ([], "no model to profile"),
        (["--time-budget", "soon", "x"], "--time-budget soon: not a duration; write it like 2s"),
        (["nowhere.gguf"], "nowhere.gguf: no such file"),
    ],
)
def test_bad_input_is_said_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    arguments: list[str],
    said: str,
) -> None:
    assert run(monkeypatch, *arguments, "--store", str(tmp_path / "costs.sqlite")) == 1
    assert said in capsys.readouterr().err
