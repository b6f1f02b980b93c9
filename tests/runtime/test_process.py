"""What a worker is started with."""

import pytest

from hotbunk.config import Config
from hotbunk.runtime.process import Shares, environment


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


def test_host_memory_is_shared_evenly() -> None:
    config = Config.model_validate(
        {"host_memory": "3GiB", "arena": 0, "devices": [{"name": "CUDA0"}, {"name": "CUDA1"}]}
    )
    assert Shares.of(config).options()[:4] == ["--host-memory", str(3 << 29), "--arena", "0"]
    assert Shares.of(Config()).options()[:4] == ["--host-memory", "auto", "--arena", "auto"]
