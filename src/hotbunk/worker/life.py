"""How a worker's process begins and ends, for whoever starts one: its environment, and what its last words tell."""

from __future__ import annotations

import re
from collections.abc import Mapping

__all__ = ["NO_GRAPHS", "environment", "failure"]

NO_GRAPHS = "GGML_CUDA_DISABLE_GRAPHS"
"""The variable that has libggml record no CUDA graphs, whatever its value."""

# as libggml says it, by the name of the GPU's platform; what has run out of memory has not failed, and cuBLAS, which
# takes some when it begins, says then that it has not
_MEMORY = "out of memory|the resource allocation failed|the library was not initialized|CUBLAS_STATUS_(ALLOC|NOT_INIT)"
_FAILED = re.compile(rf"(?:CUDA|ROCm|MUSA) error: (?!{_MEMORY}).+")


def environment(given: Mapping[str, str], graphs: bool = True) -> dict[str, str]:
    """What a worker's environment is: ours, with what follows.

    Large blocks get huge pages, unless the user has said otherwise: a KV cache in host memory is zeroed before use,
    which takes several times as long in pages of 4 KiB. Where libggml ends the process, why is its last word: it would
    trace its calls after that, for seconds, with a debugger if there is one. Without ``graphs`` libggml gives a GPU its
    kernels one by one instead of recording them as a CUDA graph, which takes up to a sixth longer.
    """
    made, setting, tunables = dict(given), "glibc.malloc.hugetlb", given.get("GLIBC_TUNABLES", "")
    if setting not in tunables:
        made["GLIBC_TUNABLES"] = ":".join(filter(None, (tunables, f"{setting}=1")))
    made["GGML_NO_BACKTRACE"] = "1"
    if not graphs:
        made[NO_GRAPHS] = "1"
    return made


def failure(line: str) -> str:
    """What libggml says in a line of a GPU whose work has failed, before it ends the process; empty: nothing.

    A CUDA graph with matrix products by cuBLAS may be why, so another worker had better do without graphs.
    """
    found = _FAILED.search(line)
    return found[0].strip() if found else ""
