"""Devices and models for the tests of the worker."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import hotbunk
from tests.models import tied_kquant

SOURCE = str(Path(hotbunk.__file__).parent.parent)


@pytest.fixture(scope="session")
def environment() -> dict[str, str]:
    """For a process of its own that finds hotbunk where this one did."""
    return {**os.environ, "PYTHONPATH": SOURCE}


@pytest.fixture(scope="session")
def rpc_spec(environment: dict[str, str]) -> Iterator[str]:
    """An RPC device on loopback, for memory of its own and partial residency."""
    command = [sys.executable, "-m", "hotbunk.llama.rpc", "--threads", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment) as server:
        assert server.stdout
        yield f"rpc:{server.stdout.readline().split()[-1].decode()}"
        server.kill()


@pytest.fixture(scope="session")
def kquant(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tied Llama of 4 blocks in Q4_K_M."""
    return tied_kquant(tmp_path_factory.mktemp("models"))
