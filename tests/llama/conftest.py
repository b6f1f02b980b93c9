"""Devices and models for the tests of the libllama binding."""

from pathlib import Path

import pytest


@pytest.fixture(params=["cpu", "rpc"])
def spec(request: pytest.FixtureRequest) -> str:
    """A device's name: the CPU, and one with memory of its own."""
    return "cpu" if request.param == "cpu" else str(request.getfixturevalue("rpc_device"))


@pytest.fixture(params=["smollm2", "gemma3", "kquant"])
def path(request: pytest.FixtureRequest) -> Path:
    """Each of the models."""
    return Path(request.getfixturevalue(request.param))
