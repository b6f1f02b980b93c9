"""Traces: who asked what when. Read, drawn, described."""

from hotbunk.traces.trace import Request, Trace

__all__ = ["Request", "Trace"]
