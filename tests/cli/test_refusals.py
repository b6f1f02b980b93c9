"""What ``profile``, ``plan`` and ``study`` cannot do they say in one sentence, and nothing is lost."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from hotbunk.cli import main
from hotbunk.cli.plan import survey
from hotbunk.costs.dissect import dissect
from hotbunk.costs.fingerprint import Machine, content
from hotbunk.costs.record import Kind, Record
from hotbunk.costs.roofline import Roofline, Side
from hotbunk.costs.store import Store
from hotbunk.llama.gguf import read, stem
from hotbunk.measure import machine as measured
from hotbunk.measure.machine import machine
from hotbunk.measure.wire import worker
from hotbunk.placement import Placement
from hotbunk.study.results import Results
from hotbunk.study.shapes import SHAPES
from hotbunk.study.write import write

SIDE = Side({"F16": 1e10}, {"F16": 3e10}, 5e9, 1e-6, 1e-5)
ROOFLINE = Roofline(SIDE, SIDE, None, None, 1e10, 1e10, None, False)
LIMITED = """
import resource, runpy, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), int(sys.argv[1])))
sys.argv[:2] = ["hotbunk"]
runpy.run_module("hotbunk", run_name="__main__")
"""
"""A hotbunk that can write no file beyond so many bytes, which is as good as a full disk."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of 4 blocks with random weights."""
    path = tmp_path_factory.mktemp("models") / "tiny.gguf"
    write(path, SHAPES["1b"].scaled(0.1).cut(4))
    return path


@pytest.fixture(scope="module")
def here() -> Machine:
    """This machine, as a worker with one thread has it."""
    with worker("cpu", 1) as wire:
        return machine(wire.hello)


@pytest.fixture
def store(tmp_path: Path, here: Machine) -> Path:
    """A store that knows this machine's roofline."""
    path = tmp_path / "costs.sqlite"
    with Store(path) as kept:
        kept.keep_roofline(here, ROOFLINE)
    return path


Command = Callable[..., tuple[int, str]]


@pytest.fixture
def hotbunk(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path, store: Path, ticking: None
) -> Command:
    """The command line with little to do, and a folder for what it writes: its exit status and standard error."""

    def run(command: str, *arguments: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["hotbunk", *words(command, tmp_path, store, *arguments)])
        status = 0
        try:
            main()
        except SystemExit as ended:
            status = int(ended.code or 0)
        return status, capfd.readouterr().err

    return run


def words(command: str, folder: Path, store: Path, *arguments: object) -> list[str]:
    few = {
        "profile": ["--context", 256, "--slots", 2, "--time-budget", "3s", "--store", store],
        "plan": ["--context", 256, "--slots", 2, "--store", store],
        "study concurrency": ["--repeats", 1, "--counts", "1,2,3,4", "--out", folder / "study"],
    }
    device = [] if "--device" in arguments else ["--device", "cpu"]
    return [*command.split(), *map(str, [*device, "--threads", 1, *few[command], *arguments])]


COMMANDS = ["profile", "plan", "study concurrency"]


