"""The lexicon of a model is that of the file that is served."""

import asyncio
from contextlib import closing
from pathlib import Path

import pytest

from hotbunk.errors import UnusableModel
from hotbunk.gateway.lexicon import Lexicons
from hotbunk.llama.gguf import read
from hotbunk.runtime.job import ModelInfo


def test_a_file_that_has_taken_the_place_of_another_is_not_read(smollm2: Path, gemma3: Path, tmp_path: Path) -> None:
    file = tmp_path / "small.gguf"
    file.symlink_to(smollm2)
    info = ModelInfo("small", str(file), 512, 0, sources=read(file).sources)
    file.unlink()
    file.symlink_to(gemma3)

    async def test(lexicons: Lexicons) -> None:
        with pytest.raises(UnusableModel, match="is another file by now; restart hotbunk"):
            await lexicons.get(info)
        file.unlink()
        file.symlink_to(smollm2)  # it is back
        assert (await lexicons.get(info)).vocab.size == read(smollm2).vocabulary

    with closing(Lexicons()) as lexicons:
        asyncio.run(test(lexicons))
