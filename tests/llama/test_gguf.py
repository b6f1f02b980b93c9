"""Metadata of real, split, strange and broken GGUF files."""

import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGUFWriter
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hotbunk.errors import ConfigError, UnusableModel
from hotbunk.llama import gguf

Change = Callable[[GGUFWriter], Any]


def write(path: Path, change: Change = lambda _: None, architecture: str = "llama") -> Path:
    """Write a model of 2 blocks with one small tensor each, after ``change`` has set further keys."""
    writer = GGUFWriter(path, architecture)
    writer.add_name("Tiny")
    writer.add_context_length(128)
    writer.add_embedding_length(64)
    writer.add_block_count(2)
    writer.add_token_list(["a", "b", "c"])
    change(writer)
    for name in ("token_embd.weight", "blk.0.attn_q.weight", "blk.1.attn_q.weight", "output.weight"):
        writer.add_tensor(name, np.zeros((4, 64), np.float16))
    finish(writer)
    return path


def finish(writer: GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def heads(writer: GGUFWriter) -> None:
    writer.add_head_count(4)


def refusal(path: Path) -> str:
    with pytest.raises(UnusableModel) as caught:
        gguf.read(path)
    return str(caught.value)


def test_smollm2(smollm2: Path) -> None:
    model = gguf.read(smollm2)
    assert (model.architecture, model.blocks, model.vocabulary, model.context) == ("llama", 30, 49152, 8192)
    assert (model.heads[0], model.kv_heads[0], model.key_length, model.value_length) == (9, 3, 64, 64)
    assert (model.quantisation, model.parameters, model.experts, model.tied) == ("Q4_1", 134_515_008, 0, True)
    assert sum(model.block_bytes) + model.head_bytes == model.weights < smollm2.stat().st_size
    assert model.kv_bytes(1000) == 30 * 3 * 2 * (64 + 64) * 1000
    assert model.files == (smollm2,)


def test_gemma3_has_a_sliding_window(gemma3: Path) -> None:
    model = gguf.read(gemma3)
    assert (model.architecture, model.blocks, model.vocabulary) == ("gemma3", 18, 262_144)
    assert (model.quantisation, model.window, sum(model.windowed)) == ("Q4_K_M", 512, 15)
    row = 2 * (256 + 256)
    assert model.kv_bytes(400) == 18 * row * 400
    assert model.kv_bytes(2000) == row * (15 * 512 + 3 * 2000)


def test_an_untied_head(tmp_path: Path) -> None:
    model = gguf.read(write(tmp_path / "m.gguf", heads))
    assert not model.tied
    assert model.block_bytes == (512, 512)
    assert model.head_bytes == 512
    assert model.weights == 4 * 512
    assert model.kv_heads == (4, 4)
    assert model.quantisation == "F16"


def test_heads_may_differ_between_blocks(tmp_path: Path) -> None:
    def change(writer: GGUFWriter) -> None:
        heads(writer)
        writer.add_head_count_kv([4, 0])

    model = gguf.read(write(tmp_path / "m.gguf", change))
    assert model.kv_heads == (4, 0)
    assert model.kv_bytes(10) == 4 * 2 * (16 + 16) * 10


@pytest.mark.parametrize("pattern", [[True, False], 2])
def test_a_stated_window_pattern(tmp_path: Path, pattern: Any) -> None:
    def change(writer: GGUFWriter) -> None:
        heads(writer)
        writer.add_sliding_window(8)
        if isinstance(pattern, list):
            writer.add_sliding_window_pattern(pattern)
        else:
            writer.add_uint32("llama.attention.sliding_window_pattern", pattern)

    assert gguf.read(write(tmp_path / "m.gguf", change)).windowed == (True, False)


def test_heads_for_the_wrong_number_of_blocks(tmp_path: Path) -> None:
    path = write(tmp_path / "m.gguf", lambda writer: writer.add_head_count([4, 4, 4]))
    assert refusal(path) == "m.gguf: llama.attention.head_count has 3 whole numbers for 2 blocks"


def test_a_file_that_is_no_model(tmp_path: Path) -> None:
    path = tmp_path / "notes.gguf"
    path.write_text("remember the milk")
    assert refusal(path) == "notes.gguf: not a GGUF file: it begins with b'reme', not b'GGUF'"


def test_an_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.touch()
    assert refusal(path) == "m.gguf: the file is empty"


def test_a_missing_file(tmp_path: Path) -> None:
    assert refusal(tmp_path / "m.gguf") == "m.gguf: cannot be read: No such file or directory"


def test_another_version_in_libggmls_words(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 9, 0, 0))
    assert "this GGUF file is version 9" in refusal(path)


def test_a_vocabulary_is_needed(tmp_path: Path) -> None:
    writer = GGUFWriter(tmp_path / "m.gguf", "clip")
    writer.add_block_count(2)
    finish(writer)
    assert "tokenizer.ggml.tokens is missing" in refusal(tmp_path / "m.gguf")


