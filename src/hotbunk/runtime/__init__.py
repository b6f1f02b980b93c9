"""The real clock and the real workers, driving the scheduler; supervision and recovery."""

from hotbunk.runtime.job import Generation, Job, ModelInfo, Timings
from hotbunk.runtime.runtime import Runtime

__all__ = ["Generation", "Job", "ModelInfo", "Runtime", "Timings"]
