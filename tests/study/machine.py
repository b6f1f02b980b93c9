"""Results as a machine with known rates would give them, for the report to be made from."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

from hotbunk.study import concurrency, context, offload, preemption
from hotbunk.study.results import Results, Row

GB = 1e9
MODELS = {"llama3-8b": (33, 4.3e9, 0.43e9), "llama2-70b": (81, 38.0e9, 0.22e9), "qwen3-8b": (37, 15.1e9, 1.24e9)}
"""Layers, bytes that a token reads, and those of the head."""
DEVICE, HOST, FIXED = 2000 * GB, 80 * GB, 0.001
BUS = {"fast": 50 * GB, "ordinary": 5 * GB}
KV = 150_000


def read(model: str, layers: int) -> tuple[float, float]:
    """Bytes on the device and on the host."""
    count, whole, head = MODELS[model]
    device = head + (whole - head) * (layers - 1) / (count - 1) if layers else 0.0
    return device, whole - device


def step(model: str, layers: int, tokens: int = 0) -> float:
    """Seconds of a decode step."""
    device, host = read(model, layers)
    return FIXED + device / DEVICE + host / HOST + tokens * KV / DEVICE


class Maker:
    """Fills a folder with rows; the same each time."""

    def __init__(self, folder: Path, models: Sequence[str] = tuple(MODELS), repeats: int = 3) -> None:
        self.results = Results(folder)
        self._models, self._repeats = models, repeats
        self._random = random.Random(0)
        self._memory_at = 0.0

    def all(self) -> Results:
        """Every table."""
        self.results.add("sessions", [SESSION])
        self.results.add("models", map(about, self._models))
        for model in self._models:
            self.offload(model)
            self.concurrency(model)
            self.context(model)
        self.preemption("qwen3-8b", "llama3-8b")
        self.results.add("bus", (row for repeat in range(self._repeats) for row in self._bus(repeat)))
        self.results.add("pinning", [{"model": "qwen3-8b", "size": 16_400_000_000, "seconds": 4.0}])
        return self.results

    def offload(self, model: str) -> None:
        """The whole grid."""
        count = MODELS[model][0]
        for repeat in range(self._repeats):
            for layers in sorted({*offload.ladder(count), 1, 2}, reverse=True):
                self.results.add("offload", self._run(model, layers, repeat))
                if not repeat:
                    self.results.add("memory", [self._memory(model, layers) for _ in range(4)])

    def preemption(self, model: str, other: str) -> None:
        """Both ways, all points, and the series."""
        for way, bus in BUS.items():
            pair: Row = {"model": model, "other": other, "way": way}
            for tokens in preemption.POINTS:
                for repeat in range(self._repeats):
                    key = {**pair, "tokens": tokens, "repeat": repeat, "times": 1, "nth": 0}
                    self.results.add("preemption", [{**key, **self._preempted(model, other, tokens, bus)}])
            for times in preemption.TIMES:
                key = {**pair, "tokens": 1000, "repeat": -1, "times": times}
                rows = [{**key, "nth": n, **self._preempted(model, other, 1000, bus)} for n in range(times)]
                self.results.add("preemption", rows)

    def concurrency(self, model: str) -> None:
        """All counts at all residencies."""
        count = MODELS[model][0]
        for repeat in range(self._repeats):
            for layers in offload.ladder(count, concurrency.SHARES):
                rows = []
                for n in concurrency.COUNTS:
                    seconds = self._noisy(step(model, layers) * (1 + 0.03 * n))
                    row: Row = {"model": model, "layers": layers, "repeat": repeat, "sequences": n}
                    rows.append({**row, "residency": layers / count, "step": seconds, "speed": n / seconds})
                self.results.add("concurrency", rows)

    def context(self, model: str) -> None:
        """All lengths at two residencies."""
        count = MODELS[model][0]
        for repeat in range(self._repeats):
            for layers in offload.ladder(count, context.SHARES):
                for tokens in context.LENGTHS:
                    key: Row = {"model": model, "layers": layers, "tokens": tokens, "repeat": repeat}
                    seconds = {"step": step(model, layers, tokens), "prefill": tokens / 9000, "prefilled": tokens}
                    kv = {"kv_bytes": tokens * KV, "kv_out": tokens * KV / 40e9, "kv_in": tokens * KV / 50e9}
                    rows = [{**key, "residency": layers / count, **seconds, **kv, "move": n} for n in range(3)]
                    self.results.add("context", rows)

    def _run(self, model: str, layers: int, repeat: int) -> list[Row]:
        device, host = read(model, layers)
        each = self._noisy(step(model, layers))
        key: Row = {"model": model, "layers": layers, "repeat": repeat, "alone": False}
        sides = {"device_read": device, "host_read": host}
        rows = []
        for output in offload.LENGTHS:
            decode = each * (output - 1) * (1 + output / 50_000)
            rows.append({**key, **sides, "output": output, "decode": decode, "latency": decode + 0.1, "step": each})
        return rows

    def _memory(self, model: str, layers: int) -> Row:
        self._memory_at += 0.5
        device = int(read(model, layers)[0])
        row: Row = {"model": model, "layers": layers, "repeat": 0, "at": self._memory_at, "device": device}
        return {**row, "used": device + 500_000_000, "rss": 6_000_000_000, "stored": 5_000_000_000}

    def _preempted(self, model: str, other: str, tokens: int, bus: float) -> Row:
        steps = {
            "kv_out": tokens * KV / 40e9,
            "unload": 0.01,
            "load_other": self._noisy(MODELS[other][1] / bus),
            "unload_other": 0.01,
            "load": self._noisy(MODELS[model][1] / bus),
            "kv_in": tokens * KV / 50e9,
            "between": 0.005,
        }
        row: Row = {**steps, "overhead": sum(steps.values()), "kv_bytes": tokens * KV}
        return {**row, "step": step(model, MODELS[model][0], tokens), "run": 2.0, "run_tokens": 500}

    def _bus(self, repeat: int) -> list[Row]:
        return [
            {
                "repeat": repeat,
                "size": 1 << power,
                "direction": direction,
                "memory": memory,
                "speed": self._noisy(speed * (1 << power) / ((1 << power) + 1e6)),
            }
            for power in range(16, 31, 2)
            for direction in ("h2d", "d2h")
            for memory, speed in (("pinned", 50e9), ("pageable", 8e9))
        ]

    def _noisy(self, value: float) -> float:
        return value * self._random.uniform(0.98, 1.02)


def about(model: str) -> Row:
    """Of the table of models."""
    layers, whole, head = MODELS[model]
    row: Row = {"model": model, "type": "Q4_0", "architecture": "llama", "layers": layers, "weights": int(whole)}
    return {**row, "read": whole, "head": head, "kv_token": KV, "experts": 0, "context": 32768}


SESSION: Row = {
    "device": "NVIDIA Example",
    "device_memory": 80 << 30,
    "driver": "580.1",
    "cpu": "Example CPU",
    "cores": 16,
    "threads": 15,
    "host_memory": 128 << 30,
    "libllama": "llama-cpp-python 0.3.36",
    "moves": True,
    "hotbunk": "0.4.0",
    "python": "3.11.2",
    "system": "Linux 6.1",
    "packages": "numpy 2.0",
    "command": "hotbunk study all models",
    "at": "2026-05-01 12:00 UTC",
}
