"""``hotbunk plan`` on a device without a profile: every figure is there, and what cannot be planned is told plainly."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hotbunk.cli import main
from hotbunk.cli.plan import survey
from hotbunk.cli.plan.outlook import Outlook, rows
from hotbunk.cli.plan.survey import Survey
from hotbunk.cli.plan.tables import sentences
from hotbunk.costs.dissect import dissect
from hotbunk.costs.fingerprint import content
from hotbunk.costs.record import Kind, Record
from hotbunk.costs.store import Store
from hotbunk.llama.gguf import read, stem
from hotbunk.measure.machine import machine
from hotbunk.measure.wire import Wire, worker
from hotbunk.placement import Placement
from tests.costs.invented import Invented, candidate
from tests.costs.test_model import MACHINE

OPTIONS = ("--context", 512, "--slots", 2, "--threads", 1)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store") / "costs.sqlite"


def killed_over(monkeypatch: pytest.MonkeyPatch, *models: str) -> None:
    """No file at hand kills libllama: have the worker killed when it is asked of one of these."""
    look: Callable[..., Any] = survey._look

    def looked(wire: Wire, name: str, *arguments: Any, **options: Any) -> Any:
        if name in models:
            assert wire.process
            wire.process.kill()
        return look(wire, name, *arguments, **options)

    monkeypatch.setattr(survey, "_look", looked)


@pytest.fixture(scope="module")
def outlook(
    smollm2: Path, experts: Path, spare_device: str, store: Path, environment: dict[str, str]
) -> dict[str, Any]:
    """What ``--json`` prints of a small model and a mixture, where both fit, but not both whole."""
    command = [sys.executable, "-m", "hotbunk", "plan", smollm2, experts, "--device", spare_device, "--json"]
    command += [*OPTIONS, "--budget", "150MiB", "--prompt", 100, "--store", store]
    done = subprocess.run([*map(str, command)], env=environment, capture_output=True, text=True, check=True)
    printed: dict[str, Any] = json.loads(done.stdout)
    return printed


def plan(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["hotbunk", "plan", *map(str, arguments)])
    try:
        main()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 0
    return 0


def test_placements_fit_the_budget(outlook: dict[str, Any]) -> None:
    small, mixture = outlook["models"]
    assert (outlook["budget"], outlook["prompt"]) == (150 << 20, 100)
    assert (small["measured"], mixture["measured"]) == (0, 0)
    assert {31, 28, 23, 16, 8, 0} <= {place["layers"] for place in small["placements"]}
    assert any(place["layers"] == 5 and place["experts"] == 2 for place in mixture["placements"])
    for place in small["placements"] + mixture["placements"]:
        assert 0 <= place["device_bytes"] <= 150 << 20
        for name in ("decode", "ttft_resident", "ttft_not_resident", "load", "unload", "kv_out", "kv_in"):
            estimate = place[name]
            assert 0 < estimate["low"] <= estimate["seconds"] <= estimate["high"]
        assert place["ttft_not_resident"]["seconds"] > place["ttft_resident"]["seconds"]
        assert place["tokens_per_second"] == pytest.approx(1 / place["decode"]["seconds"])


def test_what_fits_together_and_what_a_switch_costs(outlook: dict[str, Any]) -> None:
    (pair,) = outlook["sets"]
    assert (len(pair["models"]), pair["fits"]) == (2, True)
    assert pair["device_bytes"] <= 150 << 20
    assert 0 < pair["speed_kept"] <= 1
    there, back = outlook["switches"]
    assert (there["leaves"], there["comes"]) == (back["comes"], back["leaves"])
    parts = sum(there[name]["seconds"] for name in ("kv_out", "unload", "load", "kv_in"))
    assert there["total"]["seconds"] == pytest.approx(parts)


def test_a_model_that_kills_the_worker_leaves_the_others_their_plan(
    smollm2: Path,
    experts: Path,
    spare_device: str,
    store: Path,
    outlook: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    killed_over(monkeypatch, stem(experts))
    where = ("--device", spare_device, "--store", store, "--json")
    assert plan(monkeypatch, experts, smollm2, *OPTIONS, *where) == 1
    said = capsys.readouterr()
    assert [each["name"] for each in json.loads(said.out)["models"]] == [stem(smollm2)]
    assert said.err.splitlines()[-1].startswith(f"hotbunk: error: {stem(experts)}: the worker ended with status -9")
    killed_over(monkeypatch, stem(experts), stem(smollm2))
    assert plan(monkeypatch, experts, smollm2, *OPTIONS, *where) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("hotbunk: error: ")
    assert all(f"{stem(file)}: the worker ended" in last for file in (experts, smollm2))


def test_crossovers(outlook: dict[str, Any]) -> None:
    for crossover in outlook["crossovers"]:
        if crossover["together"]:  # how fast which side of this machine is decides that
            assert not crossover["cells"] and not crossover["segments"]
            continue
        assert {cell["output"] for cell in crossover["cells"]} == {16, 64, 256}
        for cell in crossover["cells"]:
            delays = {way["way"]: way["delay"] for way in cell["ways"]}
            assert set(delays) == {"wait", "switch", "split"}
            assert delays[cell["best"]] == min(delays.values())
        assert [change["left"] for change in crossover["segments"] if change["from_output"] == 1] == [16, 64, 256]


def test_the_tables(
    smollm2: Path,
    experts: Path,
    spare_device: str,
    store: Path,
    outlook: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The machine's roofline is in the store now."""
    where = ("--device", spare_device, "--store", store)
    assert plan(monkeypatch, smollm2, experts, *OPTIONS, *where, "--budget", "150MiB") == 0
    printed = capsys.readouterr().out
    for text in (
        "150 MiB; prompts of 256 tokens",
        "~: never measured here",
        "what fits together",
        "2 sequences of 256 tokens",
    ):
        assert text in printed
    left = "with 16 tokens left to SmolLM2-135M-Instruct.Q4_1: "
    assert (left in printed) is not ("and no switch is needed." in printed)


