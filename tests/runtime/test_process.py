"""What a worker is started with, what it says when it goes, and what is left where none is started."""

import asyncio
import sys
import tempfile
from pathlib import Path

import pytest

from hotbunk.config import Config, DeviceConfig
from hotbunk.errors import ConfigError, EngineError
from hotbunk.measure.wire import Died, worker
from hotbunk.runtime import Runtime, process
from hotbunk.runtime.process import DeviceFailed, Shares, Worker, WorkerLost, lines
from tests.runtime.rig import refusal, settings

SAYS = """#!/bin/sh
echo "worker WARNING CUDA error: {error}" >&2
for line in $(seq 50); do echo "line $line" >&2; done
{then}
"""
"""A worker that ends as libggml ends it: it says why, and more, and aborts."""
ABORT, HANG = "kill -ABRT $$", "exec sleep 60"


def start(folder: Path, monkeypatch: pytest.MonkeyPatch, error: str, then: str = ABORT) -> Exception:
    """What comes of starting such a worker."""
    script = folder / "python"
    script.write_text(SAYS.format(error=error, then=then))
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))

    async def test() -> Exception:
        worker = Worker(DeviceConfig(name="cpu"), Shares(None, None, 0), folder, 60.0, graphs=True)
        try:
            return await refusal(worker.start())
        finally:
            await worker.close()

    return asyncio.run(test())


def test_what_a_gpu_failed_of_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lost = start(tmp_path, monkeypatch, "an illegal instruction was encountered")
    assert isinstance(lost, DeviceFailed)
    assert str(lost).endswith("exited with status -6: CUDA error: an illegal instruction was encountered")
    with pytest.raises(Died, match="ended with status -6: CUDA error: an illegal instruction") as died, worker("cpu"):
        pass
    assert died.value.failed


def test_one_that_hangs_over_it_has_failed_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr(process, "hung", lambda *_: "hung over it" if "launch failure" in caplog.text else "")
    lost = start(tmp_path, monkeypatch, "unspecified launch failure", HANG)
    assert isinstance(lost, DeviceFailed)
    assert str(lost) == "the worker of cpu hung over it: CUDA error: unspecified launch failure"


def test_a_gpu_without_memory_has_not_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lost = start(tmp_path, monkeypatch, "out of memory")
    assert isinstance(lost, WorkerLost)
    assert not isinstance(lost, DeviceFailed)
    assert str(lost).endswith("exited with status -6: line 50")
    with pytest.raises(Died, match="ended with status -6; its last") as died, worker("cpu"):
        pass
    assert not died.value.failed


def test_a_line_without_end_ends_no_listening() -> None:
    async def test() -> list[str]:
        stream = asyncio.StreamReader(limit=64)
        stream.feed_data(b"first\n" + b"x" * 1000 + b"\nlast\nunended")
        stream.feed_eof()
        return [line async for line in lines(stream)]

    heard = asyncio.run(test())
    assert heard[0] == "first"
    assert heard[-2:] == ["last", "unended"]


def test_host_memory_is_shared_evenly() -> None:
    config = Config.model_validate(
        {"host_memory": "3GiB", "arena": 0, "devices": [{"name": "CUDA0"}, {"name": "CUDA1"}]}
    )
    assert Shares.of(config).options()[:4] == ["--host-memory", str(3 << 29), "--arena", "0"]
    assert Shares.of(Config()).options()[:4] == ["--host-memory", "auto", "--arena", "auto"]


@pytest.fixture
def deep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for temporary files with a path too long for a socket."""
    folder = tmp_path / ("d" * 100)
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def test_a_path_too_long_for_a_socket_is_refused(smollm2: Path, gemma3: Path, deep: Path) -> None:
    error = asyncio.run(refusal(Runtime(settings(smollm2, gemma3)).__aenter__()))
    assert isinstance(error, ConfigError)
    assert "set TMPDIR to a folder with a shorter path" in str(error)
    assert not list(deep.iterdir())
    with pytest.raises(EngineError, match="set TMPDIR"), worker("cpu"):
        pass
    assert not list(deep.iterdir())


def test_what_cannot_be_served_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    error = asyncio.run(refusal(Runtime(Config(paths=[tmp_path / "nonexistent"])).__aenter__()))
    assert isinstance(error, ConfigError)
    assert not list(tmp_path.iterdir())
