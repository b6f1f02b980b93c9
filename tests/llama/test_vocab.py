"""Vocabularies without weights: the two real models', and files that have none."""

import ctypes as C
from pathlib import Path
from typing import Any

import pytest

from hotbunk.errors import UnusableModel
from hotbunk.llama.device import open_device
from hotbunk.llama.lib import api
from hotbunk.llama.model import Model
from hotbunk.llama.vocab import Vocab
from tests.models import spm

TEXT = "Grüße, 世界! 🏠\n\tdef f(x): return x**2"


def test_smollm2(smollm2: Path) -> None:
    vocab = Vocab(smollm2)
    assert vocab.size == 49152
    assert not vocab.adds_bos
    assert vocab.eos in vocab.end_tokens
    assert vocab.template is not None and "im_start" in vocab.template
    vocab.close()


def test_gemma3_with_its_large_vocabulary(gemma3: Path) -> None:
    vocab = Vocab(gemma3)
    assert vocab.size == 262144
    assert vocab.adds_bos
    assert vocab.template is None
    assert {vocab.eos, 106} <= set(vocab.end_tokens)
    tokens = vocab.tokenize(TEXT, special=True, bos=True)
    assert tokens[0] == vocab.bos
    assert b"".join(map(vocab.piece, tokens)).decode() == TEXT
    vocab.close()


@pytest.fixture(scope="module")
def vocab(smollm2: Path) -> Vocab:
    return Vocab(smollm2)


@pytest.mark.parametrize("text", [TEXT, "", "a\x00b", " " * 500, "x" * 3000])
def test_pieces_joined_are_the_text(vocab: Vocab, text: str) -> None:
    tokens = vocab.tokenize(text, special=False, bos=False)
    assert b"".join(map(vocab.piece, tokens)).decode() == text


def test_control_tokens_are_read_and_shown_only_where_asked(vocab: Vocab) -> None:
    assert vocab.tokenize("<|im_end|>", special=True, bos=False) == [2]
    assert len(vocab.tokenize("<|im_end|>", special=False, bos=False)) > 1
    assert vocab.piece(2) == b""
    assert vocab.piece(2, special=True) == b"<|im_end|>"


@pytest.mark.parametrize("token", [-1, 49152])
def test_a_token_that_is_none_is_refused(vocab: Vocab, token: int) -> None:
    with pytest.raises(ValueError, match="no token"):
        vocab.piece(token)


def test_grammars_need_no_device(smollm2: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, load, given = Model(smollm2, open_device("cpu"), 1), api.llama_model_load_from_file, []

    def note(path: bytes, parameters: Any) -> Any:
        given.append(C.cast(parameters.devices, C.POINTER(C.c_void_p))[0])
        return load(path, parameters)

    monkeypatch.setattr(api, "llama_model_load_from_file", note)
    assert model.vocab.size
    assert given == [None], "the list ends where it begins; without one libllama takes all devices that there are"
    model.close()


def test_a_file_that_is_no_model_is_unusable(tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(b"GGUF but no more")
    with pytest.raises(UnusableModel, match=r"x\.gguf"):
        Vocab(path)


@pytest.mark.parametrize(("known", "lacking"), [(0, 253), (200, 56), (255, 1)])
def test_a_vocabulary_that_cannot_spell_every_byte_is_unusable(tmp_path: Path, known: int, lacking: int) -> None:
    """A prompt with such a byte would abort the process."""
    path = spm(tmp_path, ["a", "b", "c", "\u2581"], known=known)
    with pytest.raises(UnusableModel, match=rf"spm\.gguf: its vocabulary has no tokens for {lacking} of the 256 bytes"):
        Vocab(path)


def test_more_tokens_than_bytes(tmp_path: Path) -> None:
    vocab = Vocab(spm(tmp_path, ["a", "\u2581"], marks=["\n"]))
    line = vocab.tokenize("\na", special=True, bos=False)
    assert len(line) == 3, "there is a space of its own behind the mark"
    assert vocab.tokenize("\na" * 40, special=True, bos=False) == line * 40
    vocab.close()
