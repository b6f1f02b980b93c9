"""Models of real shapes: libllama runs them, their files have the bytes foretold, and bad input is told plainly."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hotbunk.cli import main
from hotbunk.errors import ConfigError
from hotbunk.llama import gguf
from hotbunk.llama.device import open_device
from hotbunk.llama.model import Model
from hotbunk.llama.vocab import Vocab
from hotbunk.study import write as writing
from hotbunk.study.huggingface import read
from hotbunk.study.shapes import SHAPES, TYPES
from hotbunk.study.write import size, write

SMALL = 0.02
QWEN3 = {
    "model_type": "qwen3",
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "vocab_size": 1000,
    "tie_word_embeddings": True,
    "max_position_embeddings": 4096,
}


def next_token(path: Path) -> int:
    """The likeliest token after a prompt of four and one decoded."""
    model = Model(path, open_device("cpu"), 1)
    try:
        model.promote(model.layers)
        context = model.context(256, 1)
        context.prefill(0, 0, [250, 251, 252, 253], True)
        context.decode([(int(context.logits(-1).argmax()), 4, 0)])
        assert np.isfinite(context.logits(0)).all()
        return int(context.logits(0).argmax())
    finally:
        model.close()


@pytest.mark.parametrize("name", SHAPES)
def test_each_shape_runs_in_libllama(name: str, tmp_path: Path) -> None:
    shape = SHAPES[name].scaled(SMALL).cut(2)
    path = tmp_path / "model.gguf"
    assert write(path, shape) == size(shape, shape.type) == path.stat().st_size
    facts = gguf.read(path)
    assert (facts.architecture, facts.quantisation, facts.blocks) == (shape.architecture, shape.type, 2)
    assert (facts.tied, facts.experts, facts.active) == (shape.tied, shape.experts, shape.active)
    assert 0 <= next_token(path) < shape.vocabulary


@pytest.mark.parametrize("kind", TYPES)
def test_each_type_runs_in_libllama(kind: str, tmp_path: Path) -> None:
    # rows of 160 values suit no block of 256
    shape = replace(SHAPES["llama3-8b"].scaled(SMALL).cut(1), width=160, ffn=320, head=40)
    path = tmp_path / "model.gguf"
    assert write(path, shape, kind) == path.stat().st_size
    assert gguf.read(path).quantisation == kind
    next_token(path)


@pytest.mark.parametrize(
    ("name", "published"), [("llama3-8b", 4.66), ("qwen3-32b", 19.76), ("llama2-70b", 38.87), ("qwen3-30b-a3b", 18.56)]
)
def test_files_are_as_large_as_the_real_ones(name: str, published: float) -> None:
    assert size(SHAPES[name], SHAPES[name].type) / 1e9 == pytest.approx(published, abs=0.03)


def test_large_tensors_repeat_the_pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "_POOL", 1 << 16)
    path = tmp_path / "model.gguf"
    heard: list[int] = []
    written = write(path, SHAPES["half"].scaled(SMALL).cut(1), "Q8_0", progress=heard.append)
    assert heard[-1] == written == path.stat().st_size
    assert heard == sorted(heard)
    next_token(path)


def test_any_text_is_tokens_and_text_again(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    write(path, SHAPES["1b"].scaled(SMALL).cut(1))
    vocab = Vocab(path)
    text = "Why do sailors share bunks? ¡Señor! \n"
    tokens = vocab.tokenize(text, special=False, bos=False)
    assert len(tokens) < len(text.encode())
    assert b"".join(map(vocab.piece, tokens)).decode() == text


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"model_type": "llama", "tie_word_embeddings": False},
        {"model_type": "mistral", "num_key_value_heads": None},
        {"model_type": "qwen2", "head_dim": None},
        {"model_type": "mixtral", "num_local_experts": 4, "num_experts_per_tok": 2},
        {"model_type": "qwen3_moe", "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 256},
    ],
)
def test_a_config_of_each_kind_runs_in_libllama(changes: dict[str, Any], tmp_path: Path) -> None:
    config, path = tmp_path / "config.json", tmp_path / "model.gguf"
    config.write_text(json.dumps(QWEN3 | changes))
    shape = read(config)
    assert (shape.blocks, shape.width, shape.vocabulary, shape.context) == (3, 256, 1000, 4096)
    write(path, shape, "Q4_0")
    next_token(path)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model_type": "gpt2"}, "model_type 'gpt2' is not understood; there are llama, mistral,"),
        ({"model_type": None}, "model_type is missing; is it the config.json of a language model?"),
        ({"hidden_size": None}, "hidden_size is missing"),
        ({"vocab_size": 1 << 30}, "vocab_size is 1073741824; a whole number from 1 to 475486 is wanted"),
        ({"num_hidden_layers": 0}, "num_hidden_layers is 0; a whole number from 1 to 512 is wanted"),
        ({"rope_theta": "x"}, "rope_theta is 'x'; a number from 1e-30 to 1e30 is wanted"),
        ({"rope_theta": 1e300}, "rope_theta is 1e+300; a number from 1e-30 to 1e30 is wanted"),
        ({"rms_norm_eps": True}, "rms_norm_eps is True; a number from 1e-30 to 1e30 is wanted"),
        ({"num_hidden_layers": True}, "num_hidden_layers is True; a whole number from 1 to 512 is wanted"),
        ({"model_type": "qwen2"}, "4 heads of 32 do not make the hidden_size 256"),
        ({"num_key_value_heads": 3}, "4 attention heads cannot share 3 key-value heads"),
        ({"model_type": "mixtral", "num_local_experts": 2, "num_experts_per_tok": 3}, "3 of 2 experts cannot work"),
    ],
)
def test_a_config_that_is_no_use(changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps(QWEN3 | changes))
    with pytest.raises(ConfigError) as error:
        read(config)
    assert str(error.value).startswith(f"{config}: {said}")


def test_a_small_vocabulary_cannot_be_made() -> None:
    with pytest.raises(ConfigError, match="a vocabulary of 100 tokens cannot be made; from 258 to 475,486 can"):
        size(replace(SHAPES["1b"], vocabulary=100), "F16")


Make = Callable[..., tuple[int, str, str]]


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Make:
    """``hotbunk study make-model``: its exit status, what it prints, and its errors."""

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["hotbunk", "study", "make-model", *map(str, arguments)])
        status = 0
        try:
            main()
        except SystemExit as ended:
            status = ended.code if isinstance(ended.code, int) else 0
        said = capsys.readouterr()
        return status, said.out, said.err

    return call


def test_the_command(make: Make, tmp_path: Path) -> None:
    path = tmp_path / "tiny.gguf"
    status, said, _ = make("qwen3-8b", path, "--scale", 0.02, "--blocks", 2, "--type", "Q4_0")
    assert (status, said) == (0, f"{path}: {path.stat().st_size / 2**20:.3g} MiB, qwen3, 2 blocks and the head, Q4_0\n")
    assert gguf.read(path).quantisation == "Q4_0"


def test_the_list(make: Make) -> None:
    status, said, _ = make("--list")
    assert status == 0
    assert "llama2-70b     llama" in said
    assert "38.9 GB*" in said
    rows = json.loads(make("--list", "--json")[1])
    assert [row["name"] for row in rows] == list(SHAPES)
    assert rows[0]["bytes"]["Q4_0"] == size(SHAPES["llama3-8b"], "Q4_0")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("llama9", "FOLDER/model.gguf"), "llama9: no such shape; take one of llama3-8b, qwen3-32b,"),
        (
            ("half", "FOLDER/model.gguf", "--type", "Q2"),
            "--type Q2: no such type; take one of F16, BF16, Q8_0, Q4_0, Q4_K_M",
        ),
        (("half", "FOLDER/model.gguf", "--type", ""), "--type : no such type; take one of F16, BF16,"),
        (("half", "FOLDER/model.gguf", "--blocks", 25), "--blocks 25: the shape has 24; give a number from 1 to 24"),
        (("half", "FOLDER"), "FOLDER: a folder; give the name of the file to write"),
        (("half", "FOLDER/absent/model.gguf"), "FOLDER/absent: no such folder"),
        (
            ("/absent/config.json", "FOLDER/model.gguf"),
            "/absent/config.json: cannot be read: No such file or directory",
        ),
        (("half",), "name a shape and the file to write, or give --list to see the shapes"),
    ],
)
def test_what_is_refused(make: Make, arguments: tuple[object, ...], said: str, tmp_path: Path) -> None:
    def place(text: object) -> str:
        return str(text).replace("FOLDER", str(tmp_path))

    status, _, error = make(*map(place, arguments))
    assert status == 1
    assert error.startswith(f"hotbunk: error: {place(said)}")
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_there_stays(make: Make, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_text("precious")
    options = ("half", path, "--scale", SMALL, "--blocks", 1)
    assert make(*options)[::2] == (1, f"hotbunk: error: {path}: there already; give --force to replace it\n")
    assert path.read_text() == "precious"
    assert make(*options, "--force")[0] == 0
    assert gguf.read(path).blocks == 1


def test_nothing_but_files_is_replaced(make: Make, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.gguf"
    os.mkfifo(pipe)
    status, _, error = make("half", pipe, "--scale", SMALL, "--blocks", 1, "--force")
    assert (status, error) == (
        1,
        f"hotbunk: error: {pipe}: a device or the like; give the name of the file to write\n",
    )
    assert pipe.is_fifo()


def test_too_small_a_disk_is_told_before_anything_is_written(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 1 << 20}))
    status, _, error = make("llama2-70b", tmp_path / "model.gguf")
    assert status == 1
    assert "model.gguf: 36.2 GiB are needed, but only 1 MiB are free there" in error
    assert not list(tmp_path.iterdir())


def test_an_interrupted_write_leaves_nothing(tmp_path: Path) -> None:
    def interrupt(done: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "model.gguf", SHAPES["half"].scaled(SMALL), progress=interrupt)
    assert not list(tmp_path.iterdir())


def test_what_a_killed_write_left_is_removed_by_the_next(tmp_path: Path) -> None:
    path = tmp_path / "model[1].gguf"
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        gone.wait()
    kept = [".model[1].gguf.txt", f".model[1].gguf.{os.getppid()}", f".other.gguf.{gone.pid}"]
    for name in (*kept, f".model[1].gguf.{gone.pid}"):
        (tmp_path / name).write_bytes(b"GGUF")
    write(path, SHAPES["half"].scaled(SMALL).cut(1))
    assert sorted(each.name for each in tmp_path.iterdir()) == sorted([*kept, path.name])


def test_memory_stays_small(tmp_path: Path, environment: dict[str, str]) -> None:
    """A model of 560 MB in less than 250 MB, most of which are Python and its libraries."""
    script = (
        "import re, sys; from pathlib import Path; from hotbunk.study.shapes import SHAPES\n"
        "from hotbunk.study.write import write\n"
        "write(Path(sys.argv[1]), SHAPES['half'].cut(1), 'F16')\n"
        "print(re.search(r'VmHWM:\\s*(\\d+) kB', Path('/proc/self/status').read_text())[1])"
    )
    path = tmp_path / "model.gguf"
    command = [sys.executable, "-c", script, str(path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert path.stat().st_size > 500e6
    path.unlink()
    assert int(done.stdout) < 250 * 1024
