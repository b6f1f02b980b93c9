"""Profiling: which points of a model's costs to measure next, and when enough is known."""

from hotbunk.profile.profiler import Profiler, Progress

__all__ = ["Profiler", "Progress"]
