"""``hotbunk simulate``, as a user would call it."""

import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from hotbunk.cli import app, figures
from hotbunk.errors import ConfigError
from hotbunk.simulator.contest import Setting


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """Two models that take turns, one a name of a shape."""
    path = tmp_path / "turns.csv"
    rows = "".join(f"{3 * n},{('big', '1b')[n % 2]},300,30\n" for n in range(8))
    path.write_text("arrival_s,model,prompt_tokens,output_tokens\n" + rows)
    return path


def call(*arguments: object) -> str:
    result = CliRunner().invoke(app, ["simulate", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_policies_beside_each_other(trace: Path) -> None:
    shown = call(
        trace, "--model", "big=qwen3-8b", "--budget", "16GiB", "--slots", 1, "--policy", "fifo,ollama,ollama+fast"
    )
    for part in ("fitted to docs/measurements", "ollama+fast", "TTFT, fifo", "SLO: TTFT 2 s"):
        assert part in shown


def test_everything_it_writes(trace: Path, tmp_path: Path) -> None:
    files = {"--csv": tmp_path / "f.csv", "--parquet": tmp_path / "p", "--page": tmp_path / "page.html"}
    given = [part for pair in files.items() for part in pair]
    printed = json.loads(call(trace, "--model", "big=qwen3-8b:Q4_K_M", "--json", *given))
    [run] = printed["runs"]
    assert run["name"] == "priced"
    assert (tmp_path / "p" / "priced.parquet").exists()
    assert "<img" in (tmp_path / "page.html").read_text()
    again = json.loads(call(trace, "--model", "big=qwen3-8b:Q4_K_M", "--json"))
    assert again["runs"] == printed["runs"]


def test_a_request_is_explained(trace: Path) -> None:
    told = call(trace, "--model", "big=qwen3-8b", "--budget", "16GiB", "--slots", 1, "--explain", 2)
    assert "request 2 for big, 300 + 30 tokens" in told
    assert "load big: 1 waiting for big, the first for 0.0 s" in told
    assert "its first token" in told


@pytest.mark.parametrize(
    ("row", "what"),
    [
        (0, "its prompt fits no slot: it is refused at once"),
        (1, "it never arrives: the request that it follows is not answered"),
        (2, "its first token"),
    ],
)
def test_what_never_ran_is_explained_in_words(tmp_path: Path, row: int, what: str) -> None:
    path = tmp_path / "refused.csv"
    rows = "0,big,9000,30,\n1,big,300,30,0\n2,big,300,30,\n"
    path.write_text("arrival_s,model,prompt_tokens,output_tokens,after\n" + rows)
    told = call(path, "--model", "big=1b", "--budget", "16GiB", "--explain", row)
    explained = told[told.index("request ") :].splitlines()[:8]
    assert any(what in line for line in explained)
    assert not any(" nan " in line for line in explained)


def test_a_refusal_is_where_the_explanation_ends(tmp_path: Path) -> None:
    path = tmp_path / "crowd.csv"
    path.write_text("arrival_s,model,prompt_tokens,output_tokens\n" + "".join(f"0.{n},big,500,900\n" for n in range(9)))
    told = call(
        path, "--model", "big=1b", "--budget", "16GiB", "--slots", 1, "--max-wait", "2s", "--explain", 8
    ).splitlines()
    last = told.index("hotbunk simulate") - 1
    assert "refuse: it could not be started within 2 s" in told[last]


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ([], "the trace asks for big: say what that is, like --model big=qwen3-8b:Q4_K_M"),
        (["--model", "big=none"], "--model big=none: no such shape; take one of .*, or a GGUF file"),
        (["--model", "big=config.json"], "--model big=config.json: no such shape; take one of .*, or a GGUF file"),
        (["--model", "big=1b", "--models", "big=half"], "--model big=half: big is 1b already; say it once"),
        (["--model", "big=qwen3-8b:Q1"], "no type Q1; take one of F16"),
        (["--model", "big"], "write it like NAME=qwen3-8b:Q4_K_M"),
        (["--model", "big=1b", "--model", "huge=1b"], "the trace's models are big, 1b"),
        (["--model", "big=1b", "--policy", "no"], "no policy 'no'"),
        (["--model", "big=1b", "--budget", "much"], "--budget much: not a size"),
        (["--model", "big=1b", "--budget", "0"], "--budget 0: Input should be greater than 0"),
        (["--model", "big=1b", "--quantum", "x"], "--quantum x: not a duration"),
        (["--model", "big=1b", "--quantum", "0"], "--quantum 0.0: Input should be greater than 0"),
        (["--model", "big=1b", "--max-wait", "0s"], "--max-wait 0.0: Input should be greater than 0"),
        (["--model", "big=1b", "--quantum", "9s", "--max-wait", "5s"], "quantum .9s. must not be longer than max_wait"),
        (["--model", "big=1b", "--until", "0"], "--until 0: nothing arrives before that; give more"),
        (
            ["--model", "big=1b", "--set", "big,2b"],
            "--set big,2b: write it like MODEL,MODEL; the trace's models are big",
        ),
        (["--model", "big=1b", "--page", "p", "--to", "0"], "--to 0 is not after --from 0; give a later one"),
        (
            ["--model", "big=1b", "--context", "1000000000"],
            "big: 4 slots of 1000000000 tokens take at least .* host memory",
        ),
        (["--model", "big=1b", "--explain", "8"], "the trace has 8 requests; give a row from 0"),
        (["--model", "big=1b", "--device-profile", "z"], "no device profile z"),
        (["--model", "big=1b", "--slo", "ttft=fast"], "--slo ttft=fast"),
    ],
)
def test_bad_input_is_told_in_a_sentence(given: list[str], why: str, trace: Path) -> None:
    with pytest.raises(ConfigError, match=why):
        CliRunner().invoke(app, ["simulate", str(trace), *given], catch_exceptions=False)