def last(said: str) -> str:
    return said.strip().splitlines()[-1]


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("device", "why"),
    [("CUDA9", "no device 'CUDA9' here; known devices:"), ("rpc:127.0.0.1:1", "nobody answers there")],
)
def test_no_such_device(command: str, device: str, why: str, model: Path, hotbunk: Command) -> None:
    status, said = hotbunk(command, model, "--device", device)
    assert status == 1 and len(said.splitlines()) == 1
    assert said.startswith("hotbunk: error: ") and why in said


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("fault", ["cut short", "a key missing"])
def test_a_model_that_cannot_be_loaded(command: str, fault: str, model: Path, tmp_path: Path, hotbunk: Command) -> None:
    broken, whole = tmp_path / "broken.gguf", model.read_bytes()
    if fault == "cut short":
        broken.write_bytes(whole[: len(whole) // 2])
        why = "broken.gguf: truncated"
    else:
        broken.write_bytes(whole.replace(b"llama.embedding_length", b"llama.embedding_lengtX", 1))
        why = "libllama cannot open broken.gguf: "
    status, said = hotbunk(command, broken)
    assert status == 1
    assert last(said).startswith("hotbunk: error: ") and why in last(said)


def test_one_bad_model_does_not_keep_the_others_from_it(model: Path, tmp_path: Path, hotbunk: Command) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF but no more")
    for command in COMMANDS:
        status, said = hotbunk(command, broken, model, *(["--json"] if command == "plan" else []))
        assert status == 1 and "broken.gguf: corrupt header" in last(said)
    assert {row["model"] for row in Results(tmp_path / "study").rows("concurrency")} == {"tiny"}
    with Store(tmp_path / "costs.sqlite") as kept:
        assert [known.name for known in kept.known()] == ["tiny"]


@pytest.mark.parametrize("command", COMMANDS)
def test_what_a_newer_hotbunk_wrote_is_left_alone(
    command: str, model: Path, tmp_path: Path, store: Path, hotbunk: Command
) -> None:
    database = sqlite3.connect(store)
    database.execute("PRAGMA user_version = 99")
    database.close()
    Results(tmp_path / "study").add("sessions", [{"format": 99}])
    status, said = hotbunk(command, model, *(["--resume"] if command.startswith("study") else []))
    assert status == 1 and len(said.splitlines()) == 1
    assert re.search(r"was written by a newer hotbunk \(format 99, this one knows \d\); update hotbunk, or ", said)


def test_figures_of_another_machine_are_not_used(
    model: Path, tmp_path: Path, here: Machine, store: Path, hotbunk: Command
) -> None:
    facts, point = read(model), Record(Kind.DECODE, Placement(5, 256, 2), 1.0, tokens=100)
    with Store(store) as kept:
        kept.add(replace(here, threads=7), content(facts.files), stem(model), dissect(facts), point)
    assert hotbunk("study concurrency", model)[0] == 0
    table = tmp_path / "study" / "sessions.jsonl"
    table.write_text(json.dumps({**json.loads(table.read_text()), "threads": 7}) + "\n")
    before = Results(tmp_path / "study").rows("concurrency")

    status, said = hotbunk("study concurrency", model, "--resume")
    assert status == 1 and "its results come from another set-up (threads 7 -> 1); give another --out" in last(said)
    assert Results(tmp_path / "study").rows("concurrency") == before
    status, said = hotbunk("profile", model)
    assert status == 0 and "tiny was profiled under other conditions: threads 7 -> 1" in said
    status, said = hotbunk("profile", model)  # there are figures that hold here now
    assert status == 0 and "other conditions" not in said
    with Store(store) as kept:
        assert kept.records(replace(here, threads=7), content(facts.files)) == [point]
        assert point not in kept.records(here, content(facts.files))


@pytest.mark.parametrize("command", ["profile", "plan"])
def test_a_quick_roofline_is_measured_in_full(
    command: str, model: Path, here: Machine, store: Path, hotbunk: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measured, "roofline", lambda *_: ROOFLINE)
    with Store(store) as kept:
        kept.keep_roofline(here, replace(ROOFLINE, quick=True, h2d_pageable=1e9))
    assert hotbunk(command, model)[0] == 0
    with Store(store) as kept:
        assert kept.roofline(here) == ROOFLINE


def test_a_budget_of_nothing_is_one(model: Path, hotbunk: Command) -> None:
    for command in ("profile", "plan"):
        status, said = hotbunk(command, model, "--budget", 0)
        assert status == 1 and "--budget 0 B: tiny needs " in last(said)


@pytest.mark.parametrize(
    ("command", "option", "text"),
    [
        ("profile", "--budget", "99999999TiB"),
        ("plan", "--budget", "99999999TiB"),
        ("plan", "--budget", "9" * 400 + ".5"),
        ("profile", "--time-budget", "9" * 400 + ".5"),
        ("study concurrency", "--time-budget", "9" * 400),
    ],
)
def test_more_than_there_can_be(command: str, option: str, text: str, model: Path, hotbunk: Command) -> None:
    assert hotbunk(command, model, option, text) == (
        1,
        f"hotbunk: error: {option} {text}: more than there can be; give less\n",
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_a_name_that_is_not_utf_8(command: str, model: Path, tmp_path: Path, hotbunk: Command) -> None:
    odd = Path(os.fsdecode(bytes(tmp_path) + b"/caf\xe9.gguf"))
    odd.symlink_to(model)
    status, said = hotbunk(command, odd)
    assert status == 1 and len(said.splitlines()) == 1
    assert "caf\N{REPLACEMENT CHARACTER}.gguf: its name is not UTF-8" in said


def limited(size: int, command: list[str], environment: dict[str, str]) -> tuple[int, str]:
    whole = [sys.executable, "-c", LIMITED, str(size), *command]
    done = subprocess.run(whole, env=environment, capture_output=True, text=True)
    return done.returncode, done.stderr


def test_a_full_disk_ends_a_study_which_then_goes_on(
    model: Path, tmp_path: Path, store: Path, environment: dict[str, str], hotbunk: Command
) -> None:
    command = words("study concurrency", tmp_path, store, model)
    status, said = limited(4096, command, environment)
    assert status == 1
    assert "concurrency.jsonl: cannot be written: File too large; what was measured before is kept: make room" in said
    kept = Results(tmp_path / "study").rows("concurrency")
    assert 0 < len(kept) < 20 and len(kept) % 4 == 0
    assert hotbunk("study concurrency", model, "--resume")[0] == 0
    rows = Results(tmp_path / "study").rows("concurrency")
    assert rows[: len(kept)] == kept and len(rows) == 20


def test_a_full_disk_ends_a_profile_which_keeps_what_it_has(
    model: Path, tmp_path: Path, here: Machine, store: Path, environment: dict[str, str]
) -> None:
    status, said = limited(60_000, words("profile", tmp_path, store, model, "--time-budget", "5m"), environment)
    assert status == 1
    assert last(said).startswith(f"hotbunk: error: tiny: the store {store} cannot be used: ")
    assert "; what was measured before is kept: make room, or name another file with --store" in last(said)
    with Store(store) as kept:
        assert kept.roofline(here) == ROOFLINE
        assert kept.records(here, content(read(model).files))


@pytest.mark.parametrize("command", ["profile", "plan"])
def test_a_disk_with_no_room_for_a_store(
    command: str, model: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    store = tmp_path / "new.sqlite"
    status, said = limited(4096, words(command, tmp_path, store, model), environment)
    assert status == 1 and len(said.splitlines()) == 1
    assert said.startswith(f"hotbunk: error: the store {store} cannot be used: ")


def test_a_break_of_a_plan_is_said(model: Path, monkeypatch: pytest.MonkeyPatch, hotbunk: Command) -> None:
    def broken_off(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(survey, "worker", broken_off)
    assert hotbunk("plan", model) == (130, "stopped: there is no plan yet; nothing was changed\n")
