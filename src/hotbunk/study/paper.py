"""What the study says, to show beside what is measured here.

Yildiz, Spadaccino, Rolich, Cuomo, Baiocchi: "Towards Multi-Model LLM Schedulers: Empirical Insights into Offloading and
Preemption", arXiv 2605.19593, May 2026 (CC-BY-4.0). Ollama 0.17.7 for offloading, Hugging Face Transformers in FP16 for
preemption; RTX 5000 Ada and RTX A6000, PCIe 4.0. Values at 90 % residency were read off a figure.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CITATION", "KEPT", "KV_SHARE", "OVERHEADS", "Overhead", "overhead"]

CITATION = (
    "Yildiz, Spadaccino, Rolich, Cuomo, Baiocchi: Towards Multi-Model LLM Schedulers: Empirical Insights into "
    "Offloading and Preemption, arXiv 2605.19593 (CC-BY-4.0)"
)
KEPT = {"llama3-8b": 0.60, "llama2-70b": 0.80}
"""Share of the full speed that a model keeps at 90 % residency."""
KV_SHARE = (0.006, 0.015)
"""Least and greatest share of the overhead that is moving the KV cache."""


@dataclass(frozen=True)
class Overhead:
    """Of one preemption of a model: seconds, and the share of an uninterrupted job of 7,000 tokens, on each GPU."""

    ada: float
    ada_share: float
    a6000: float
    a6000_share: float


OVERHEADS = {
    "qwen2.5-3b": Overhead(2.98, 0.0204, 2.62, 0.0172),
    "qwen3-8b": Overhead(5.16, 0.0211, 4.06, 0.0186),
    "qwen2.5-14b": Overhead(7.31, 0.0175, 5.73, 0.0161),
}


def overhead(model: str) -> Overhead | None:
    """That of a model whose name begins so."""
    return next((found for name, found in OVERHEADS.items() if model.lower().startswith(name)), None)
