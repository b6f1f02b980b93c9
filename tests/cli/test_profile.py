"""``hotbunk profile`` on a real worker with little time, and what it says of bad input."""

import json
import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from hotbunk.cli import main
from hotbunk.cli.profile import session
from hotbunk.costs.dissect import dissect
from hotbunk.costs.fingerprint import Machine, content
from hotbunk.costs.record import Kind, Record
from hotbunk.costs.roofline import Roofline, Side
from hotbunk.costs.store import Store
from hotbunk.llama.gguf import read
from hotbunk.measure import machine as measured
from hotbunk.measure.wire import Died, Wire
from hotbunk.placement import Placement

SIDE = Side({"F16": 1e10, "Q4_K": 8e9}, {"F16": 3e10, "Q4_K": 4e10}, 5e9, 1e-6, 1e-5)
LINE = Roofline(SIDE, SIDE, None, None, 1e10, 1e10, None, False)
FEW = ["--threads", "1", "--context", "256", "--slots", "2"]
SMALL = ["--device", "cpu", *FEW]
HERE = Machine("NVIDIA H100", "580.1", "Xeon", 16, 15, "0.3.36")
RECORD = Record(Kind.DECODE, Placement(3, 512, 2), 0.25, tokens=100)


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr("sys.argv", ["hotbunk", "profile", *arguments])
    monkeypatch.setattr(measured, "roofline", lambda *_: LINE)  # for itself in tests/measure
    with pytest.raises(SystemExit) as exit:
        main()
    return int(exit.value.code or 0)


@pytest.mark.usefixtures("ticking")
@pytest.mark.parametrize("where", ["cpu", "rpc"])
def test_profiles_goes_on_shows_and_exports(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    smollm2: Path,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    where: str,
) -> None:
    store = str(tmp_path / "costs.sqlite")
    device, before = request.getfixturevalue("spare_device") if where == "rpc" else where, 0
    for _ in range(2):
        options = "--device", device, "--store", store, "--time-budget", "4s", "--json", *FEW
        assert run(monkeypatch, str(smollm2), *options) == 0
        printed = json.loads(capsys.readouterr().out)
        [here], [row] = printed["machines"], printed["models"]
        assert row["machine"] == here["machine"] and here["h2d_pageable_bytes_per_s"] == 1e10
        assert row["measurements"] > before and any(p["measured"] for p in row["parameters"])
        before = row["measurements"]
    with capsys.disabled():  # how busy the machine is decides how large they are, so nothing is asked of them
        print(f"\nheld-out errors on {where}:", ", ".join(f"{kind} {e:.1%}" for kind, e in row["errors"].items()))
    assert run(monkeypatch, "--show", "--store", store) == 0
    shown = capsys.readouterr().out
    assert "GB/s" in shown and "held-out errors" in shown and f"{row['measurements']} measurements" in shown
    assert f"1 threads, {here['libllama']}" in shown and "F16 weights, read" in shown and "do not hold" not in shown
    folder = tmp_path / "tables"
    assert run(monkeypatch, "--export", str(folder), "--store", store) == 0
    assert {f.name for f in folder.iterdir()} == {
        f"{name}.{kind}" for name in ("machines", "records", "parameters") for kind in ("csv", "parquet")
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
    arguments = str(smollm2), "--store", str(tmp_path / "costs.sqlite"), "--time-budget", "4s", *SMALL
    assert run(monkeypatch, *arguments) == 1
    assert "the worker ended with status -9" in capsys.readouterr().err
    deaths.append(1)
    assert run(monkeypatch, *arguments) == 0
    told = capsys.readouterr().err
    assert "the worker ended with status -9; its last words are above; going on with another one" in told
    assert re.search(r"[1-9]\d* measurements", told)


@pytest.mark.usefixtures("ticking")
def test_after_a_failure_of_the_gpu_another_worker_does_without_cuda_graphs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], smollm2: Path, tmp_path: Path
) -> None:
    without = list[bool]()

    def failing(wire: Wire, *_: object) -> dict[str, object]:
        assert wire.process
        without.append(b"GGML_CUDA_DISABLE_GRAPHS=1" in Path(f"/proc/{wire.process.pid}/environ").read_bytes())
        if not without[-1]:
            raise Died(-6, "CUDA error: an illegal instruction was encountered")
        return {}

    monkeypatch.setattr(session, "fill", failing)
    arguments = str(smollm2), "--store", str(tmp_path / "costs.sqlite"), "--time-budget", "4s", *SMALL
    assert run(monkeypatch, *arguments) == 0
    assert without == [False, True]
    assert "going on with another one without CUDA graphs" in capsys.readouterr().err


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
    assert json.loads(shown.stdout)["models"][0]["measurements"] > 0


@pytest.fixture
def store(tmp_path: Path, kquant: Path) -> str:
    """Two models on one machine, one of them on another one too, and a machine of which only the roofline is known."""
    path, anatomy, mark = tmp_path / "costs.sqlite", dissect(read(kquant)), content(read(kquant).files)
    with Store(path) as kept:
        kept.keep_roofline(HERE, LINE)
        kept.keep_roofline(replace(HERE, device="NVIDIA A100"), replace(LINE, quick=True))
        kept.add(HERE, mark, "tied-q4_k_m", anatomy, RECORD)
        for where in (HERE, replace(HERE, driver="590.2")):
            kept.add(where, "other", "other.Q8", anatomy, RECORD)
    return str(path)


