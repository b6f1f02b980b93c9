"""What a worker's reports say of a model's costs."""

from __future__ import annotations

from collections.abc import Iterator

from hotbunk.costs.record import Kind, Record
from hotbunk.placement import Placement
from hotbunk.worker.protocol import Loaded, Produced, Resumed, Suspended, Unloaded

__all__ = ["carried", "left", "moved", "prefilled"]


def moved(report: Loaded, before: Placement | None, freed: int = 0) -> Iterator[Record]:
    """Of a load, or of a resize from where it stood ``before``: its promotion or demotion, and its context.

    ``freed``: bytes that were given back right before a load.
    """
    place = report.placement
    had = before.layers if before else 0
    if "promote" in report.steps and report.moved:
        yield Record(
            Kind.LOAD,
            place,
            report.steps["promote"],
            moved=report.moved,
            pieces=place.layers - had,
            freed=_clearing(report, before, freed),
            anew="context" in report.steps,
            pinned=report.pinned,
        )
    if "demote" in report.steps and before and place.layers < had:
        freed = before.device.total - place.device.total
        yield Record(Kind.UNLOAD, place, report.steps["demote"], moved=freed, pieces=had - place.layers)
    if "context" in report.steps:
        yield Record(Kind.CONTEXT, place, report.steps["context"])


def left(report: Unloaded, place: Placement) -> Record:
    """Of an unload from ``place``, where no sequence ran; what the worker keeps of it was not given back."""
    share = report.kept / place.device.weights if place.device.weights else 0.0
    pieces = round(place.layers * (1 - min(1.0, share)))
    return Record(Kind.UNLOAD, place, report.seconds, moved=report.freed - report.kept, pieces=pieces)


def prefilled(report: Produced, place: Placement) -> Record:
    """Of a prompt's prefill, all its chunks together."""
    return Record(Kind.PREFILL, place, report.seconds, 1 + report.beside, report.prefilled)


def carried(report: Suspended | Resumed, place: Placement, tokens: int) -> Record:
    """Of a sequence's state, with so many tokens evaluated."""
    kind = Kind.KV_OUT if isinstance(report, Suspended) else Kind.KV_IN
    return Record(kind, place, report.seconds, tokens=tokens, moved=report.size, pinned=report.tier == "pinned")


def _clearing(report: Loaded, before: Placement | None, freed: int) -> int:
    """Bytes that the driver is still taking back: opening a shell takes longer than that."""
    if "shell" in report.steps:
        return 0
    if before:
        return before.device.kv if "context" in report.steps else 0
    return freed
