"""What a worker is started with, and what is left where it is not."""

import asyncio
import tempfile
from pathlib import Path

import pytest

from hotbunk.config import Config
from hotbunk.errors import ConfigError, EngineError
from hotbunk.measure.wire import worker
from hotbunk.runtime import Runtime
from hotbunk.runtime.process import Shares, environment, lines
from tests.runtime.rig import refusal, settings


@pytest.mark.parametrize(
    ("given", "made"),
    [
        ({}, "glibc.malloc.hugetlb=1"),
        ({"GLIBC_TUNABLES": "glibc.malloc.check=3"}, "glibc.malloc.check=3:glibc.malloc.hugetlb=1"),
        ({"GLIBC_TUNABLES": "glibc.malloc.hugetlb=0"}, "glibc.malloc.hugetlb=0"),
    ],
)
def test_large_blocks_get_huge_pages_unless_told_otherwise(given: dict[str, str], made: str) -> None:
    assert environment({"HOME": "/", **given}) == {"HOME": "/", "GLIBC_TUNABLES": made}


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