def test_one_model_alone_has_no_switches(
    smollm2: Path,
    spare_device: str,
    store: Path,
    outlook: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert plan(monkeypatch, smollm2, *OPTIONS, "--device", spare_device, "--store", store, "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["sets"], printed["switches"], printed["crossovers"]) == ([], [], [])
    assert printed["models"][0]["placements"]


def test_no_context_is_longer_than_what_a_model_was_trained_for(
    kquant: Path,
    spare_device: str,
    store: Path,
    outlook: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # with four slots as many as wrap around to none where libllama counts them together
    where = ("--threads", 1, "--device", spare_device, "--store", store, "--json")
    assert plan(monkeypatch, kquant, "--context", 1 << 30, "--slots", 4, *where) == 0
    printed = json.loads(capsys.readouterr().out)
    assert {place["context"] for place in printed["models"][0]["placements"]} == {2048}
    said = "was trained for 2048 tokens, which is what it is planned for"
    assert printed["notes"] == [f"--context 1073741824: tied-q4_k_m {said}"]


@pytest.mark.parametrize(("budget", "together"), [(220, True), (219, False)])
def test_models_that_stand_together_at_their_best_need_no_switch(budget: int, together: bool) -> None:
    """Two models that take 110 bytes each."""
    found = Outlook(Survey("GPU", 1, budget, 1000, (candidate("a", Invented()), candidate("b", Invented())), (), ()))
    row, told = rows(found)["crossovers"][0], list(sentences(found.crossovers[0]))
    assert (row["together"], not row["cells"], not row["segments"]) == (together,) * 3
    said = "While a runs and a request for b comes: both stand together, each at its best, and no switch is needed."
    assert (told == [said]) is together
    assert any("with 16 tokens left to a: " in line for line in told) is not together


def test_a_profile_is_used_where_it_holds(
    smollm2: Path,
    experts: Path,
    spare_device: str,
    store: Path,
    outlook: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with worker(spare_device, 1) as wire:
        here = machine(wire.hello)
    point = Record(Kind.DECODE, Placement(31, 512, 2), 1.0, tokens=100)
    with Store(store) as kept:
        for where, path in ((here, smollm2), (replace(here, threads=7), experts)):
            facts = read(path)
            kept.add(where, content(facts.files), stem(path), dissect(facts), point)
    options = (*OPTIONS, "--device", spare_device, "--store", store, "--json")
    assert plan(monkeypatch, smollm2, experts, *options) == 0
    printed = json.loads(capsys.readouterr().out)
    assert [model["measured"] for model in printed["models"]] == [1, 0]
    assert printed["notes"] == ["mixture-f16 was profiled under other conditions: threads 7 -> 1"]


def test_what_does_not_fit_is_told_and_the_others_are_planned(
    smollm2: Path, gemma3: Path, store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(survey, "full_roofline", lambda *_: MACHINE)
    # of such contexts the one with sliding windows takes a third
    where = "--device", "cpu", "--store", store, "--threads", 1, "--json", "--context", 4096, "--slots", 8
    assert plan(monkeypatch, smollm2, gemma3, *where, "--budget", "400MiB") == 1
    printed = capsys.readouterr()
    assert [model["name"] for model in json.loads(printed.out)["models"]] == [stem(gemma3)]
    assert f"hotbunk: error: --budget 400 MiB: {stem(smollm2)} needs " in printed.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("/absent.gguf",), "/absent.gguf: no such file or folder"),
        (("MODEL", "--budget", "1X"), "--budget 1X: not a size; write it like 6GiB, 500MB or 4096 (bytes)"),
        (("MODEL", "--device", "cpu", "--budget", "1KiB"), "--budget 1 KiB: SmolLM2-135M-Instruct.Q4_1 needs "),
        (("MODEL", "--prompt", 512), "--prompt 512: a slot of SmolLM2-135M-Instruct.Q4_1 has 512 tokens of context;"),
        (("MODEL", "--device", "CUDA7"), ""),
    ],
)
def test_what_cannot_be_planned(
    smollm2: Path,
    spare_device: str,
    store: Path,
    outlook: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[object, ...],
    said: str,
) -> None:
    given = [smollm2 if each == "MODEL" else each for each in arguments]
    where = () if "--device" in arguments else ("--device", spare_device)
    assert plan(monkeypatch, *given, *OPTIONS, *where, "--store", store) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"hotbunk: error: {said}")
    assert len(error.splitlines()) == 1