@pytest.mark.parametrize(("blocks", "said"), [(0, "missing or not a positive"), (100_000, "100,000 blocks, of 512")])
def test_an_absurd_number_of_blocks(tmp_path: Path, blocks: int, said: str) -> None:
    writer = GGUFWriter(tmp_path / "m.gguf", "llama")
    writer.add_block_count(blocks)
    finish(writer)
    assert said in refusal(tmp_path / "m.gguf")


def test_an_absurd_count_costs_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    key = b"tokenizer.ggml.tokens"
    header = struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", len(key)) + key + struct.pack("<IIQ", 9, 8, 1 << 30)
    path.write_bytes(b"GGUF" + header)
    with path.open("r+b") as file:
        file.truncate(64 << 30)  # sparse: as long as 2**30 empty strings would need
    assert "does not end within 67,108,864 bytes" in refusal(path)


def test_truncated_data_gives_both_lengths(smollm2: Path, tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    shutil.copy(smollm2, path)
    whole = path.stat().st_size
    with path.open("r+b") as file:
        file.truncate(whole // 2)
    said = refusal(path)
    assert f"truncated: the file has {whole // 2:,} bytes but its tensors need {whole:,}" in said


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("tiny") / "m.gguf", heads)


def test_every_truncation_is_refused(tiny: Path, tmp_path: Path) -> None:
    whole = tiny.read_bytes()
    path = tmp_path / "m.gguf"
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert refusal(path).startswith("m.gguf: ")


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_flipped_bits_never_harm_the_process(tiny: Path, tmp_path: Path, data: st.DataObject) -> None:
    broken = bytearray(tiny.read_bytes())
    for at in data.draw(st.lists(st.integers(0, len(broken) * 8 - 1), min_size=1, max_size=8)):
        broken[at // 8] ^= 1 << at % 8
    path = tmp_path / "m.gguf"
    path.write_bytes(broken)
    try:
        model = gguf.read(path)
    except UnusableModel as error:
        assert str(error).startswith("m.gguf: ")
    else:
        assert len(model.block_bytes) == len(model.kv_heads) == model.blocks
        assert sum(model.block_bytes) <= model.weights


def split(path: Path, number: int, count: int) -> None:
    writer = GGUFWriter(path, "llama")
    if number == 0:
        writer.add_block_count(2)
        writer.add_context_length(128)
        writer.add_token_list(["a"])
    writer.add_uint16("split.no", number)
    writer.add_uint16("split.count", count)
    writer.add_tensor(f"blk.{number}.attn_q.weight", np.zeros((4, 64), np.float16))
    finish(writer)


@pytest.fixture
def splits(tmp_path: Path) -> list[Path]:
    files = [tmp_path / f"big-0000{n}-of-00002.gguf" for n in (1, 2)]
    for number, file in enumerate(files):
        split(file, number, 2)
    return files


def test_splits_are_one_model(splits: list[Path]) -> None:
    model = gguf.read(splits[1])
    assert model.files == tuple(splits)
    assert model.path == splits[0]
    assert model.block_bytes == (512, 512)
    assert model.name == "big"


def test_a_missing_split_is_named(splits: list[Path]) -> None:
    splits[0].unlink()
    assert refusal(splits[1]) == ("big-00002-of-00002.gguf: split 1 of 2 is missing: big-00001-of-00002.gguf")


def test_a_renamed_split(splits: list[Path]) -> None:
    renamed = splits[0].rename(splits[0].with_name("big.gguf"))
    assert refusal(renamed).endswith("name must end in -00001-of-00002.gguf")


def test_one_of_no_splits(tiny: Path, tmp_path: Path) -> None:
    path = tmp_path / "m-00001-of-00000.gguf"
    shutil.copy(tiny, path)
    assert refusal(path) == "m-00001-of-00000.gguf: by its name one of 0 splits; give it another one"


def test_find(splits: list[Path], tiny: Path) -> None:
    folder = splits[0].parent
    deeper = folder / "more" / "other.GGUF"
    deeper.parent.mkdir()
    shutil.copy(tiny, deeper)
    shutil.copy(tiny, folder / "mmproj-model-f16.gguf")
    (folder / "readme.txt").touch()
    assert gguf.find([folder, tiny, splits[1], tiny]) == sorted([splits[0], deeper, tiny])


def test_find_prefers_the_first_split(splits: list[Path]) -> None:
    assert gguf.find([splits[1]]) == [splits[0]]


def test_find_says_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.gguf: no such file or folder"):
        gguf.find([tmp_path / "absent.gguf"])
    with pytest.raises(ConfigError, match="this folder holds no GGUF file"):
        gguf.find([tmp_path])


@pytest.mark.parametrize(
    ("name", "expected"), [("a.b.gguf", "a.b"), ("a-00002-of-00003.gguf", "a"), ("a-2-of-3.gguf", "a-2-of-3")]
)
def test_stem(name: str, expected: str) -> None:
    assert gguf.stem(Path(name)) == expected
