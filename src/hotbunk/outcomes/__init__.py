"""Outcomes: what became of a trace's requests, live or simulated, and the figures that are made of it."""

from hotbunk.outcomes.outcome import Fate, Outcomes, Run, Stay, Usage

__all__ = ["Fate", "Outcomes", "Run", "Stay", "Usage"]
