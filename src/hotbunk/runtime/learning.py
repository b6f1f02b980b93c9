"""Learning from what goes by: the worker's reports are measurements, and each model's costs follow them."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from time import monotonic
from typing import Any

from hotbunk.costs.drift import Drift
from hotbunk.costs.learning import Learner
from hotbunk.costs.model import Costs
from hotbunk.costs.record import Kind, Record
from hotbunk.llama.gguf import Gguf
from hotbunk.measure.points import carried, left, moved, prefilled
from hotbunk.models import Served
from hotbunk.placement import Placement
from hotbunk.runtime.catalog import waited
from hotbunk.runtime.generation import LiveGeneration
from hotbunk.runtime.knowledge import Knowledge
from hotbunk.worker import protocol as wire

__all__ = ["Learning"]

log = logging.getLogger("hotbunk.runtime")

_WORDS = {
    Kind.DECODE: "a decode step",
    Kind.PREFILL: "prefill",
    Kind.LOAD: "loading",
    Kind.UNLOAD: "unloading",
    Kind.CONTEXT: "making a context",
    Kind.KV_OUT: "suspending",
    Kind.KV_IN: "resuming",
    Kind.PIN: "pinning",
}


class Learning:
    """One device's models and what is learnt of them. To be told of each report once its tokens are with their jobs.

    Attributes:
        knowledge: what was known before.
    """

    def __init__(self, jobs: Mapping[int, LiveGeneration], knowledge: Knowledge) -> None:
        """``jobs``: those alive, by sequence."""
        self.knowledge = knowledge
        self._jobs = jobs
        self._learners: dict[str, Learner] = {}
        self._standing: dict[str, Placement] = {}
        self._off: dict[str, frozenset[Kind]] = {}

    def meet(self, served: Served, gguf: Gguf) -> Costs | None:
        """A model to learn about; what is known of its costs now, None if nothing can be."""
        learner = self.knowledge.learner(served.id, gguf)
        if learner is None:
            return None
        self._learners[served.id] = learner
        return learner.costs

    def take(self, report: wire.Report) -> list[tuple[str, Costs]]:
        """Learn from a report, if there is anything to learn; the models whose costs have changed with it, and to what.

        When something takes longer or shorter than it should, that is said too.
        """
        now, found = monotonic(), list[tuple[str, Costs]]()
        for model, record in list(self._measured(report)):
            if learner := self._learners.get(model):
                before = learner.costs
                learner.hear(record, now)
                self._compare(model, learner)
                if learner.costs is not before:
                    found.append((model, learner.costs))
        return found

    def lost(self) -> None:
        """The worker is gone: nothing stands any more."""
        self._standing.clear()

    def state(self, model: str) -> dict[str, Any]:
        """A model's costs for ``/api/state``: by kind what was foretold, beside what was then measured; in seconds."""
        learner = self._learners.get(model)
        kinds = {str(kind): _kind(learner, kind) for kind in Kind} if learner else {}
        return {"problem": None if learner else self.knowledge.problem or "the model cannot be served", "kinds": kinds}

    def _measured(self, report: wire.Report) -> Iterator[tuple[str, Record]]:
        """What a report says, and of which model. Where the model stands is followed on the way."""
        match report:
            case wire.Produced() if place := self._standing.get(report.model):
                yield from ((report.model, record) for record in self._step(report, place))
            case wire.Loaded():
                before = self._standing.get(report.model)
                self._standing[report.model] = report.placement
                yield from ((report.model, record) for record in moved(report, before))
            case wire.Unloaded():
                if place := self._standing.pop(report.model, None):
                    yield report.model, left(report, place)
            case wire.Suspended() | wire.Resumed():
                if found := self._carried(report):
                    yield found

    def _step(self, report: wire.Produced, place: Placement) -> Iterator[Record]:
        if report.prefilled:
            yield prefilled(report, place)
            return
        # the token drawn last is with the job by now, and the one before it was evaluated in this step
        jobs = [job for token in report.tokens if (job := self._jobs.get(token.sequence))]
        behind = [len(job.job.prompt) + len(job.generated) - 2 for job in jobs]
        if behind:
            yield Record(Kind.DECODE, place, report.seconds, len(report.tokens), max(behind))

    def _carried(self, report: wire.Suspended | wire.Resumed) -> tuple[str, Record] | None:
        """A disk's part in it is no matter of the bus, and an untouched slot has no state."""
        job = self._jobs.get(report.sequence)
        place = self._standing.get(job.job.model) if job else None
        if job is None or place is None or report.tier == "disk" or not report.size:
            return None
        return job.job.model, carried(report, place, len(job.job.prompt) + len(job.generated))

    def _compare(self, model: str, learner: Learner) -> None:
        """Say when something has become slower or faster than it was, and when that is over."""
        drifts, before = learner.drifts, self._off.get(model, frozenset())
        for kind in drifts.keys() - before:
            log.warning("%s", _begun(model, kind, drifts[kind], learner.profiled(kind)))
        for kind in before - drifts.keys():
            log.info("%s of %s takes what it should again", _WORDS[kind], model)
        self._off[model] = frozenset(drifts)


def _begun(model: str, kind: Kind, drift: Drift, profiled: bool) -> str:
    than = "was measured on this machine" if profiled else "it took at first"
    why = "was somebody else using the device then?"
    if drift.factor > 1:
        why = "is somebody else using the device, or is it throttled?"
    return f"{_WORDS[kind]} of {model} takes {drift.factor:.2g} times what {than}; {why}"


def _kind(learner: Learner, kind: Kind) -> dict[str, Any]:
    """``predicted`` and ``measured`` are the last ones, ``error`` is the mean over the recent, sums are over all."""
    lesson, drift = learner.lessons.get(kind), learner.drifts.get(kind)
    found: dict[str, Any] = {"source": learner.source(kind), "points": lesson.count if lesson else 0}
    if lesson:
        found |= {
            "predicted": lesson.predicted.seconds,
            "low": lesson.predicted.low,
            "high": lesson.predicted.high,
            "measured": lesson.measured,
            "error": lesson.error,
            "predicted_sum": lesson.expected,
            "measured_sum": lesson.taken,
            "drift": _drift(drift, learner.profiled(kind)) if drift else None,
        }
    return found


def _drift(drift: Drift, profiled: bool) -> dict[str, Any]:
    against = "profile" if profiled else "first"
    return {"factor": drift.factor, "age": waited(drift.since), "points": drift.count, "against": against}
