"""Peers' ways to decide, as policies: to be compared with, in simulation, by the same events and actions.

None of them preloads or keeps a model because it is ``keep``, nor loads one because it is ``expected``: theirs do not.
Each module says what it mirrors, and what it leaves out.
"""

from collections.abc import Callable

from hotbunk.scheduler.baselines.base import Baseline
from hotbunk.scheduler.baselines.drain import Drain
from hotbunk.scheduler.baselines.llamaswap import LlamaSwap
from hotbunk.scheduler.baselines.lru import Lru
from hotbunk.scheduler.baselines.ollama import Ollama
from hotbunk.scheduler.baselines.partition import Partition
from hotbunk.scheduler.baselines.roundrobin import RoundRobin
from hotbunk.scheduler.baselines.router import Router, RouterBytes

__all__ = [
    "BASELINES",
    "Baseline",
    "Drain",
    "LlamaSwap",
    "Lru",
    "Ollama",
    "Partition",
    "RoundRobin",
    "Router",
    "RouterBytes",
]

BASELINES: dict[str, Callable[..., Baseline]] = {
    "drain": Drain,
    "llama-swap": LlamaSwap,
    "lru": Lru,
    "ollama": Ollama,
    "partition": Partition,
    "round-robin": RoundRobin,
    "router": Router,
    "router-bytes": RouterBytes,
}
"""By name; each takes its own options by keyword, and has its peer's defaults."""
