"""What all tests share: the two small real models, and a device with memory of its own."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hotbunk.cli import samples


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """SmolLM2-135M-Instruct in Q4_1, as its package holds it: 30 blocks, tied embeddings."""
    return samples.smollm2()


@pytest.fixture(scope="session")
def gemma3() -> Path:
    """Gemma 3 270M in Q4_K_M, put together from its packages once: 18 blocks, sliding window, tied embeddings."""
    return samples.gemma3()


@pytest.fixture(scope="session")
def rpc_device() -> Iterator[str]:
    """An RPC device of this machine's CPU, in a process of its own."""
    command = [sys.executable, "-m", "hotbunk.llama.rpc", "--threads", "2"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout
        yield "rpc:" + process.stdout.readline().removeprefix("listening on ").strip()
        process.kill()
