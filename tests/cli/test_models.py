"""``hotbunk models``, as a user meets it."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from hotbunk.cli import app
from tests.models import speechless


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, ["models", *map(str, arguments)], env={"COLUMNS": "160"}, catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def inspect(*arguments: object) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(run(*arguments, "--json"))
    return report


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    path = tmp_path / "broken.gguf"
    path.write_text("[red]not a model")
    return path


def test_the_table(smollm2: Path, gemma3: Path, broken: Path) -> None:
    lines = run(smollm2, gemma3, broken).splitlines()
    smol = next(line for line in lines if "SmolLM2" in line)
    assert smol.split("  ")[0] == "SmolLM2-135M-Instruct.Q4_1"
    for cell in ("llama", "Q4_1", "135M", "31", "92.1 MiB", "2.11 MiB", "28.7 MiB", "~22 MiB", "8,192"):
        assert cell in smol
    gemma = next(line for line in lines if "gemma-3-270m" in line)
    for cell in ("gemma3", "Q4_K_M", "268M", "19", "32,768"):
        assert cell in gemma
    assert lines[-1] == f"unusable {broken}: not a GGUF file: it begins with b'[red', not b'GGUF'"


def test_json(smollm2: Path, broken: Path) -> None:
    report = inspect(smollm2, broken)
    (model,) = report["models"]
    assert (model["id"], model["layers"], model["weights_bytes"]) == ("SmolLM2-135M-Instruct.Q4_1", 31, 96_576_768)
    assert (len(model["block_bytes"]), model["tied"], model["fit"]) == (30, True, None)
    assert report["unusable"] == [
        {"path": str(broken), "reason": "not a GGUF file: it begins with b'[red', not b'GGUF'"}
    ]


def test_how_a_model_fits(smollm2: Path) -> None:
    def fit(budget: int) -> dict[str, Any]:
        report = inspect(smollm2, "--device", "cpu", "--budget", budget, "--context", 256, "--slots", 1)
        assert report["budget"] == budget
        found: dict[str, Any] = report["models"][0]["fit"]
        return found

    whole = fit(10 << 30)
    assert whole["layers"] == 31
    assert fit(whole["device_bytes"]) == whole
    part = fit(whole["device_bytes"] - 1)
    assert 0 < part["layers"] < 31
    assert part["device_bytes"] < whole["device_bytes"]
    nothing = fit(1)
    assert nothing["layers"] is None
    assert 1 < nothing["device_bytes"] < part["device_bytes"]


def test_the_table_tells_how_a_model_fits(smollm2: Path) -> None:
    options = ("--device", "cpu", "--context", 256, "--slots", 1)
    assert "in 10 GiB on" in run(smollm2, *options, "--budget", "10GiB")
    assert "whole, " in run(smollm2, *options, "--budget", "10GiB")
    assert "no, needs " in run(smollm2, *options, "--budget", "1KiB")


def test_models_that_generate_no_text_are_unusable(tmp_path: Path) -> None:
    for architecture in ("bert", "llada", "t5"):
        speechless(tmp_path, architecture)
    report = inspect(tmp_path, "--device", "cpu", "--budget", "1GiB")
    assert not report["models"]
    told = {Path(each["path"]).stem: each["reason"] for each in report["unusable"]}
    assert told.keys() == {"bert", "llada", "t5"}
    assert "does not generate text" in told["bert"] and "has an encoder" in told["t5"]


def test_of_two_files_with_one_name_the_second_is_told(smollm2: Path, gemma3: Path, tmp_path: Path) -> None:
    files = [tmp_path / folder / "small.gguf" for folder in "ab"]
    for file, model in zip(files, (smollm2, gemma3), strict=True):
        file.parent.mkdir()
        file.symlink_to(model)
    report = inspect(*files)
    assert [model["path"] for model in report["models"]] == [str(files[0])]
    assert report["unusable"] == [
        {"path": str(files[1]), "reason": f"{files[0]} has the same name; rename one of them"}
    ]
