"""All that ``hotbunk plan`` tells, calculated from a survey; and as rows for JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import permutations
from typing import Any

from hotbunk.cli.plan.survey import Survey
from hotbunk.costs.crossover import Contest, Outcome, Way, segments
from hotbunk.costs.linear import Estimate
from hotbunk.costs.plan import Candidate, Rung, Switch, Together, rungs, sets, switches
from hotbunk.placement import Placement

__all__ = ["Crossover", "Outlook", "rows"]

LENGTHS = (16, 64, 256, 1024, 4096, 16384)
"""Tokens, of A left to go and of B to generate, in the tables."""


class Crossover:
    """What to do when a request for one model comes while another is running, by lengths.

    Attributes:
        running: the model that is running.
        coming: the model that is asked for.
        together: whether both fit at their best; nothing has to be decided then, and the rest is empty.
        lengths: those of the table that fit the slots.
        cells: what each way leads to, by (A's tokens left, B's to generate).
        segments: the best way by B's length, for each of A's.
    """

    def __init__(self, contest: Contest) -> None:
        self.running, self.coming = contest.names
        self.together = contest.together
        lengths = [length for length in LENGTHS if length <= contest.most] or [contest.most]
        self.lengths = [] if self.together else lengths
        self.cells: dict[tuple[int, int], list[Outcome]] = {
            (left, output): contest.outcomes(left, output) for left in self.lengths for output in self.lengths
        }
        self.segments: dict[int, list[tuple[int, Way]]] = {left: segments(contest, left) for left in self.lengths}

    def best(self, left: int, output: int) -> Outcome:
        """The way with the least delay."""
        return min(self.cells[left, output], key=lambda outcome: outcome.delay)


@dataclass(frozen=True)
class Outlook:
    """A survey, and what follows from it."""

    survey: Survey

    @cached_property
    def rungs(self) -> dict[str, tuple[Rung, ...]]:
        """Each model's, the fastest first."""
        return {each.name: rungs(each, self.survey.prompt, self.survey.budget) for each in self.survey.candidates}

    @cached_property
    def sets(self) -> list[tuple[tuple[str, ...], Together | None]]:
        """Which models fit together."""
        return list(sets(list(self.rungs.items()), self.survey.budget))

    @cached_property
    def switches(self) -> list[Switch]:
        """From each model to each other."""
        return list(switches(list(self.rungs.items())))

    @cached_property
    def crossovers(self) -> list[Crossover]:
        """Of each model with each other."""
        pairs = permutations(self.survey.candidates, 2)
        return [Crossover(self._contest(running, coming)) for running, coming in pairs]

    def _contest(self, running: Candidate, coming: Candidate) -> Contest:
        first, second = (running, self.rungs[running.name]), (coming, self.rungs[coming.name])
        return Contest(first, second, self.survey.prompt, self.survey.budget)


def rows(outlook: Outlook) -> dict[str, Any]:
    """All of it for JSON; bytes, seconds (with the interval that holds nine in ten measurements), tokens."""
    survey = outlook.survey
    return {
        "device": survey.device,
        "threads": survey.threads,
        "budget": survey.budget,
        "prompt": survey.prompt,
        "notes": survey.notes,
        "failed": survey.failed,
        "models": [_model(each, outlook.rungs[each.name]) for each in survey.candidates],
        "sets": [_set(names, found) for names, found in outlook.sets],
        "switches": [_switch(each) for each in outlook.switches],
        "crossovers": [_crossover(each) for each in outlook.crossovers],
    }


def _model(candidate: Candidate, found: tuple[Rung, ...]) -> dict[str, Any]:
    return {"name": candidate.name, "measured": candidate.measured, "placements": [_rung(rung) for rung in found]}


def _rung(rung: Rung) -> dict[str, Any]:
    return {
        **_place(rung.placement),
        "context": rung.placement.context,
        "slots": rung.placement.slots,
        "device_bytes": rung.device,
        "host_bytes": rung.placement.host.total,
        "tokens_per_second": rung.speed,
        "tokens_per_second_all_slots": rung.throughput,
        "decode": _estimate(rung.decode),
        "ttft_resident": _estimate(rung.prefill),
        "ttft_not_resident": _estimate(rung.arrival),
        "load": _estimate(rung.load),
        "unload": _estimate(rung.unload),
        "kv_out": _estimate(rung.out),
        "kv_in": _estimate(rung.back),
    }


def _set(names: tuple[str, ...], found: Together | None) -> dict[str, Any]:
    if found is None:
        return {"models": names, "fits": False}
    places = {name: _place(rung.placement) for name, rung in found.rungs}
    return {"models": names, "fits": True, "device_bytes": found.device, "speed_kept": found.kept, "placements": places}


def _switch(switch: Switch) -> dict[str, Any]:
    steps = {"kv_out": switch.out, "unload": switch.unload, "load": switch.load, "kv_in": switch.back}
    times = {name: _estimate(each) for name, each in {**steps, "total": switch.total}.items()}
    return {"leaves": switch.leaves, "comes": switch.comes, **times}


def _crossover(crossover: Crossover) -> dict[str, Any]:
    cells = [
        {"left": left, "output": output, "best": crossover.best(left, output).way, "ways": [_way(way) for way in ways]}
        for (left, output), ways in crossover.cells.items()
    ]
    changes = [
        {"left": left, "from_output": begin, "best": way}
        for left, found in crossover.segments.items()
        for begin, way in found
    ]
    names = {"running": crossover.running, "coming": crossover.coming}
    return {**names, "together": crossover.together, "cells": cells, "segments": changes}


def _way(outcome: Outcome) -> dict[str, Any]:
    running, coming = map(_place, outcome.placements)
    times = {"coming_ends": outcome.end, "running_ends": outcome.other, "delay": outcome.delay}
    return {"way": outcome.way, **times, "running": running, "coming": coming}


def _place(placement: Placement) -> dict[str, int | None]:
    return {"layers": placement.layers, "experts": placement.experts}


def _estimate(estimate: Estimate) -> dict[str, float]:
    return asdict(estimate)
