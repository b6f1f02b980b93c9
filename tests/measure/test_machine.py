"""The fingerprint of a machine."""

from dataclasses import replace
from pathlib import Path

import pytest

from hotbunk.costs.roofline import Roofline
from hotbunk.costs.store import Store
from hotbunk.measure import machine as module
from hotbunk.measure.machine import full_roofline, machine
from hotbunk.worker.protocol import Hello
from tests.costs.test_model import MACHINE

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


def test_a_quick_roofline_gives_way_to_a_full_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hello: Hello
) -> None:
    asked, said = list[tuple[str, int]](), list[str]()

    def measured(device: str, threads: int) -> Roofline:
        asked.append((device, threads))
        return MACHINE

    monkeypatch.setattr(module, "roofline", measured)
    here = machine(hello)
    with Store(tmp_path / "costs.sqlite") as kept:
        for before in (None, replace(MACHINE, quick=True)):
            if before:
                kept.keep_roofline(here, before)
            assert full_roofline(kept, here, "CUDA0", said.append) == kept.roofline(here) == MACHINE
        assert full_roofline(kept, here, "CUDA0") == MACHINE  # which is not measured again
    assert asked == [("CUDA0", 15)] * 2
    assert said == ["measuring the roofline of NVIDIA H100"] * 2
