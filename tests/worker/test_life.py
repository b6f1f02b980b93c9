"""What a worker's process begins with, and what its last words tell."""

import pytest

from hotbunk.worker.life import environment, failure


@pytest.mark.parametrize(
    ("given", "made"),
    [
        ({}, "glibc.malloc.hugetlb=1"),
        ({"GLIBC_TUNABLES": "glibc.malloc.check=3"}, "glibc.malloc.check=3:glibc.malloc.hugetlb=1"),
        ({"GLIBC_TUNABLES": "glibc.malloc.hugetlb=0"}, "glibc.malloc.hugetlb=0"),
    ],
)
def test_large_blocks_get_huge_pages_unless_told_otherwise(given: dict[str, str], made: str) -> None:
    assert environment(given)["GLIBC_TUNABLES"] == made


def test_what_is_set_is_left_as_it_is() -> None:
    given = {"HOME": "/", "GLIBC_TUNABLES": "glibc.malloc.hugetlb=0"}
    assert environment(given) == {**given, "GGML_NO_BACKTRACE": "1"}


def test_cuda_graphs_are_left_to_the_user_or_off() -> None:
    assert "GGML_CUDA_DISABLE_GRAPHS" not in environment({})
    assert environment({"GGML_CUDA_DISABLE_GRAPHS": "yes"})["GGML_CUDA_DISABLE_GRAPHS"] == "yes"
    assert environment({}, graphs=False)["GGML_CUDA_DISABLE_GRAPHS"] == "1"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            "2026-11-29 01:13:11,305 worker WARNING CUDA error: an illegal instruction was encountered\n",
            "CUDA error: an illegal instruction was encountered",
        ),
        ("ROCm error: unspecified launch failure", "ROCm error: unspecified launch failure"),
        ("worker WARNING CUDA error: out of memory", ""),
        ("worker WARNING CUDA error: the resource allocation failed", ""),
        ("worker WARNING CUDA error: CUBLAS_STATUS_ALLOC_FAILED", ""),
        ("worker WARNING CUDA error: the library was not initialized", ""),
        (
            "CUDA error: the GPU program failed to execute",
            "CUDA error: the GPU program failed to execute",
        ),
        ("/src/ggml/src/ggml-cuda/ggml-cuda.cu:109: CUDA error", ""),
        ("hotbunk.worker: no device CUDA7", ""),
    ],
)
def test_a_gpu_that_failed_is_told_from_one_that_is_full(line: str, said: str) -> None:
    assert failure(line) == said
