"""Devices and models for the tests of the libllama binding."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import hotbunk
from tests.models import tied_kquant


@pytest.fixture(scope="session")
def rpc_device() -> Iterator[str]:
    """An RPC device of this machine's CPU, in a process of its own."""
    command = [sys.executable, "-m", "hotbunk.llama.rpc", "--threads", "1"]
    environment = {**os.environ, "PYTHONPATH": str(Path(hotbunk.__file__).parent.parent)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment) as process:
        assert process.stdout
        line = process.stdout.readline().decode()
        assert line.startswith("listening on 127.0.0.1:")
        yield "rpc:" + line.removeprefix("listening on ").strip()
        process.kill()


@pytest.fixture(scope="session")
def kquant(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tied Llama of 4 blocks in Q4_K_M."""
    return tied_kquant(tmp_path_factory.mktemp("models"))


@pytest.fixture(params=["cpu", "rpc"])
def spec(request: pytest.FixtureRequest) -> str:
    """A device's name: the CPU, and one with memory of its own."""
    return "cpu" if request.param == "cpu" else str(request.getfixturevalue("rpc_device"))


@pytest.fixture(params=["smollm2", "gemma3", "kquant"])
def path(request: pytest.FixtureRequest) -> Path:
    """Each of the models."""
    return Path(request.getfixturevalue(request.param))
