"""How a worker's process begins and ends, for whoever starts one: its environment, and what its last words tell."""

from __future__ import annotations

import re
from collections.abc import Mapping

__all__ = ["environment", "failure", "traced"]

# as libggml says it, by the name of the GPU's platform; what has run out of memory has not failed, and cuBLAS, which
# takes some when it begins, says then that it has not
_MEMORY = "out of memory|the resource allocation failed|the library was not initialized|CUBLAS_STATUS_(ALLOC|NOT_INIT)"
_FAILED = re.compile(rf"(?:CUDA|ROCm|MUSA) error: (?!{_MEMORY}).+")
_CALL = re.compile(r"/\S+\[0x[0-9a-f]+\]")


def environment(given: Mapping[str, str], graphs: bool = True) -> dict[str, str]:
    """What a worker's environment is: ours, and huge pages for large blocks, unless the user has said otherwise.

    A KV cache in host memory is zeroed before use, which takes several times as long in pages of 4 KiB. Without
    ``graphs`` libggml gives a GPU its kernels one by one instead of recording them as a CUDA graph, which takes up to a
    sixth longer.
    """
    made, setting, tunables = dict(given), "glibc.malloc.hugetlb", given.get("GLIBC_TUNABLES", "")
    if setting not in tunables:
        made["GLIBC_TUNABLES"] = ":".join(filter(None, (tunables, f"{setting}=1")))
    if not graphs:
        made["GGML_CUDA_DISABLE_GRAPHS"] = "1"
    return made


def failure(line: str) -> str:
    """What libggml says in a line of a GPU whose work has failed, before it ends the process; empty: nothing.

    A CUDA graph with matrix products by cuBLAS may be why, so another worker had better do without graphs.
    """
    found = _FAILED.search(line)
    return found[0].strip() if found else ""


def traced(line: str) -> bool:
    """Whether a line is one of the calls that libggml traces after it has said why it ends the process."""
    return _CALL.fullmatch(line.strip()) is not None