def test_a_store_without_a_profile(trace: Path, tmp_path: Path) -> None:
    store = tmp_path / "absent" / "s.sqlite"
    with pytest.raises(ConfigError, match=r"there is no store .*; hotbunk profile MODEL makes it"):
        arguments = ["simulate", str(trace), "--device-profile", "store", "--store", str(store)]
        CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert not store.parent.exists()


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--policy", "timeslice,nope"], "no policy 'nope'"),
        (["--csv", "."], "--csv .: it is a folder; give a file"),
        (["--page", "."], "--page .: it is a folder; give a file"),
        (["--parquet", "turns.csv"], "--parquet turns.csv: it is a file; give a folder"),
        (["--parquet", "one.parquet", "--policy", "fifo,lru"], "--parquet one.parquet: it is a file; give a folder"),
    ],
)
def test_what_cannot_end_well_does_not_begin(
    options: list[str], why: str, trace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(trace.parent)
    Path("one.parquet").write_text("")
    monkeypatch.setattr(Setting, "run", lambda *arguments: pytest.fail("it has begun"))
    with pytest.raises(ConfigError, match=why):
        CliRunner().invoke(app, ["simulate", str(trace), "--model", "big=1b", *options], catch_exceptions=False)


def test_a_folder_without_rights_is_seen_early(trace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = trace.parent / "closed"
    closed.mkdir()
    monkeypatch.setattr(figures, "os", SimpleNamespace(W_OK=os.W_OK, access=lambda path, mode: path != closed))
    for option, path in (("--csv", closed / "x.csv"), ("--parquet", closed)):
        with pytest.raises(ConfigError, match=f"{option} {path}: it cannot be written"):
            CliRunner().invoke(app, ["simulate", str(trace), option, str(path)], catch_exceptions=False)


def test_files_are_written_whatever_becomes_of_the_others(
    trace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object) -> None:
        raise ConfigError("p: cannot be written: No space left on device")

    monkeypatch.setattr("hotbunk.outcomes.files.write_requests", full)
    made = tmp_path / "f.csv"
    files = ["--parquet", str(tmp_path / "p"), "--csv", str(made), "--page", str(tmp_path / "x.html"), "--from", "1h"]
    with pytest.raises(ConfigError, match=r"No space left on device; --from 3600: everything is over after \d+ s"):
        CliRunner().invoke(app, ["simulate", str(trace), "--model", "big=1b", *files], catch_exceptions=False)
    assert made.read_text().count("priced") == 3  # all requests, and those of two models


def test_an_explanation_is_not_in_the_json(trace: Path) -> None:
    arguments = ["simulate", str(trace), "--models", "big=1b", "--explain", "2", "--json"]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert json.loads(result.stdout)["runs"]
    assert "request 2 for big" in result.stderr


def test_models_of_a_set_of_llama_swap_stay_together(trace: Path) -> None:
    given = (trace, "--model", "big=half", "--policy", "llama-swap+fast", "--json")
    alone, together = (json.loads(call(*given, *sets)) for sets in ((), ("--set", "big,1b")))
    assert together["about"]["sets"] == "llama-swap's: 1b + big"
    loads = [made["runs"][0]["usage"]["loads"] for made in (alone, together)]
    assert loads == [8, 2]
