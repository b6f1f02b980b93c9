"""The suite's models: real shapes, and a tokenizer that takes any text."""

import subprocess
import sys
from pathlib import Path

import pytest

from hotbunk.llama import gguf
from hotbunk.llama.vocab import Vocab

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "shapes.py"


@pytest.mark.parametrize(("name", "quantisation"), [("8b-q4", "Q4_K_M"), ("half", "F16")])
def test_writes_a_model_that_reads_and_writes_text(
    name: str, quantisation: str, tmp_path: Path, environment: dict[str, str]
) -> None:
    path = tmp_path / f"{name}.gguf"
    subprocess.run([sys.executable, str(SCRIPT), name, str(path), "--scale", "0.05"], env=environment, check=True)
    facts = gguf.read(path)
    assert (facts.architecture, facts.quantisation) == ("llama", quantisation)
    assert facts.blocks == {"8b-q4": 36, "half": 24}[name]
    assert not facts.tied
    vocab = Vocab(path)
    text = "Why do sailors share bunks? ¡Señor! \n"
    tokens = vocab.tokenize(text, special=False, bos=False)
    assert len(tokens) < len(text.encode())
    assert b"".join(map(vocab.piece, tokens)).decode() == text
