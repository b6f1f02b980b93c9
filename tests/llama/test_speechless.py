"""Models that generate no text are refused; libllama would abort the process over them."""

from pathlib import Path

import pytest

from hotbunk.errors import EngineError
from hotbunk.llama.device import open_device
from hotbunk.llama.model import Model
from tests.models import speechless


@pytest.mark.parametrize("ordinary", [False, True])
@pytest.mark.parametrize("architecture", ["bert", "llada"])
def test_one_that_keeps_nothing_of_a_sequence(tmp_path: Path, architecture: str, ordinary: bool) -> None:
    model = Model(speechless(tmp_path, architecture), open_device("cpu"), 1, ordinary)
    with pytest.raises(EngineError, match="it does not generate text token by token"):
        model.predict(0, 256, 2)
    with pytest.raises(EngineError, match="it does not generate text token by token"):
        model.context(256, 2)
    model.close()


@pytest.mark.parametrize("ordinary", [False, True])
def test_one_that_has_an_encoder(tmp_path: Path, ordinary: bool) -> None:
    with pytest.raises(EngineError, match=r"t5\.gguf has an encoder \(t5\): only plain decoders are served"):
        Model(speechless(tmp_path, "t5"), open_device("cpu"), 1, ordinary)