@pytest.mark.parametrize(
    "asked, machines, models",
    [
        ([], 3, ["tied-q4_k_m", "other.Q8", "other.Q8"]),
        (["FILE"], 1, ["tied-q4_k_m"]),
        (["FOLDER"], 1, ["tied-q4_k_m"]),
        (["other.Q8"], 2, ["other.Q8", "other.Q8"]),
        (["tied-q4_k_m.gguf", "other.Q8.gguf"], 2, ["tied-q4_k_m", "other.Q8", "other.Q8"]),
        (["--device", "h100"], 2, ["tied-q4_k_m", "other.Q8", "other.Q8"]),
        (["--device", "A100"], 1, []),
    ],
)
def test_shows_what_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    kquant: Path,
    store: str,
    asked: list[str],
    machines: int,
    models: list[str],
) -> None:
    given = [{"FILE": str(kquant), "FOLDER": str(kquant.parent)}.get(each, each) for each in asked]
    assert run(monkeypatch, "--show", "--json", "--store", store, *given) == 0
    printed = json.loads(capsys.readouterr().out)
    assert len(printed["machines"]) == machines
    assert sorted(row["model"] for row in printed["models"]) == sorted(models)


def test_files_are_known_by_what_is_in_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], kquant: Path, store: str, tmp_path: Path
) -> None:
    """Whatever they were called when they were profiled, and not by their names."""
    copy, changed = tmp_path / "copy.gguf", tmp_path / "tied-q4_k_m.gguf"
    copy.write_bytes(kquant.read_bytes())
    changed.write_bytes(kquant.read_bytes()[:-100] + bytes(100))
    with Store(Path(store)) as kept:
        kept.add(HERE, content([copy]), "copy", dissect(read(copy)), RECORD)
    for file in (kquant, copy):
        assert run(monkeypatch, "--show", "--json", "--store", store, str(file)) == 0
        [row] = json.loads(capsys.readouterr().out)["models"]
        assert (row["content"], row["measurements"]) == (content([kquant]), 2)
    assert run(monkeypatch, "--show", "--store", store, str(changed)) == 1
    assert "holds nothing of what is in it; those it knows: copy, other.Q8" in capsys.readouterr().err


def test_two_files_of_one_name_are_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], kquant: Path, tmp_path: Path
) -> None:
    twin = tmp_path / kquant.name
    twin.write_bytes(kquant.read_bytes()[:-100] + bytes(100))
    assert run(monkeypatch, str(kquant), str(twin), "--store", str(tmp_path / "costs.sqlite")) == 1
    assert "hotbunk: error: two files are called 'tied-q4_k_m': " in capsys.readouterr().err


def test_machines_are_told_apart(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], store: str
) -> None:
    assert run(monkeypatch, "--show", "--store", store) == 0
    shown = capsys.readouterr().out
    for driver in ("580.1", "590.2"):
        assert f") on NVIDIA H100, driver {driver}, 15 threads, 0.3.36\n" in shown
    assert "its figures do not hold on this machine: " in shown
    assert "roofline, measured quickly" in shown and "its roofline was not measured" in shown
    assert "to the device - pinned, 10 GB/s pageable" in shown


@pytest.mark.parametrize("reading", [["--show"], ["--export", "tables"]])
def test_reading_makes_no_store(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, reading: list[str]
) -> None:
    path = tmp_path / "typo" / "costs.sqlite"
    assert run(monkeypatch, *reading, "--store", str(path)) == 1
    assert f"hotbunk: error: there is no store {path}; hotbunk profile MODEL makes it" in capsys.readouterr().err
    assert not path.parent.exists()


@pytest.mark.parametrize(
    "asked, said",
    [
        (["absent"], "absent: STORE holds nothing of this model; those it knows: other.Q8, tied-q4_k_m"),
        (["--device", "CUDA0"], "--device CUDA0: STORE holds nothing of such a device; those it knows: NVIDIA A100, "),
    ],
)
def test_what_cannot_be_shown_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], store: str, asked: list[str], said: str
) -> None:
    assert run(monkeypatch, "--show", "--store", store, *asked) == 1
    assert capsys.readouterr().err.startswith(f"hotbunk: error: {said.replace('STORE', store)}")


def test_a_folder_that_cannot_be_exported_to_is_refused_before_anything_is_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], kquant: Path, tmp_path: Path
) -> None:
    store, file = tmp_path / "costs.sqlite", tmp_path / "file"
    file.write_text("no folder")
    for folder, why in ((file, "File exists"), (file / "below", "Not a directory")):
        assert run(monkeypatch, str(kquant), "--store", str(store), "--export", str(folder)) == 1
        said = f"hotbunk: error: --export {folder}: cannot be made: {why}; give another folder\n"
        assert capsys.readouterr().err == said
    assert not store.exists()


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
