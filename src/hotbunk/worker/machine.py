"""What the machine has: cores to compute with, memory to keep weights in."""

from __future__ import annotations

import os
from importlib.metadata import version
from pathlib import Path

__all__ = ["cores", "free_memory", "library", "nodes"]

_CPUS = Path("/sys/devices/system/cpu")
_NODES = Path("/sys/devices/system/node")
_GROUP = Path("/sys/fs/cgroup")


def cores(cpus: Path = _CPUS) -> int:
    """Physical cores this process may use: a second thread of a core adds nothing to bandwidth-bound work."""
    allowed = os.sched_getaffinity(0)
    siblings = {_text(cpus / f"cpu{n}/topology/thread_siblings_list") or str(n) for n in allowed}
    return len(siblings)


def library() -> str:
    """Which libllama is driven here."""
    return f"llama-cpp-python {version('llama-cpp-python')}"


def nodes(root: Path = _NODES) -> int:
    """NUMA nodes; across them, memory is slower."""
    return max(1, len(list(root.glob("node[0-9]*"))))


def free_memory(meminfo: Path = Path("/proc/meminfo"), group: Path = _GROUP) -> int:
    """Bytes of host memory that can be had without pushing anybody out, a container's limit considered."""
    lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
    free = int(lines["MemAvailable"].split()[0]) << 10
    limit, used = _text(group / "memory.max"), _text(group / "memory.current")
    if not (limit.isdecimal() and used.isdecimal()):
        return free
    counts = dict(line.split() for line in _text(group / "memory.stat").splitlines())
    cached = int(counts.get("inactive_file", 0))  # counts as used, but is given up when asked for
    return min(free, max(0, int(limit) - int(used) + cached))


def _text(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError:
        return ""
