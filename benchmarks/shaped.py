"""Models of real shapes with random weights, for benchmarks: written all at once, and all of them on disk."""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from hotbunk.study.shapes import Shape
from hotbunk.study.write import write
from hotbunk.worker.machine import cores

__all__ = ["write_all"]


def write_all(models: Mapping[Path, Shape]) -> None:
    """Write each to its file, by a process of its own."""
    if not models:
        return
    with ProcessPoolExecutor(min(cores(), len(models)), get_context("spawn")) as pool:
        list(pool.map(write, models, models.values()))
    os.sync()  # or the machine would be busy with that while it is measured
