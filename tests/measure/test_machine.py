"""The fingerprint of a machine."""

from pathlib import Path

import pytest

from hotbunk.measure import machine as module
from hotbunk.measure.machine import machine
from hotbunk.worker.protocol import Hello

OPEN = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.159.04  Release Build  (builder@host)\n"
CLOSED = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19 01:15:15 UTC 2023\n"


@pytest.mark.parametrize(("text", "version"), [(OPEN, "580.159.04"), (CLOSED, "535.104.05"), (None, "")])
def test_the_drivers_version(
    text: str | None, version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hello: Hello
) -> None:
    if text:
        (tmp_path / "version").write_text(text + "GCC version:  gcc version 12.2.0\n")
    monkeypatch.setattr(module, "_NVIDIA", tmp_path / "version")
    assert machine(hello).driver == version


@pytest.fixture
def hello() -> Hello:
    return Hello("CUDA0", "NVIDIA H100", 80 << 30, 80 << 30, 15, "llama-cpp-python 0.3.36", True)
