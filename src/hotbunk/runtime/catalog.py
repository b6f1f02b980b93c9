"""What is known of each model on one device, from its file, the worker's predictions and its measured moves."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from time import monotonic
from typing import Any

from hotbunk.costs import MoveCosts
from hotbunk.costs.model import Costs
from hotbunk.costs.rates import rates
from hotbunk.llama.header import File
from hotbunk.models import Served
from hotbunk.placement import Footprint, Placement
from hotbunk.runtime.job import ModelInfo
from hotbunk.scheduler import Model
from hotbunk.scheduler.events import Added
from hotbunk.worker.protocol import Loaded

Form = tuple[int | None, ...]
"""What makes a placement, but for its bytes."""


@dataclass(frozen=True, slots=True)
class Truth:
    """Bytes foretold of a placement, those that libllama then reported, and those that the driver said (0: nothing)."""

    predicted: Footprint
    reported: Footprint
    driver: int

    @property
    def error(self) -> float:
        """By which share of the prediction the report differs from it."""
        foretold = self.predicted.total
        return (self.reported.total - foretold) / foretold if foretold else 0.0


@dataclass(slots=True)
class Entry:
    """A served model.

    ``best`` is where it goes if the whole budget can be had, ``placement`` where it shall go now; ``came`` says when it
    was last sent in and when it stood, ``sent`` to which placement. ``rungs`` are smaller placements, most first, at
    which it may stand beside others. ``refused`` are the bytes of the placement for which there was no memory
    the last time (0: of none), ``excess`` those by which it has taken more than foretold at the most, ``foretold``
    what the worker says of each form without them, ``short`` since when not even its smallest placement fits.
    ``cramped``: it stands as it was offered, which was not its best. ``sources`` are its files as they were when they
    were read. ``unopened`` and ``failures`` count how often in a row it could not be opened anew, and loaded.
    """

    served: Served
    created: int = field(default_factory=lambda: int(time.time()))
    layers: int = 0
    context: int = 0
    best: Placement | None = None
    placement: Placement | None = None
    rungs: tuple[Placement, ...] = ()
    refused: int = 0
    excess: int = 0
    foretold: dict[Form, int] = field(default_factory=dict)
    short: float | None = None
    cramped: bool = False
    truth: Truth | None = None
    sent: Placement | None = None
    costs: MoveCosts | None = None
    problem: str | None = None
    sources: tuple[File, ...] = ()
    unopened: int = 0
    failures: int = 0
    came: tuple[float, float] | None = None
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def info(self) -> ModelInfo:
        """What the gateway may know."""
        served, sampling = self.served, dict(self.served.sampling)
        facts = self.problem, sampling, self.sources
        return ModelInfo(served.id, str(served.path), self.context, self.created, served.alias, *facts)

    def revived(self) -> None:
        """It can be served again: what stood against it is over, and what it may be offered is to be found anew."""
        self.problem, self.short, self.rungs = None, None, ()
        self.unopened = self.failures = 0

    def priced(self, placement: Placement, costs: Costs | None) -> None:
        """The worker has foretold what ``placement`` takes: that is where the model shall go."""
        self.best = self.placement = self.weighed(placement)
        self.costs = MoveCosts(placement, costs)

    @property
    def bounds(self) -> MoveCosts:
        """Those on its moves; what is served has been priced."""
        assert self.costs
        return self.costs

    @property
    def offers(self) -> tuple[Placement, ...]:
        """The ways it may be loaded now, best first."""
        if self.placement is None:
            return ()
        most = self.placement.device.total
        return self.placement, *(rung for rung in self.rungs if rung.device.total < most)

    def learnt(self, costs: Costs) -> None:
        """What it costs is known better now."""
        if self.costs:
            self.costs.costs = costs

    def ran_short(self, short: bool) -> None:
        """There is no room for it, or there is."""
        self.short = (self.short or monotonic()) if short else None

    def weighed(self, placement: Placement) -> Placement:
        """A placement as the worker foretells it, with what the model takes beyond that."""
        self.foretold[form(placement)] = placement.device.total
        return replace(placement, device=replace(placement.device, compute=placement.device.compute + self.excess))

    def stands(self, report: Loaded) -> None:
        """It has come; where it takes more than foretold, that is what the same placement counts for from now on."""
        self.truth = Truth(report.placement.device, report.device, report.driver)
        self.cramped = self.placement != self.best and form(self.placement) == form(report.placement)
        if report.device.total > report.placement.device.total:
            # some of the excess may have been in what was sent, which then says too little of it
            foretold = self.foretold.get(form(report.placement), report.placement.device.total)
            self.excess = max(self.excess, report.device.total - foretold)
            self.best = _weighed(self.best, report) if self.best else None
            self.placement = _weighed(self.placement, report) if self.placement else None
            self.rungs = tuple(_weighed(rung, report) for rung in self.rungs)

    def added(self, now: float) -> Added:
        """The event that makes it known to the scheduler."""
        served, bounds, places = self.served, self.bounds, self.offers
        known = tuple(rates(bounds.costs, place) for place in places) if bounds.costs else ()
        keep = served.priority, served.keep_resident
        return Added(now, served.id, places, bounds.load, bounds.leave, *keep, known, served.promise)

    def state(self, device: str, model: Model | None, costs: dict[str, Any]) -> dict[str, Any]:
        """The model as ``/api/state`` shows it, with what is shown of its ``costs``.

        ``model`` is the scheduler's view, None if it cannot be served.
        """
        placement = model.placement if model else None
        return {
            "id": self.served.id,
            "alias": list(self.served.alias),
            "device": device,
            "state": model.phase.value if model else "unusable",
            "problem": self.problem,
            "layers": placement.layers if placement else 0,
            "layers_total": self.layers,
            "context": self.context,
            "slots": self.served.slots,
            "priority": self.served.priority,
            "keep_resident": self.served.keep_resident,
            "device_bytes": placement.device.total if placement else 0,
            "placement": sides(placement),
            "planned": sides(self.placement),
            "offers": [sides(place) for place in self.offers],
            "pace": asdict(model.pace) if model else None,
            "predicted_bytes": self.truth.predicted.total if self.truth else None,
            "reported_bytes": self.truth.reported.total if self.truth else None,
            "driver_bytes": self.truth.driver if self.truth else None,
            "short": self.short is not None,
            "load_seconds_bound": self.costs.load if self.costs else None,
            "leave_seconds_bound": self.costs.leave if self.costs else None,
            "costs": costs,
        }


def sides(placement: Placement | None) -> dict[str, Any] | None:
    """A placement's bytes on each side, ready for JSON."""
    if placement is None:
        return None
    told = {"layers": placement.layers, "experts": placement.experts}
    return {**told, "device": _bytes(placement.device), "host": _bytes(placement.host)}


def form(placement: Placement | None) -> Form:
    """A placement apart from its bytes; the layers whose KV cache is on the device come last."""
    if placement is None:
        return ()
    cached = placement.layers if placement.cached is None else placement.cached
    return placement.layers, placement.context, placement.slots, placement.experts, cached


def _weighed(placement: Placement, report: Loaded) -> Placement:
    same = form(placement) == form(report.placement)
    return replace(placement, device=report.device) if same else placement


def _bytes(footprint: Footprint) -> dict[str, int]:
    return {"weights": footprint.weights, "kv": footprint.kv, "compute": footprint.compute, "total": footprint.total}


def waited(since: float) -> float:
    """Seconds since a moment of the driver's clock, rounded for display."""
    return round(monotonic() - since, 3)
